#include "engine/device/cuda/crossing.h"

#include <algorithm>

namespace sluice::engine::cuda {

static bool can_read_peer(int gpu, int peer) {
  int can = 0;
  if (cudaDeviceCanAccessPeer(&can, gpu, peer) != cudaSuccess) cudaGetLastError();
  if (can == 0) return false;
  enter_gpu(gpu);
  const cudaError_t status = cudaDeviceEnablePeerAccess(peer, 0);
  if (status != cudaSuccess) cudaGetLastError();
  return status == cudaSuccess || status == cudaErrorPeerAccessAlreadyEnabled;
}

Crossing::Crossing(int to_gpu, int from_gpu, bool reads_peer)
    : to_gpu_(to_gpu), from_gpu_(from_gpu), is_straight_(reads_peer && can_read_peer(to_gpu, from_gpu)) {
  enter_gpu(from_gpu_);
  made_.emplace();
  enter_gpu(to_gpu_);
  arrived_.emplace();
}

Crossing::~Crossing() {
  if (host_) cudaEventSynchronize(arrived_->get());
}

void Crossing::copy(Pass& to_pass, void* to, Pass& from_pass, const void* from, uint64_t bytes) {
  if (bytes == 0) return;
  enter_gpu(from_gpu_);
  from_pass.submit();
  if (is_straight_)
    copy_straight(to_pass, to, from_pass, from, bytes);
  else
    copy_through_host(to_pass, to, from_pass, from, bytes);
}

static void record(const EventHandle& event, const Pass& pass) {
  check(cudaEventRecord(event.get(), pass.stream()), "ordering two GPUs");
}

void Crossing::copy_straight(Pass& to_pass, void* to, Pass& from_pass, const void* from, uint64_t bytes) {
  record(*made_, from_pass);
  enter_gpu(to_gpu_);
  to_pass.submit();
  to_pass.follow(made_->get());
  // Either may lie in pinned memory, where VRAM has ended.
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, to_pass.stream()), "copying from another GPU");
  record(*arrived_, to_pass);
  from_pass.follow(arrived_->get());
}

void Crossing::copy_through_host(Pass& to_pass, void* to, Pass& from_pass, const void* from, uint64_t bytes) {
  if (host_.bytes() < bytes) {
    check(cudaEventSynchronize(arrived_->get()), "copying from another GPU");
    host_ = pinned_memory(std::max(bytes, 2 * host_.bytes()));
  }
  from_pass.follow(arrived_->get());  // what was in that memory before
  check(cudaMemcpyAsync(host_.host(), from, bytes, cudaMemcpyDefault, from_pass.stream()), "copying to another GPU");
  record(*made_, from_pass);
  enter_gpu(to_gpu_);
  to_pass.submit();
  to_pass.follow(made_->get());
  check(cudaMemcpyAsync(to, host_.host(), bytes, cudaMemcpyDefault, to_pass.stream()), "copying from another GPU");
  record(*arrived_, to_pass);
}

}  // namespace sluice::engine::cuda
