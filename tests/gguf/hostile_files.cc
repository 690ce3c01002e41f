#include "tests/gguf/hostile_files.h"

#include "tests/gguf/raw_gguf.h"
#include "tests/gguf/test_folder.h"

namespace sluice::gguf::testing {

namespace {

constexpr uint64_t kHuge = uint64_t{1} << 62;

class Collection {
 public:
  void add(std::string name, std::string bytes, std::string message) {
    std::string file_name = name + ".gguf";
    all_.push_back({std::move(name), {{std::move(file_name), std::move(bytes)}}, std::move(message)});
  }
  std::vector<HostileFile> take() { return std::move(all_); }

 private:
  std::vector<HostileFile> all_;
};

void add_foreign_files(Collection& files) {
  using namespace std::string_literals;
  files.add("empty", "", "The file is empty.");
  files.add("two-letters", "GG", "The file ends inside its first word: it has 2 bytes in all.");
  files.add("magic-only", "GGUF", "The file ends inside its header: it has 4 bytes in all.");
  files.add("git-lfs-pointer",
            "version https://git-lfs.github.com/spec/v1\noid "
            "sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e"
            "2393\nsize 4683073184\n",
            "This is a Git LFS pointer of 135 bytes, not the model itself (which has 4683073184 bytes). Run \"git lfs "
            "pull\"");
  files.add("html", "\n  <!DOCTYPE html>\n<html><head><title>Sign in</title>", "This is an HTML page, not a model");
  files.add("html-without-doctype", "\xef\xbb\xbf<HTML lang=\"en\"><body>404", "This is an HTML page, not a model");
  files.add("xml-error", "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>", "This is an XML text");
  files.add("json-index", "{\"metadata\": {\"total_size\": 5}}", "This is a JSON text, not a model");
  files.add("safetensors",
            "\x40\0\0\0\0\0\0\0{\"weight\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[0,16]}}"s +
                std::string(40, 1),
            "This is a safetensors file, not a GGUF file. Convert the model");
  files.add("pytorch-zip", "PK\x03\x04\0\0archive/data.pkl"s,
            "This is a zip archive, most likely a PyTorch checkpoint");
  files.add("pickle", "\x80\x02}q\0X"s, "This is a Python pickle");
  files.add("gzip", "\x1f\x8b\x08\0\0\0\0\0"s, "This is a compressed archive, not a GGUF file. Unpack it first.");
  files.add("ggjt", "tjgg\x03\0\0\0"s, "This is a model in the old GGML ggjt format, which GGUF replaced in 2023.");
  files.add("ggml", "lmgg\x20\0\0\0"s, "This is a model in the old ggml format");
  files.add("ggmf", "fmgg\x01\0\0\0"s, "This is a model in the old GGML ggmf format");
  files.add("zeros", std::string(4096, '\0'), "The file begins with zeros");
  files.add("noise", "\x8a\x11quite another file",
            "This is not a GGUF file: it begins with the bytes 8a 11 71 75 69 74 65 20");
}

void add_headers(Collection& files) {
  files.add("version-0", RawGguf(0, 0, 0),
            "The file says it is GGUF version 0, but only versions 2 and 3 can be read.");
  files.add("version-1", RawGguf(0, 0, 1), "This is a GGUF file of version 1, but only versions 2 and 3 can be read.");
  files.add("version-4", RawGguf(0, 0, 4), "The file says it is GGUF version 4");
  files.add("big-endian", RawGguf(0, 0, 0x03000000), "This is a big-endian GGUF file");
  files.add("big-endian-magic", "FUGG" + std::string(RawGguf(0, 0)).substr(4), "This is a big-endian GGUF file");
  files.add("header-cut", std::string(RawGguf(0, 0)).substr(0, 19),
            "The file ends inside the header: 8 bytes should follow byte 16");
  files.add("keys-beyond-limit", RawGguf(0, kHuge),
            "The header claims 4611686018427387904 metadata keys, but at most 65536");
  files.add("keys-beyond-file", RawGguf(0, 1000),
            "1000 metadata keys of at least 14 bytes each should follow byte 24, but only 0 bytes");
  files.add("tensors-beyond-limit", RawGguf(kHuge, 0),
            "The header claims 4611686018427387904 tensors, but at most 1048576");
  files.add("tensors-beyond-file", RawGguf(1000000, 0),
            "1000000 tensor descriptions of at least 33 bytes each should follow byte 24");
}

void add_metadata(Collection& files) {
  const auto kU32 = ValueType::Uint32;
  const auto kArray = ValueType::Array;
  auto element = [](ValueType type) { return static_cast<uint32_t>(type); };
  files.add("key-length", RawGguf(0, 1).u64(kHuge).text("abcdefgh"),
            "The file ends inside the name of metadata key 1 of 1: a string of 4611686018427387904 bytes");
  files.add("key-too-long", RawGguf(0, 1).key(std::string(65536, 'k'), kU32).u32(1),
            "A string in the name of metadata key 1 of 1 has 65536 bytes, more than the 65535 that are allowed there.");
  files.add("key-empty", RawGguf(0, 2).key("a", kU32).u32(1).key("", kU32).u32(1),
            "Metadata key 2 of 2 has an empty name.");
  files.add("key-twice", RawGguf(0, 2).key("general.name", kU32).u32(1).key("general.name", kU32).u32(2),
            "The metadata key 'general.name' stands there twice.");
  files.add("key-with-control-characters", RawGguf(0, 1).key("a\x1b[31m", 13).u64(0),
            "the metadata key 'a\\x1b[31m' has type 13");
  files.add("value-type", RawGguf(0, 1).key("a", 13).u64(0),
            "A value in the metadata key 'a' has type 13, but the format knows types 0 to 12 only.");
  files.add(
      "value-cut", RawGguf(0, 1).key("abc", ValueType::Uint64).u8(1).u16(0),
      "The file ends inside the metadata key 'abc': 8 bytes should follow byte 39, but the file has 42 bytes in all.");
  files.add("bool-2", RawGguf(0, 1).key("flag", ValueType::Bool).u8(2),
            "A bool in the metadata key 'flag' is 2, but only 0 and 1");
  files.add("string-length", RawGguf(0, 1).key("s", ValueType::String).u64(~uint64_t{0}).text("abc"),
            "The file ends inside the metadata key 's': a string of 18446744073709551615 bytes");
  files.add("string-cut", RawGguf(0, 1).key("s", ValueType::String).u64(10).text("abc"),
            "The file ends inside the metadata key 's': a string of 10 bytes should follow byte 45, but only 3 bytes "
            "are left.");
  files.add("array-type", RawGguf(0, 1).key("a", kArray).u32(77).u64(0), "A value in the metadata key 'a' has type 77");
  files.add("array-of-huge-count", RawGguf(0, 1).key("a", kArray).u32(element(ValueType::Uint8)).u64(kHuge).u64(0),
            "The file ends inside the metadata key 'a': 4611686018427387904 array elements of at least 1 byte each");
  files.add("array-of-overflowing-count",
            RawGguf(0, 1).key("a", kArray).u32(element(ValueType::Uint64)).u64(kHuge / 2 + 1).u64(0),
            "2305843009213693953 array elements of at least 8 bytes each");
  files.add("array-of-strings-cut",
            RawGguf(0, 1).key("tokens", kArray).u32(element(ValueType::String)).u64(3).string("one").string("two"),
            "The file ends inside the metadata key 'tokens': 3 array elements of at least 8 bytes each");
  files.add("array-with-long-string",
            RawGguf(0, 1).key("tokens", kArray).u32(element(ValueType::String)).u64(2).u64(900).u64(0),
            "The file ends inside the metadata key 'tokens': a string of 900 bytes");
  files.add("array-with-bool-3", RawGguf(0, 1).key("a", kArray).u32(element(ValueType::Bool)).u64(2).u8(1).u8(3),
            "A bool in the metadata key 'a' is 3");
  RawGguf deep(0, 1);
  deep.key("a", kArray);
  for (int i = 0; i < 10000; ++i) deep.u32(element(kArray)).u64(1);
  files.add("array-nested-deep", deep.u32(element(kU32)).u64(0),
            "Arrays in the metadata key 'a' are nested deeper than 4 levels.");
}

void add_tensors(Collection& files) {
  const auto kF32 = TensorType::F32;
  files.add("tensor-name-empty", RawGguf(1, 0).tensor("", {8}, kF32, 0).data(32), "Tensor 1 of 1 has an empty name.");
  files.add("tensor-name-too-long", RawGguf(1, 0).tensor(std::string(1025, 't'), {8}, kF32, 0).data(32),
            "A string in the name of tensor 1 of 1 has 1025 bytes, more than the 1024");
  files.add("tensor-twice", RawGguf(2, 0).tensor("w", {8}, kF32, 0).tensor("w", {8}, kF32, 32).data(64),
            "The tensor 'w' is listed twice.");
  files.add("tensor-list-cut", RawGguf(2, 0).tensor("w", {8}, kF32, 0).string("another.tensor").u32(2).u64(8).u64(8),
            "The file ends inside the description of the tensor 'another.tensor': 4 bytes should follow");
  files.add("tensor-without-dimensions", RawGguf(1, 0).tensor("w", {}, kF32, 0).data(32),
            "The tensor 'w' has 0 dimensions, but must have 1 to 4.");
  files.add("tensor-of-five-dimensions", RawGguf(1, 0).tensor("w", {8, 1, 1, 1, 1}, kF32, 0).data(32),
            "The tensor 'w' has 5 dimensions");
  files.add("tensor-of-many-dimensions", RawGguf(1, 0).string("w").u32(0xffffffff).u64(8).u64(0).data(32),
            "The tensor 'w' has 4294967295 dimensions");
  files.add("tensor-of-length-zero", RawGguf(1, 0).tensor("w", {8, 0}, kF32, 0).data(32),
            "The tensor 'w' has a dimension of length zero (dimension 2 of 2).");
  files.add("tensor-too-many-values", RawGguf(1, 0).tensor("w", {kHuge, 4}, kF32, 0).data(32),
            "The tensor 'w' has dimensions whose product does not fit 63 bits.");
  files.add("tensor-too-many-bytes", RawGguf(1, 0).tensor("w", {kHuge}, TensorType::F64, 0).data(32),
            "The tensor 'w' has a size in bytes that does not fit 63 bits.");
  files.add("tensor-row-not-of-blocks", RawGguf(1, 0).tensor("w", {300, 2}, TensorType::Q4_K, 0).data(512),
            "The tensor 'w' has rows of 300 values, which is not a multiple of 256, the block of its type Q4_K.");
  files.add("tensor-type-unknown", RawGguf(1, 0).tensor("w", {32}, 99, 0).data(128),
            "The tensor 'w' has the unknown type 99. Known types are F32, F16, Q4_0,");
  files.add("tensor-type-withdrawn", RawGguf(1, 0).tensor("w", {32}, 31, 0).data(128),
            "The tensor 'w' has type 31 (Q4_0_4_4), which the format has withdrawn.");
  files.add("tensor-type-withdrawn-early", RawGguf(1, 0).tensor("w", {32}, 4, 0).data(128),
            "The tensor 'w' has type 4 (Q4_2), which the format has withdrawn.");
  files.add("tensors-overlap", RawGguf(2, 0).tensor("second", {16}, kF32, 32).tensor("first", {16}, kF32, 0).data(128),
            "The tensors 'first' (bytes 128 to 192) and 'second' (from byte 160) overlap.");
  files.add("tensors-in-one-place", RawGguf(2, 0).tensor("a", {8}, kF32, 0).tensor("b", {8}, kF32, 0).data(64),
            "overlap. The file is damaged");
  files.add("tensor-misaligned", RawGguf(1, 0).tensor("w", {8}, kF32, 16).data(64),
            "The data of the tensor 'w' begin at byte 16 of the data, which is not a multiple of the alignment 32.");
  files.add("tensor-offset-overflows", RawGguf(1, 0).tensor("w", {8}, kF32, ~uint64_t{31}).data(64),
            "The data of the tensor 'w' would begin at byte 18446744073709551584 of the data and have 32 bytes, more "
            "than any file");
  files.add("tensor-end-overflows", RawGguf(1, 0).tensor("w", {kHuge / 4}, kF32, (uint64_t{3} << 62) - 32).data(64),
            "would begin at byte 13835058055282163680 of the data and have 4611686018427387904 bytes, more than any");
  files.add("tensor-outside-file", RawGguf(1, 0).tensor("w", {8}, kF32, kHuge).data(64),
            "The file is cut off in the tensor 'w'");
}

void add_truncations(Collection& files) {
  // Descriptions take 24 + 2 * 34 + 33 bytes, so the data begin at byte 128.
  RawGguf whole(3, 0);
  whole.tensor("w1", {32}, TensorType::F32, 0)
      .tensor("w2", {32}, TensorType::F32, 128)
      .tensor("w", {16}, TensorType::F32, 256);
  whole.data(320);
  files.add("download-cut", whole.bytes().substr(0, 300),
            "The file is cut off in the tensor 'w2': the file has 300 bytes, but its tensors need 448.");
  files.add("download-cut-at-last-byte", whole.bytes().substr(0, 447),
            "The file is cut off in the tensor 'w': the file has 447 bytes, but its tensors need 448.");
  files.add("download-cut-before-data", whole.bytes().substr(0, 126), "The file is cut off in the tensor 'w1'");
}

void add_alignments(Collection& files) {
  auto with = [](uint32_t alignment) {
    return RawGguf(1, 1)
        .key("general.alignment", ValueType::Uint32)
        .u32(alignment)
        .tensor("w", {8}, TensorType::F32, 0)
        .data(64)
        .bytes();
  };
  files.add("alignment-0", with(0),
            "The alignment (general.alignment) is 0, but must be a power of two from 8 to 67108864.");
  files.add("alignment-4", with(4), "The alignment (general.alignment) is 4, but must be a power of two");
  files.add("alignment-48", with(48), "The alignment (general.alignment) is 48, but must be a power of two");
  files.add("alignment-huge", with(uint32_t{1} << 31), "The alignment (general.alignment) is 2147483648, but must be");
  files.add("alignment-is-text", RawGguf(0, 1).key("general.alignment", ValueType::String).string("32"),
            "The metadata key 'general.alignment' has the type string, but an integer was expected.");
  files.add("alignment-negative", RawGguf(0, 1).key("general.alignment", ValueType::Int32).i32(-32),
            "The metadata key 'general.alignment' is -32, but a number not below zero was expected.");
}

}  // namespace

std::vector<HostileFile> hostile_files() {
  Collection files;
  add_foreign_files(files);
  add_headers(files);
  add_metadata(files);
  add_tensors(files);
  add_truncations(files);
  add_alignments(files);
  std::vector<HostileFile> all = files.take();
  for (HostileFile& shards : hostile_shards()) all.push_back(std::move(shards));
  return all;
}

std::filesystem::path write_hostile_file(const std::filesystem::path& folder, const HostileFile& hostile) {
  std::filesystem::path place = folder / hostile.name;
  std::filesystem::create_directories(place);
  for (const auto& [name, bytes] : hostile.files) write_file(place / name, bytes);
  return place / hostile.files.front().first;
}

}  // namespace sluice::gguf::testing
