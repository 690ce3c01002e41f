#include "gguf/diagnose.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstring>
#include <string>
#include <string_view>

#include "gguf/message.h"

namespace sluice::gguf {

static std::string lower_case(std::string_view text) {
  std::string result(text);
  std::ranges::transform(result, result.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return result;
}

// Past a byte order mark and white space, where text files begin.
static std::string_view skip_to_text(std::string_view head) {
  if (head.starts_with("\xef\xbb\xbf")) head.remove_prefix(3);
  while (!head.empty() && std::isspace(static_cast<unsigned char>(head.front()))) head.remove_prefix(1);
  return head;
}

// The rest of the line that begins with `word`, or nothing.
static std::string_view line_after(std::string_view head, std::string_view word) {
  size_t begin = head.find(word);
  if (begin == std::string_view::npos) return {};
  begin += word.size();
  return head.substr(begin, head.find_first_of("\r\n", begin) - begin);
}

static bool looks_like_safetensors(std::string_view head, uint64_t file_bytes) {
  // A 64-bit length of the JSON header, then the header.
  uint64_t header_bytes = 0;
  if (head.size() < 9) return false;
  std::memcpy(&header_bytes, head.data(), sizeof header_bytes);
  return head[8] == '{' && header_bytes >= 2 && header_bytes <= file_bytes - 8;
}

static std::string first_bytes(std::string_view head) {
  std::string text;
  for (unsigned char c : head.substr(0, 8)) {
    constexpr char kHex[] = "0123456789abcdef";
    if (!text.empty()) text += ' ';
    text += kHex[c >> 4];
    text += kHex[c & 15];
  }
  return text;
}

// Sentences about a file that does not begin with the letters GGUF.
static std::string describe_foreign(std::string_view head, uint64_t file_bytes) {
  constexpr std::string_view kConvert = "Convert the model to GGUF, or download a GGUF file of it.";
  auto begins = [&](std::string_view magic) { return head.starts_with(magic); };

  if (begins("version https://git-lfs"))
    return joined("This is a Git LFS pointer of ", counted(file_bytes, "byte"), ", not the model itself",
                  line_after(head, "\nsize ").empty() ? std::string()
                                                      : joined(" (which has ", line_after(head, "\nsize "), " bytes)"),
                  ". Run \"git lfs pull\" in its folder to fetch the model.");
  std::string text = lower_case(skip_to_text(head));
  if (text.starts_with("<!doctype html") || text.starts_with("<html") || text.starts_with("<head"))
    return "This is an HTML page, not a model: a web page was saved instead of the file. Download the file itself (the "
           "link "
           "behind the download button).";
  if (text.starts_with("<?xml"))
    return "This is an XML text, not a model: most likely a server's error message was saved instead of the file. Read "
           "it "
           "with a text viewer and download the file again.";
  if (begins("PK\x03\x04"))
    return joined("This is a zip archive, most likely a PyTorch checkpoint, not a GGUF file. ", kConvert);
  if (begins("\x80\x02") || begins("\x80\x04"))
    return joined("This is a Python pickle, most likely an old PyTorch checkpoint, not a GGUF file. ", kConvert);
  if (looks_like_safetensors(head, file_bytes))
    return joined("This is a safetensors file, not a GGUF file. ", kConvert);
  if (begins("\x1f\x8b") || begins("\x28\xb5\x2f\xfd") ||
      begins("\xfd"
             "7zXZ") ||
      begins("7z\xbc\xaf"))
    return "This is a compressed archive, not a GGUF file. Unpack it first.";
  // The oldest formats wrote their magic as a 32-bit number, so its letters stand backwards in the file.
  for (std::string_view name : {"ggml", "ggmf", "ggjt", "ggla"}) {
    std::string backwards(name.rbegin(), name.rend());
    if (begins(name) || begins(backwards))
      return joined("This is a model in the old ", name == "ggml" ? "" : "GGML ", name,
                    " format, which GGUF replaced in 2023. Download a GGUF file of the model.");
  }
  if (text.starts_with("{"))
    return "This is a JSON text, not a model: an index or configuration file, or a server's error message saved "
           "instead of "
           "the file. Download the .gguf file itself.";
  if (std::ranges::all_of(head, [](char c) { return c == 0; }))
    return "The file begins with zeros: its space was reserved, but the download never wrote its beginning. Download "
           "it again.";
  if (begins("FUGG"))
    return "This is a big-endian GGUF file, but only little-endian files can be read. Download or convert a "
           "little-endian one.";
  return joined(
      "This is not a GGUF file: it begins with the bytes ", first_bytes(head),
      " instead of the letters GGUF (47 47 55 46). Check that the right file was downloaded, and download it again.");
}

void refuse_foreign_file(const InputFile& file) {
  if (file.bytes() == 0)
    fail(file.path(), "The file is empty. The download failed or has not begun; download it again.");
  std::array<std::byte, 512> buffer;
  std::string_view head(reinterpret_cast<const char*>(buffer.data()), file.read_at(0, buffer));
  if (!head.starts_with("GGUF")) {
    if (head.size() < 4 && std::string_view("GGUF").starts_with(head))
      fail(file.path(), "The file ends inside its first word: it has ", counted(file.bytes(), "byte"),
           " in all. The download is incomplete; download it again.");
    fail(file.path(), describe_foreign(head, file.bytes()));
  }
  if (head.size() < 8)
    fail(file.path(), "The file ends inside its header: it has ", counted(file.bytes(), "byte"),
         " in all. The download is incomplete; download it again.");

  uint32_t version = 0;
  std::memcpy(&version, head.data() + 4, sizeof version);
  if (version == 2 || version == 3) return;
  if (version == 1)
    fail(file.path(),
         "This is a GGUF file of version 1, but only versions 2 and 3 can be read. Download a newer file of the "
         "model, or convert it again.");
  // A small number whose bytes stand the other way round.
  if (version != 0 && (version & 0xffff) == 0)
    fail(file.path(),
         "This is a big-endian GGUF file, but only little-endian files can be read. Download or convert a "
         "little-endian one.");
  fail(
      file.path(), "The file says it is GGUF version ", version,
      ", but only versions 2 and 3 can be read. It is damaged, or newer than this program: download it again or update "
      "the program.");
}

}  // namespace sluice::gguf
