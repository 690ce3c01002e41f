#include "engine/capi/boundary.h"

#include <algorithm>
#include <new>
#include <stdexcept>
#include <system_error>

#include "gguf/error.h"
#include "tokenizer/tokenizer.h"

namespace sluice::capi {

sluice_result report(sluice_error* error, sluice_result result, std::string_view sentence) {
  if (error == nullptr) return result;
  error->result = result;
  constexpr size_t kRoom = sizeof(error->message) - 1;  // the terminator takes one byte
  if (sentence.size() <= kRoom) {
    std::copy(sentence.begin(), sentence.end(), error->message);
    error->message[sentence.size()] = '\0';
    return result;
  }
  constexpr std::string_view kMore = "...";
  size_t kept = kRoom - kMore.size();
  // A byte 10xxxxxx continues a UTF-8 character: step back to where one begins.
  while (kept > 0 && (static_cast<unsigned char>(sentence[kept]) & 0xC0) == 0x80) --kept;
  char* end = std::copy_n(sentence.begin(), kept, error->message);
  end = std::copy(kMore.begin(), kMore.end(), end);
  *end = '\0';
  return result;
}

static sluice_result result_of(engine::Error::Kind kind) {
  switch (kind) {
    case engine::Error::Kind::Usage:
      return SLUICE_ERROR_USAGE;
    case engine::Error::Kind::BadFile:
      return SLUICE_ERROR_FILE;
    case engine::Error::Kind::OutOfMemory:
      return SLUICE_ERROR_MEMORY;
    case engine::Error::Kind::Device:
      return SLUICE_ERROR_DEVICE;
  }
  return SLUICE_ERROR_INTERNAL;
}

sluice_result report_current_exception(sluice_error* error) {
  try {
    throw;
  } catch (const engine::Error& e) {
    return report(error, result_of(e.kind()), e.what());
  } catch (const gguf::Error& e) {
    return report(error, SLUICE_ERROR_FILE, e.what());
  } catch (const tokenizer::Error& e) {
    return report(error, SLUICE_ERROR_FILE, e.what());
  } catch (const std::bad_alloc&) {
    return report(error, SLUICE_ERROR_MEMORY,
                  "There is not enough memory; close other programs, or take a smaller model or context.");
  } catch (const std::exception& e) {
    return report(error, SLUICE_ERROR_INTERNAL, e.what());
  } catch (...) {
    return report(error, SLUICE_ERROR_INTERNAL, "The engine failed in a way that it does not know; please report it.");
  }
}

void fail_usage(const std::string& sentence) {
  throw engine::Error(engine::Error::Kind::Usage, sentence);
}

}  // namespace sluice::capi
