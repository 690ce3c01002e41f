// Scratch memory of one forward pass.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/device/device.h"

namespace sluice::engine {

// Hands out rows from one device buffer, in stack order. Grows by further buffers, which reset() joins into one, so
// after the first pass of a size there is no allocation.
class Workspace {
 public:
  explicit Workspace(Device& device) : device_(device) {}

  // Uninitialised rows, each beginning at a multiple of 64 bytes.
  Rows rows(int64_t n_rows, int64_t n_cols);

  // Everything handed out since the mark may be handed out again.
  struct Mark {
    size_t buffer;
    uint64_t used;
  };
  Mark mark() const { return {current_, used_}; }
  void release(Mark mark);

  // Ends a pass.
  void reset();
  // The same, and gives all memory back.
  void clear();
  uint64_t bytes() const;

 private:
  Device& device_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
  size_t current_ = 0;  // the buffer that is being handed out
  uint64_t used_ = 0;   // bytes of it
};

// Releases what was handed out in a scope.
class WorkspaceScope {
 public:
  explicit WorkspaceScope(Workspace& workspace) : workspace_(workspace), mark_(workspace.mark()) {}
  ~WorkspaceScope() { workspace_.release(mark_); }
  WorkspaceScope(const WorkspaceScope&) = delete;
  WorkspaceScope& operator=(const WorkspaceScope&) = delete;

 private:
  Workspace& workspace_;
  Workspace::Mark mark_;
};

}  // namespace sluice::engine
