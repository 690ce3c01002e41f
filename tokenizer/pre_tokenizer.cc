#include "tokenizer/pre_tokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <utility>

#include "tokenizer/tokenizer.h"
#include "tokenizer/utf8.h"

namespace sluice::tokenizer {
namespace {

struct FreeCode {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
};
struct FreeMatch {
  void operator()(pcre2_match_data* match) const { pcre2_match_data_free(match); }
};
struct FreeContext {
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
};
using Code = std::unique_ptr<pcre2_code, FreeCode>;
using Match = std::unique_ptr<pcre2_match_data, FreeMatch>;
using MatchContext = std::unique_ptr<pcre2_match_context, FreeContext>;

// PCRE2 counts U+180E as \s, the models' tokenisers do not: spell the White_Space property out.
constexpr std::string_view kWhiteSpace = R"re(\p{Z}\t-\r\x{85})re";

// The characters whose script is Han. Not \p{Han}: PCRE2 releases disagree on whether that means script extensions.
constexpr std::string_view kHan =
    R"re(\x{2E80}-\x{2E99}\x{2E9B}-\x{2EF3}\x{2F00}-\x{2FD5}\x{3005}\x{3007}\x{3021}-\x{3029}\x{3038}-\x{303B}\x{3400}-\x{4DBF}\x{4E00}-\x{9FFF}\x{F900}-\x{FA6D}\x{FA70}-\x{FAD9}\x{16FE2}\x{16FE3}\x{16FF0}\x{16FF1}\x{20000}-\x{2A6DF}\x{2A700}-\x{2B739}\x{2B740}-\x{2B81D}\x{2B820}-\x{2CEA1}\x{2CEB0}-\x{2EBE0}\x{2EBF0}-\x{2EE5D}\x{2F800}-\x{2FA1D}\x{30000}-\x{3134A}\x{31350}-\x{323AF})re";

// The expression as PCRE2 should read it.
std::string adapted(std::string_view expression) {
  std::string result;
  bool in_class = false;
  for (size_t i = 0; i < expression.size(); ++i) {
    const std::string_view rest = expression.substr(i);
    if (rest.starts_with("\\s")) {
      result += in_class ? std::string(kWhiteSpace) : "[" + std::string(kWhiteSpace) + "]";
      ++i;
    } else if (rest.starts_with("\\S") && !in_class) {
      result += "[^" + std::string(kWhiteSpace) + "]";
      ++i;
    } else if (rest.starts_with("HAN") && in_class) {
      result += kHan;
      i += 2;
    } else if (rest.front() == '\\') {
      result += rest.substr(0, 2);
      ++i;
    } else {
      if (rest.front() == '[') in_class = true;
      if (rest.front() == ']') in_class = false;
      result += rest.front();
    }
  }
  return result;
}

std::string message_of(int code) {
  PCRE2_UCHAR buffer[256];
  pcre2_get_error_message(code, buffer, sizeof(buffer));
  return reinterpret_cast<const char*>(buffer);
}

}  // namespace

class PreTokenizer::Expression {
 public:
  explicit Expression(std::string_view text) {
    const std::string pattern = adapted(text);
    int error = 0;
    PCRE2_SIZE error_offset = 0;
    code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), PCRE2_UTF | PCRE2_UCP,
                              &error, &error_offset, nullptr));
    if (!code_) {
      throw Error("the expression of the pre-tokeniser does not compile with the installed PCRE2: " +
                  message_of(error) + " at offset " + std::to_string(error_offset) + " of " + pattern);
    }
    // Where code cannot be generated, matching falls back to the interpreter by itself.
    pcre2_jit_compile(code_.get(), PCRE2_JIT_COMPLETE);
  }

  // Appends the matches in `piece` (valid UTF-8) and the text between them.
  void split(std::string_view piece, pcre2_match_data* match, pcre2_match_context* context,
             std::vector<std::string_view>& pieces) const {
    const auto* subject = reinterpret_cast<PCRE2_SPTR>(piece.data());
    size_t done = 0;
    size_t search = 0;
    while (search < piece.size()) {
      int found = pcre2_match(code_.get(), subject, piece.size(), search, PCRE2_NO_UTF_CHECK, match, context);
      if (found == PCRE2_ERROR_JIT_STACKLIMIT) {
        found =
            pcre2_match(code_.get(), subject, piece.size(), search, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, match, context);
      }
      if (found == PCRE2_ERROR_NOMATCH) break;
      if (found < 0) throw Error("the text cannot be split into words: " + message_of(found) + "; try shorter words");
      const PCRE2_SIZE* offsets = pcre2_get_ovector_pointer(match);
      const size_t begin = offsets[0];
      const size_t end = offsets[1];
      if (end <= begin) {  // an empty match splits nothing; go on after the next character
        search = end + next_utf8(piece.substr(end)).bytes;
        continue;
      }
      if (begin > done) pieces.push_back(piece.substr(done, begin - done));
      pieces.push_back(piece.substr(begin, end - begin));
      done = search = end;
    }
    if (done < piece.size()) pieces.push_back(piece.substr(done));
  }

 private:
  Code code_;
};

PreTokenizer::PreTokenizer(const PreTokenizerRule& rule) {
  for (const std::string_view expression : rule.expressions) expressions_.emplace_back(expression);
}
PreTokenizer::PreTokenizer(PreTokenizer&&) noexcept = default;
PreTokenizer& PreTokenizer::operator=(PreTokenizer&&) noexcept = default;
PreTokenizer::~PreTokenizer() = default;

std::vector<std::string_view> PreTokenizer::split(std::string_view text) const {
  const Match match(pcre2_match_data_create(1, nullptr));
  const MatchContext context(pcre2_match_context_create(nullptr));
  if (!match || !context) throw std::bad_alloc();
  // The limits guard against runaway expressions; ours are linear, but a single word may be megabytes long.
  pcre2_set_match_limit(context.get(), 1u << 31);
  pcre2_set_depth_limit(context.get(), 1u << 31);

  std::vector<std::string_view> result;
  std::vector<std::string_view> pieces;
  std::vector<std::string_view> next;
  while (!text.empty()) {
    const size_t valid = valid_utf8_prefix(text);
    if (valid > 0) {
      pieces.assign(1, text.substr(0, valid));
      for (const Expression& expression : expressions_) {
        next.clear();
        for (const std::string_view piece : pieces) expression.split(piece, match.get(), context.get(), next);
        pieces.swap(next);
      }
      result.insert(result.end(), pieces.begin(), pieces.end());
      text.remove_prefix(valid);
    }
    if (text.empty()) break;
    const size_t invalid = next_utf8(text).bytes;
    result.push_back(text.substr(0, invalid));
    text.remove_prefix(invalid);
  }
  return result;
}

}  // namespace sluice::tokenizer
