// What happens at the edge between the engine's C++ and a caller's C: exceptions become results, structs of other sizes
// are read and written safely.
#pragma once

#include <cstring>
#include <string>
#include <string_view>

#include "engine/error.h"
#include "include/sluice.h"

namespace sluice::capi {

// Writes the sentence into the caller's error, when there is one, and gives back the result.
sluice_result report(sluice_error* error, sluice_result result, std::string_view sentence);

// Reports the exception that is being handled. Call it in a catch block only.
sluice_result report_current_exception(sluice_error* error);

[[noreturn]] void fail_usage(const std::string& sentence);

// Runs a function's body. Nothing leaves but a result.
template <class Body>
sluice_result guarded(sluice_error* error, const Body& body) {
  try {
    const sluice_result result = body();
    if (result == SLUICE_OK) return report(error, SLUICE_OK, {});
    return result;
  } catch (...) {
    return report_current_exception(error);
  }
}

// A required pointer argument.
template <class T>
T& required(T* pointer, const char* what) {
  if (pointer == nullptr) fail_usage(std::string(what) + " is NULL; pass one that is open.");
  return *pointer;
}

// An options struct as this library knows it, from one that an older or newer caller filled: fields that the caller
// does not have take their defaults, fields that this library does not have must be zero. Null means all defaults.
template <class Options>
Options read_options(const Options* given, const Options& defaults, const char* name) {
  if (given == nullptr) return defaults;
  const size_t size = given->struct_size;
  if (size < sizeof(uint32_t) || size > 4096)
    fail_usage(std::string(name) + ".struct_size is " + std::to_string(size) + ", expected " +
               std::to_string(sizeof(Options)) + "; start from the sluice_default_...() function.");
  const auto* bytes = reinterpret_cast<const unsigned char*>(given);
  for (size_t i = sizeof(Options); i < size; ++i)
    if (bytes[i] != 0)
      fail_usage(std::string(name) + " sets a field that this libsluice does not know; install a newer one.");
  Options options = defaults;
  std::memcpy(static_cast<void*>(&options), given, size < sizeof(Options) ? size : sizeof(Options));
  options.struct_size = sizeof(Options);
  return options;
}

// Fills as much of the caller's description as the caller has room for; fields unknown here are left as they are.
template <class Info>
void write_info(Info* target, Info info, const char* name) {
  const size_t size = required(target, name).struct_size;
  if (size < sizeof(uint32_t) || size > 4096)
    fail_usage(std::string(name) + "->struct_size is " + std::to_string(size) + ", expected " +
               std::to_string(sizeof(Info)) + "; set it to the struct's sizeof before the call.");
  info.struct_size = target->struct_size;
  std::memcpy(static_cast<void*>(target), &info, size < sizeof(Info) ? size : sizeof(Info));
}

}  // namespace sluice::capi
