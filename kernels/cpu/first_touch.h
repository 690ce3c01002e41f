// Where the pages of weights lie on a machine with several memory nodes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/thread_pool.h"

namespace sluice::kernels {

// Reads one byte of every page of n_matrices equal matrices that lie one behind the other, and so brings them into
// memory. Each matrix is divided between the pool's threads as ThreadPool::run_ranges() divides its rows; the system
// puts a page that nobody has touched on the node of the thread that touches it first, so the rows of a matrix come to
// lie where they will be multiplied, when a call multiplies by one matrix; the tiles of several are one run, which is
// divided as a whole. Pages that are already in memory stay where they are. For memory that is written,
// such as weights in another form, the same happens by itself when it is written by run_ranges() over rows.
//
// On one node this is what reading the file takes anyway, shared by all threads.
void touch_pages(ThreadPool& pool, const std::byte* matrices, int64_t n_matrices, uint64_t matrix_bytes);

}  // namespace sluice::kernels
