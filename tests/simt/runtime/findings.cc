#include "tests/simt/runtime/findings.h"

#include <mutex>
#include <utility>

namespace sluice::simt {
namespace {
std::mutex mutex;
std::vector<std::string> findings;
}  // namespace

void report_finding(std::string sentence) {
  std::lock_guard lock(mutex);
  findings.push_back(std::move(sentence));
}

std::vector<std::string> take_findings() {
  std::lock_guard lock(mutex);
  return std::exchange(findings, {});
}

}  // namespace sluice::simt
