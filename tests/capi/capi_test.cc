// The C API as a caller meets it: through the shared library, in the ways that are right and the ways that are not.
#include <doctest/doctest.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "engine/engine.h"
#include "include/sluice.h"

namespace fs = std::filesystem;

namespace {

const std::string kModel = SLUICE_TEST_DATA "/models/llama.gguf";             // context 512
const std::string kLongModel = SLUICE_TEST_DATA "/models/deepseek2-v2.gguf";  // context 10240

struct CloseModel {
  void operator()(sluice_model* model) const { sluice_model_close(model); }
};
struct FreeSession {
  void operator()(sluice_session* session) const { sluice_session_free(session); }
};
struct FreeSampler {
  void operator()(sluice_sampler* sampler) const { sluice_sampler_free(sampler); }
};
using ModelHandle = std::unique_ptr<sluice_model, CloseModel>;
using SessionHandle = std::unique_ptr<sluice_session, FreeSession>;
using SamplerHandle = std::unique_ptr<sluice_sampler, FreeSampler>;

ModelHandle open_model(const std::string& path = kModel) {
  sluice_model_options options = sluice_default_model_options();
  options.n_threads = 2;
  sluice_model* model = nullptr;
  sluice_error error;
  const sluice_result result = sluice_model_open(path.c_str(), &options, &model, &error);
  CAPTURE(error.message);
  REQUIRE(result == SLUICE_OK);
  return ModelHandle(model);
}

SessionHandle create_session(const sluice_model* model, uint32_t n_context = 0, uint32_t n_batch = 0) {
  sluice_session_options options = sluice_default_session_options();
  options.n_context = n_context;
  options.n_batch = n_batch;
  sluice_session* session = nullptr;
  sluice_error error;
  const sluice_result result = sluice_session_create(model, &options, &session, &error);
  CAPTURE(error.message);
  REQUIRE(result == SLUICE_OK);
  return SessionHandle(session);
}

SamplerHandle create_sampler(float temperature, uint64_t seed = 0) {
  sluice_sampler_options options = sluice_default_sampler_options();
  options.temperature = temperature;
  options.seed = seed;
  sluice_sampler* sampler = nullptr;
  REQUIRE(sluice_sampler_create(&options, &sampler, nullptr) == SLUICE_OK);
  return SamplerHandle(sampler);
}

std::vector<sluice_token> tokens_of(const sluice_model* model, std::string_view text,
                                    uint32_t flags = SLUICE_TOKENIZE_ADD_BOS) {
  size_t n_tokens = 0;
  REQUIRE(sluice_tokenize(model, text.data(), text.size(), flags, nullptr, 0, &n_tokens, nullptr) == SLUICE_OK);
  std::vector<sluice_token> tokens(n_tokens + 1);
  REQUIRE(sluice_tokenize(model, text.data(), text.size(), flags, tokens.data(), n_tokens, &n_tokens, nullptr) ==
          SLUICE_OK);
  tokens.pop_back();
  return tokens;
}

std::string bytes_of(const sluice_model* model, sluice_token token, int show_control = 0) {
  char bytes[64];
  size_t n_bytes = 0;
  REQUIRE(sluice_token_bytes(model, token, show_control, bytes, sizeof bytes, &n_bytes, nullptr) == SLUICE_OK);
  return {bytes, n_bytes};
}

sluice_session_info info_of(const sluice_session* session) {
  sluice_session_info info;
  info.struct_size = sizeof info;
  REQUIRE(sluice_session_describe(session, &info, nullptr) == SLUICE_OK);
  return info;
}

// The tokens that follow the prompt, by the loop that every caller writes.
std::vector<sluice_token> generate(const sluice_model* model, sluice_session* session, sluice_sampler* sampler,
                                   std::string_view prompt, int max_tokens) {
  const std::vector<sluice_token> ids = tokens_of(model, prompt);
  REQUIRE(sluice_session_evaluate(session, ids.data(), ids.size(), nullptr) == SLUICE_OK);
  std::vector<sluice_token> generated;
  for (int i = 0; i < max_tokens; ++i) {
    sluice_token token = -1;
    REQUIRE(sluice_sample(session, sampler, &token, nullptr) == SLUICE_OK);
    if (sluice_token_ends_generation(model, token) != 0) break;
    generated.push_back(token);
    REQUIRE(sluice_session_evaluate(session, &token, 1, nullptr) == SLUICE_OK);
  }
  return generated;
}

std::string read_all(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// A file that is gone when the test ends.
struct TemporaryFile {
  explicit TemporaryFile(const std::string& bytes)
      : path(fs::temp_directory_path() / ("sluice-capi-" + std::to_string(::getpid()) + ".gguf")) {
    std::ofstream(path, std::ios::binary) << bytes;
  }
  ~TemporaryFile() { fs::remove(path); }
  fs::path path;
};

}  // namespace

TEST_CASE("the table is given for its own version and no other") {
  const sluice_api* api = sluice_get_api(SLUICE_API_VERSION);
  REQUIRE(api != nullptr);
  CHECK(api->version == SLUICE_API_VERSION);
  CHECK(api->struct_size == sizeof(sluice_api));
  CHECK(sluice_get_api(0) == nullptr);
  CHECK(sluice_get_api(SLUICE_API_VERSION + 1) == nullptr);
  CHECK(sluice_get_api(std::numeric_limits<uint32_t>::max()) == nullptr);
  CHECK(std::string_view(sluice_version_string()).find('.') != std::string_view::npos);
}

TEST_CASE("a model describes itself") {
  const ModelHandle model = open_model();
  sluice_model_info info;
  info.struct_size = sizeof info;
  REQUIRE(sluice_model_describe(model.get(), &info, nullptr) == SLUICE_OK);
  CHECK(info.struct_size == sizeof info);
  CHECK(std::string_view(info.architecture) == "llama");
  CHECK(info.vocabulary_size == 320);
  CHECK(info.trained_context == 512);
  CHECK(info.n_threads == 2);
  CHECK(sluice_token_ends_generation(model.get(), info.eos_token) == 1);
  CHECK(sluice_token_ends_generation(model.get(), info.bos_token) == 0);
  CHECK(sluice_token_ends_generation(model.get(), -1) == 0);
  CHECK(sluice_token_ends_generation(model.get(), 320) == 0);
}

TEST_CASE("progress is told while a model opens") {
  struct Seen {
    uint64_t done = 0, total = 0;
  } seen;
  sluice_model_options options = sluice_default_model_options();
  options.user = &seen;
  options.on_progress = [](void* user, uint64_t done, uint64_t total) { *static_cast<Seen*>(user) = {done, total}; };
  sluice_model* model = nullptr;
  REQUIRE(sluice_model_open(kModel.c_str(), &options, &model, nullptr) == SLUICE_OK);
  sluice_model_close(model);
  CHECK(seen.done == seen.total);
  CHECK(seen.total > 0);
}

TEST_CASE("threads may be bound to cores and weights stay in the file, and the text is the same") {
  sluice_model_options options = sluice_default_model_options();
  options.n_threads = 3;
  options.pin_threads = 1;
  options.residency = SLUICE_RESIDENCY_FILE;
  sluice_model* opened = nullptr;
  REQUIRE(sluice_model_open(kModel.c_str(), &options, &opened, nullptr) == SLUICE_OK);
  const ModelHandle model(opened);
  const ModelHandle unbound = open_model();
  const SamplerHandle greedy = create_sampler(0);
  const SessionHandle a = create_session(model.get()), b = create_session(unbound.get());
  CHECK(generate(model.get(), a.get(), greedy.get(), "Once", 8) ==
        generate(unbound.get(), b.get(), greedy.get(), "Once", 8));
  options.residency = 3;
  CHECK(sluice_model_open(kModel.c_str(), &options, &opened, nullptr) == SLUICE_ERROR_USAGE);
}

TEST_CASE("a model that does not fit in the memory it is allowed is refused, and says what it would need") {
  sluice_model_options options = sluice_default_model_options();
  options.ram_bytes = 1;
  sluice_model* opened = nullptr;
  sluice_error error;
  CHECK(sluice_model_open(kModel.c_str(), &options, &opened, &error) == SLUICE_ERROR_MEMORY);
  CHECK(std::string(error.message).find("needs at least") != std::string::npos);
  options.ram_bytes = uint64_t{1} << 50;
  CHECK(sluice_model_open(kModel.c_str(), &options, &opened, &error) == SLUICE_OK);
  sluice_model_close(opened);
}

TEST_CASE("a device can be asked for, is named, and is an error of its own when it is not there") {
  sluice_model_options options = sluice_default_model_options();
  sluice_model* opened = nullptr;
  options.device = SLUICE_DEVICE_CPU;
  REQUIRE(sluice_model_open(kModel.c_str(), &options, &opened, nullptr) == SLUICE_OK);
  sluice_model_info info{};
  info.struct_size = sizeof info;
  REQUIRE(sluice_model_describe(opened, &info, nullptr) == SLUICE_OK);
  CHECK(std::string(info.device) == "CPU");
  sluice_model_close(opened);
  sluice_error error;
  options.device = SLUICE_DEVICE_CUDA;  // ./test hides GPUs from this program
  CHECK(sluice_model_open(kModel.c_str(), &options, &opened, &error) == SLUICE_ERROR_DEVICE);
  CHECK(std::string(error.message).find("There is no GPU to use") != std::string::npos);
  options.device = 3;
  CHECK(sluice_model_open(kModel.c_str(), &options, &opened, nullptr) == SLUICE_ERROR_USAGE);
}

TEST_CASE("text goes to tokens and back") {
  const ModelHandle model = open_model();
  const std::string text = "Once upon a time, caf\xC3\xA9";
  std::string back;
  for (const sluice_token token : tokens_of(model.get(), text)) back += bytes_of(model.get(), token);
  CHECK(back.find(text) != std::string::npos);
  CHECK(back.size() <= text.size() + 1);  // SPM puts a space before a text

  const std::vector<sluice_token> plain = tokens_of(model.get(), text, 0);
  const std::vector<sluice_token> with_bos = tokens_of(model.get(), text, SLUICE_TOKENIZE_ADD_BOS);
  CHECK(with_bos.size() == plain.size() + 1);
  CHECK(bytes_of(model.get(), with_bos[0]).empty());
  CHECK_FALSE(bytes_of(model.get(), with_bos[0], 1).empty());

  const std::string spelled = bytes_of(model.get(), with_bos[0], 1);
  CHECK(tokens_of(model.get(), spelled, SLUICE_TOKENIZE_SPECIAL) == std::vector<sluice_token>{with_bos[0]});
  CHECK(tokens_of(model.get(), spelled, 0).size() > 1);
  CHECK(tokens_of(model.get(), "", 0).empty());
}

TEST_CASE("a buffer that is too small gets nothing and the count") {
  const ModelHandle model = open_model();
  const std::string text = "Once upon a time";
  const size_t n_needed = tokens_of(model.get(), text).size();
  std::vector<sluice_token> tokens(n_needed, -7);
  size_t n_tokens = 0;
  sluice_error error;
  CHECK(sluice_tokenize(model.get(), text.data(), text.size(), SLUICE_TOKENIZE_ADD_BOS, tokens.data(), n_needed - 1,
                        &n_tokens, &error) == SLUICE_ERROR_USAGE);
  CHECK(n_tokens == n_needed);
  CHECK(tokens[0] == -7);
  CHECK(std::string_view(error.message).find(std::to_string(n_needed)) != std::string_view::npos);

  char byte = 'x';
  size_t n_bytes = 0;
  CHECK(sluice_token_bytes(model.get(), tokens_of(model.get(), "a", 0).back(), 0, &byte, 0, &n_bytes, nullptr) ==
        SLUICE_ERROR_USAGE);
  CHECK(n_bytes >= 1);
  CHECK(byte == 'x');
}

TEST_CASE("the tokens are those of the engine's own loop") {
  const ModelHandle model = open_model();
  for (const float temperature : {0.0f, 0.8f}) {
    CAPTURE(temperature);
    const SessionHandle session = create_session(model.get());
    const SamplerHandle sampler = create_sampler(temperature, 42);
    const std::vector<sluice_token> ours = generate(model.get(), session.get(), sampler.get(), "Once upon", 24);

    namespace engine = sluice::engine;
    engine::ModelOptions model_options;
    model_options.n_threads = 1;
    const auto direct = engine::Model::open(kModel, model_options);
    engine::Session direct_session(direct, {});
    engine::GenerateOptions options;
    options.sampling.temperature = temperature;
    options.sampling.seed = 42;
    options.max_tokens = 24;
    const auto prompt = direct->tokenizer().encode_prompt("Once upon", sluice::tokenizer::Specials::AsText);
    std::vector<sluice_token> theirs = engine::generate(direct_session, prompt, options, {}).tokens;
    if (!theirs.empty() && direct->tokenizer().ends_generation(theirs.back())) theirs.pop_back();
    CHECK(ours == theirs);
    CHECK_FALSE(ours.empty());
  }
}

TEST_CASE("truncating and evaluating again gives the same logits") {
  const ModelHandle model = open_model();
  const SessionHandle session = create_session(model.get());
  const std::vector<sluice_token> ids = tokens_of(model.get(), "Once upon a time there was");
  const float* logits = nullptr;
  REQUIRE(sluice_session_evaluate(session.get(), ids.data(), ids.size(), nullptr) == SLUICE_OK);
  REQUIRE(sluice_session_logits(session.get(), &logits, nullptr) == SLUICE_OK);
  const std::vector<float> first(logits, logits + 320);

  REQUIRE(sluice_session_truncate(session.get(), 2, nullptr) == SLUICE_OK);
  CHECK(info_of(session.get()).n_tokens == 2);
  CHECK(sluice_session_logits(session.get(), &logits, nullptr) == SLUICE_ERROR_USAGE);
  CHECK(logits == nullptr);
  REQUIRE(sluice_session_evaluate(session.get(), ids.data() + 2, ids.size() - 2, nullptr) == SLUICE_OK);
  REQUIRE(sluice_session_logits(session.get(), &logits, nullptr) == SLUICE_OK);
  for (size_t i = 0; i < first.size(); ++i) CHECK(logits[i] == doctest::Approx(first[i]).epsilon(1e-3));

  sluice_error error;
  CHECK(sluice_session_truncate(session.get(), ids.size() + 1, &error) == SLUICE_ERROR_USAGE);
  CHECK(info_of(session.get()).n_tokens == ids.size());
  CHECK(sluice_session_logits(session.get(), &logits, nullptr) == SLUICE_OK);  // a refused call changes nothing
}

TEST_CASE("a missing, broken or foreign file is a file error with a sentence") {
  struct Row {
    const char* name;
    std::string bytes;
  };
  const std::string whole = read_all(kModel);
  REQUIRE(whole.size() > 1000);
  const Row rows[] = {
      {"empty", ""},
      {"not GGUF", "Once upon a time there was a file of another kind."},
      {"header only", whole.substr(0, 16)},
      {"cut in the metadata", whole.substr(0, 600)},
      {"cut in the tensors", whole.substr(0, whole.size() - 100)},
  };
  for (const Row& row : rows) {
    CAPTURE(row.name);
    const TemporaryFile file(row.bytes);
    sluice_model* model = reinterpret_cast<sluice_model*>(&sluice_get_api);
    sluice_error error;
    CHECK(sluice_model_open(file.path.c_str(), nullptr, &model, &error) == SLUICE_ERROR_FILE);
    CHECK(model == nullptr);
    CHECK(error.result == SLUICE_ERROR_FILE);
    CHECK(std::strlen(error.message) > 20);
  }
  for (const char* path : {"/nowhere/at/all.gguf", "/", ""}) {
    CAPTURE(path);
    sluice_model* model = nullptr;
    sluice_error error;
    CHECK(sluice_model_open(path, nullptr, &model, &error) == SLUICE_ERROR_FILE);
    CHECK(model == nullptr);
    CHECK(std::strlen(error.message) > 20);
    CHECK(sluice_model_open(path, nullptr, &model, nullptr) == SLUICE_ERROR_FILE);
  }
}

TEST_CASE("a message longer than the error is cut between characters") {
  std::string path = "/nowhere/";
  while (path.size() < 3000) path += "\xE6\xB0\xB4";  // three bytes each
  for (int shift = 0; shift < 3; ++shift) {
    path += 'x';
    path = "/" + path;
    sluice_model* model = nullptr;
    sluice_error error;
    CHECK(sluice_model_open(path.c_str(), nullptr, &model, &error) == SLUICE_ERROR_FILE);
    const std::string_view message = error.message;
    REQUIRE(message.size() < sizeof error.message);
    if (message.find("\xE6\xB0\xB4") == std::string_view::npos) continue;  // the path came late
    CHECK(message.ends_with("\xE6\xB0\xB4..."));
    CHECK(message.size() > sizeof error.message - 8);
  }
}

TEST_CASE("null arguments are refused, and freeing nothing is fine") {
  const ModelHandle model = open_model();
  const SessionHandle session = create_session(model.get());
  const SamplerHandle sampler = create_sampler(0);
  sluice_error error;
  sluice_model* opened = nullptr;
  sluice_session* created = nullptr;
  sluice_token token = 5;
  size_t count = 0;
  sluice_model_info model_info;
  model_info.struct_size = sizeof model_info;
  sluice_session_info session_info;
  session_info.struct_size = sizeof session_info;
  const float* logits = nullptr;

  const auto refused = [&](sluice_result result) {
    CHECK(result == SLUICE_ERROR_USAGE);
    CHECK(error.result == SLUICE_ERROR_USAGE);
    CHECK(std::strstr(error.message, "NULL") != nullptr);
    error = {};
  };
  refused(sluice_model_open(nullptr, nullptr, &opened, &error));
  refused(sluice_model_open(kModel.c_str(), nullptr, nullptr, &error));
  refused(sluice_model_describe(nullptr, &model_info, &error));
  refused(sluice_model_describe(model.get(), nullptr, &error));
  refused(sluice_tokenize(nullptr, "a", 1, 0, nullptr, 0, &count, &error));
  refused(sluice_tokenize(model.get(), nullptr, 1, 0, nullptr, 0, &count, &error));
  refused(sluice_tokenize(model.get(), "a", 1, 0, nullptr, 0, nullptr, &error));
  refused(sluice_token_bytes(nullptr, 0, 0, nullptr, 0, &count, &error));
  refused(sluice_token_bytes(model.get(), 0, 0, nullptr, 0, nullptr, &error));
  refused(sluice_session_create(nullptr, nullptr, &created, &error));
  refused(sluice_session_create(model.get(), nullptr, nullptr, &error));
  refused(sluice_session_describe(nullptr, &session_info, &error));
  refused(sluice_session_describe(session.get(), nullptr, &error));
  refused(sluice_session_evaluate(nullptr, &token, 1, &error));
  refused(sluice_session_evaluate(session.get(), nullptr, 1, &error));
  refused(sluice_session_truncate(nullptr, 0, &error));
  refused(sluice_session_logits(nullptr, &logits, &error));
  refused(sluice_session_logits(session.get(), nullptr, &error));
  refused(sluice_sampler_create(nullptr, nullptr, &error));
  refused(sluice_sample(nullptr, sampler.get(), &token, &error));
  refused(sluice_sample(session.get(), nullptr, &token, &error));
  refused(sluice_sample(session.get(), sampler.get(), nullptr, &error));

  CHECK(sluice_token_ends_generation(nullptr, 0) == 0);
  CHECK(sluice_tokenize(model.get(), nullptr, 0, 0, nullptr, 0, &count, nullptr) == SLUICE_OK);
  CHECK(sluice_session_evaluate(session.get(), nullptr, 0, nullptr) == SLUICE_OK);
  sluice_model_close(nullptr);
  sluice_session_free(nullptr);
  sluice_sampler_free(nullptr);
  sluice_session_cancel(nullptr);
  sluice_session_resume(nullptr);
}

TEST_CASE("a success leaves the error empty") {
  sluice_error error;
  error.result = SLUICE_ERROR_DEVICE;
  std::strcpy(error.message, "left over");
  sluice_sampler* sampler = nullptr;
  CHECK(sluice_sampler_create(nullptr, &sampler, &error) == SLUICE_OK);
  CHECK(error.result == SLUICE_OK);
  CHECK(error.message[0] == '\0');
  sluice_sampler_free(sampler);
}

TEST_CASE("a prompt longer than the context is refused whole") {
  const ModelHandle model = open_model();
  const SessionHandle session = create_session(model.get(), 8);
  const std::vector<sluice_token> ids(9, 40);
  sluice_error error;
  CHECK(sluice_session_evaluate(session.get(), ids.data(), 9, &error) == SLUICE_ERROR_USAGE);
  CHECK(std::strstr(error.message, "8") != nullptr);
  CHECK(std::strstr(error.message, "9") != nullptr);
  CHECK(info_of(session.get()).n_tokens == 0);
  CHECK(sluice_session_evaluate(session.get(), ids.data(), std::numeric_limits<size_t>::max(), &error) ==
        SLUICE_ERROR_USAGE);
  CHECK(sluice_session_evaluate(session.get(), ids.data(), 8, &error) == SLUICE_OK);
  CHECK(sluice_session_evaluate(session.get(), ids.data(), 1, &error) == SLUICE_ERROR_USAGE);
  CHECK(info_of(session.get()).n_tokens == 8);
}

TEST_CASE("ids, flags and options that do not exist are refused") {
  const ModelHandle model = open_model();
  const SessionHandle session = create_session(model.get());
  for (const sluice_token wrong :
       {-1, 320, std::numeric_limits<sluice_token>::max(), std::numeric_limits<sluice_token>::min()}) {
    CAPTURE(wrong);
    const sluice_token ids[] = {5, wrong};
    size_t n_bytes = 0;
    CHECK(sluice_session_evaluate(session.get(), ids, 2, nullptr) == SLUICE_ERROR_USAGE);
    CHECK(sluice_token_bytes(model.get(), wrong, 0, nullptr, 0, &n_bytes, nullptr) == SLUICE_ERROR_USAGE);
  }
  CHECK(info_of(session.get()).n_tokens == 0);

  size_t n_tokens = 0;
  CHECK(sluice_tokenize(model.get(), "a", 1, 4, nullptr, 0, &n_tokens, nullptr) == SLUICE_ERROR_USAGE);

  sluice_session_options session_options = sluice_default_session_options();
  session_options.cache = 7;
  sluice_session* created = nullptr;
  CHECK(sluice_session_create(model.get(), &session_options, &created, nullptr) == SLUICE_ERROR_USAGE);

  sluice_sampler* sampler = nullptr;
  sluice_sampler_options sampler_options = sluice_default_sampler_options();
  sampler_options.temperature = std::numeric_limits<float>::quiet_NaN();
  CHECK(sluice_sampler_create(&sampler_options, &sampler, nullptr) == SLUICE_ERROR_USAGE);
  sampler_options = sluice_default_sampler_options();
  sampler_options.n_logit_bias = 1;
  CHECK(sluice_sampler_create(&sampler_options, &sampler, nullptr) == SLUICE_ERROR_USAGE);
}

TEST_CASE("the defaults of the C structs are the engine's") {
  const sluice_sampler_options c = sluice_default_sampler_options();
  const sluice::engine::SamplerOptions cpp;
  CHECK(c.temperature == cpp.temperature);
  CHECK(c.top_k == cpp.top_k);
  CHECK(c.top_p == cpp.top_p);
  CHECK(c.min_p == cpp.min_p);
  CHECK(c.repeat_penalty == cpp.repeat_penalty);
  CHECK(c.presence_penalty == cpp.presence_penalty);
  CHECK(c.frequency_penalty == cpp.frequency_penalty);
  CHECK(c.repeat_last_n == cpp.repeat_last_n);
  CHECK(c.seed == cpp.seed);
  CHECK(sluice_default_session_options().n_batch == sluice::engine::SessionOptions{}.n_batch);
}

TEST_CASE("a bias forbids and forces tokens") {
  const ModelHandle model = open_model();
  const SessionHandle session = create_session(model.get());
  const std::vector<sluice_token> ids = tokens_of(model.get(), "Once");
  REQUIRE(sluice_session_evaluate(session.get(), ids.data(), ids.size(), nullptr) == SLUICE_OK);
  const sluice_logit_bias bias[] = {{77, 1e6f}};
  sluice_sampler_options options = sluice_default_sampler_options();
  options.logit_bias = bias;
  options.n_logit_bias = 1;
  sluice_sampler* sampler = nullptr;
  REQUIRE(sluice_sampler_create(&options, &sampler, nullptr) == SLUICE_OK);
  const SamplerHandle owner(sampler);
  sluice_token token = -1;
  CHECK(sluice_sample(session.get(), sampler, &token, nullptr) == SLUICE_OK);
  CHECK(token == 77);
}

TEST_CASE("options and descriptions of another age are read as far as both know them") {
  const ModelHandle model = open_model();
  sluice_session* created = nullptr;
  sluice_error error;

  struct FromTheFuture {
    sluice_session_options known;
    uint32_t unknown[2];
  } future = {sluice_default_session_options(), {0, 0}};
  future.known.struct_size = sizeof future;
  future.known.n_context = 16;
  REQUIRE(sluice_session_create(model.get(), &future.known, &created, &error) == SLUICE_OK);
  CHECK(info_of(created).n_context == 16);
  sluice_session_free(created);
  future.unknown[1] = 1;
  CHECK(sluice_session_create(model.get(), &future.known, &created, &error) == SLUICE_ERROR_USAGE);
  CHECK(created == nullptr);

  sluice_session_options past = sluice_default_session_options();
  past.struct_size = 2 * sizeof(uint32_t);  // ends after n_context
  past.n_context = 16;
  past.cache = 1234;
  REQUIRE(sluice_session_create(model.get(), &past, &created, &error) == SLUICE_OK);
  sluice_session_info info;
  std::memset(&info, 0x55, sizeof info);
  info.struct_size = 2 * sizeof(uint32_t);
  REQUIRE(sluice_session_describe(created, &info, &error) == SLUICE_OK);
  CHECK(info.n_context == 16);
  CHECK(info.n_tokens == 0x5555555555555555u);
  for (const uint32_t size : {0u, 3u, 1u << 30}) {
    past.struct_size = size;
    info.struct_size = size;
    sluice_session* none = nullptr;
    CHECK(sluice_session_create(model.get(), &past, &none, &error) == SLUICE_ERROR_USAGE);
    CHECK(sluice_session_describe(created, &info, &error) == SLUICE_ERROR_USAGE);
  }
  sluice_session_free(created);
}

TEST_CASE("a session goes on when its model's handle is closed") {
  ModelHandle model = open_model();
  const SessionHandle session = create_session(model.get());
  const std::vector<sluice_token> ids = tokens_of(model.get(), "Once upon");
  model.reset();
  CHECK(sluice_session_evaluate(session.get(), ids.data(), ids.size(), nullptr) == SLUICE_OK);
}

TEST_CASE("a cancelled session evaluates nothing until it is resumed") {
  const ModelHandle model = open_model();
  const SessionHandle session = create_session(model.get());
  const std::vector<sluice_token> ids = tokens_of(model.get(), "Once upon");
  sluice_error error;
  sluice_session_cancel(session.get());
  for (int i = 0; i < 2; ++i) {
    CHECK(sluice_session_evaluate(session.get(), ids.data(), ids.size(), &error) == SLUICE_CANCELLED);
    CHECK(error.result == SLUICE_CANCELLED);
    CHECK(info_of(session.get()).n_tokens == 0);
  }
  sluice_session_resume(session.get());
  CHECK(sluice_session_evaluate(session.get(), ids.data(), ids.size(), &error) == SLUICE_OK);
}

TEST_CASE("another thread stops an evaluation under way") {
  const ModelHandle model = open_model(kLongModel);
  const SessionHandle session = create_session(model.get(), 10000, 1);
  const std::vector<sluice_token> ids(10000, 40);  // seconds of work, one batch a token
  std::thread other([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    sluice_session_cancel(session.get());
  });
  const sluice_result result = sluice_session_evaluate(session.get(), ids.data(), ids.size(), nullptr);
  other.join();
  CHECK(result == SLUICE_CANCELLED);
  const uint64_t n_done = info_of(session.get()).n_tokens;
  CHECK(n_done < ids.size());
  const float* logits = nullptr;
  CHECK(sluice_session_logits(session.get(), &logits, nullptr) == SLUICE_ERROR_USAGE);

  sluice_session_resume(session.get());
  CHECK(sluice_session_evaluate(session.get(), ids.data(), 3, nullptr) == SLUICE_OK);
  CHECK(info_of(session.get()).n_tokens == n_done + 3);
}

TEST_CASE("sessions of one model may be evaluated from several threads") {
  const ModelHandle model = open_model();
  const SamplerHandle greedy = create_sampler(0);
  const SessionHandle alone = create_session(model.get());
  const std::vector<sluice_token> expected = generate(model.get(), alone.get(), greedy.get(), "Once", 12);

  constexpr size_t kThreads = 3;
  std::vector<std::vector<sluice_token>> results(kThreads);
  std::vector<std::thread> threads;
  for (std::vector<sluice_token>& result : results)
    threads.emplace_back([&model, &result] {
      const SessionHandle session = create_session(model.get());
      const SamplerHandle sampler = create_sampler(0);
      result = generate(model.get(), session.get(), sampler.get(), "Once", 12);
    });
  for (std::thread& thread : threads) thread.join();
  for (const std::vector<sluice_token>& result : results) CHECK(result == expected);
}
