#pragma once

#include <cstddef>

#include "frame.hpp"

namespace fake_cuda {

// Blocks of memory: who allocated them, who freed them, when they may be handed out again.

/// The block that an address lies in; null when the driver did not hand it out.
block* block_at(world& w, address where);

/// Fresh memory, filled with 0xCD.
/// @throws call_failed CUDA_ERROR_OUT_OF_MEMORY
block& allocate(frame& f, context& home, block_kind kind, std::size_t bytes);

/// Memory of somebody else becomes known.
/// @throws call_failed 712 when a part of it is known already
block& enroll(frame& f, context& home, block_kind kind, address begin, std::size_t bytes);
void strike_off(world& w, block& b);

/// The host frees a block. A race with device work on it that the host has not waited for: the
/// driver may wait for the device here, and need not.
void free_on_host(frame& f, block& b);

/// The block that a call is to free. A wrong address and a second time are findings.
/// @throws call_failed CUDA_ERROR_INVALID_VALUE
block& need_block_to_free(frame& f, address begin);

/// Stream-ordered allocation. A block that was freed in the order of the same stream is handed out
/// again at once, of other streams when the free is ordered before.
block& allocate_on(frame& f, stream& s, memory_pool& pool, std::size_t bytes);
void free_on(frame& f, stream& s, block& b);

/// A pool gives blocks back to the system whose free the host has waited for, and keeps `keep` bytes.
void shrink(world& w, memory_pool& pool, std::uint64_t keep);
/// What every pool does in every synchronisation.
void shrink_to_thresholds(world& w);

/// Whether kernels of a context reach a block.
bool reaches(const context& from, const block& b);
/// The device meets an address that it cannot reach; every later call on it fails alike.
[[noreturn]] void fault(frame& f, const context& c, const char* what);

/// `m` touches a range; `known` is what is ordered before it. Races, freed memory and bytes beyond
/// the end of a block are findings.
void touch(frame& f, byte_range range, bool writes, moment m, const vector_clock& known);

/// The last node of a capturing stream will touch a range: a race with nodes of its own graph that
/// no edge orders.
void touch_in_graph(frame& f, stream& s, byte_range range, bool writes);

void forget_memory(world& w);

}  // namespace fake_cuda
