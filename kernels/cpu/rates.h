// What this machine can do, measured in some milliseconds: what a choice between forms of weights needs to know.
#pragma once

#include "gguf/tensor_type.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/resident.h"

namespace sluice::kernels {

// Bytes a second that all threads of the pool read together from memory that no cache holds.
double read_bandwidth(ThreadPool& pool);

// Weights a second that all threads multiply together by one input, from cached memory: blocks of the type, or its
// resident form when one is given.
double product_rate(ThreadPool& pool, gguf::TensorType type, const ResidentForm* form);

}  // namespace sluice::kernels
