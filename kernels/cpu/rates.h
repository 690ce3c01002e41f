// What this machine can do, measured in some milliseconds: what a choice between forms of weights needs to know.
#pragma once

#include <cstdint>

#include "gguf/tensor_type.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/resident.h"

namespace sluice::kernels {

// Bytes a second that all threads of the pool read together from `bytes` of memory: the best of some passes. The default
// is several times the last-level cache of most machines.
double read_bandwidth(ThreadPool& pool, uint64_t bytes = uint64_t{128} << 20);

// Multiply-adds a second that all threads do together with weights in cached memory, by so many inputs: blocks of the type, or its
// resident form when one is given. By one input it is weights a second.
double product_rate(ThreadPool& pool, gguf::TensorType type, const ResidentForm* form, int64_t n_inputs = 1);

// Multiply-adds a second of attention: the heads of one token over a cache in F16 that they share, scores and values together.
double attention_rate(ThreadPool& pool);

}  // namespace sluice::kernels
