#pragma once

#include <dlpack_bridge/cuda/stream_ref.hpp>
#include <dlpack_bridge/stream_facts.hpp>

namespace dlpack_bridge::cuda {

/// Makes later work on `consumer` wait for all work that is on `producer` now: one event record and
/// one wait; nothing when both are the same stream. Does not synchronise: the host goes on at once.
/// Between streams of one capture the order becomes an edge of its graph. A consumer on a sleeping
/// device wakes it.
/// @throws exchange_error `capture`: the order would break a capture; nothing was touched
/// @throws exchange_error `stream`: one of the streams was destroyed and the other has its handle,
///   or one is the per-thread stream of another thread
/// @throws cuda_error
void order_after(const stream_ref& consumer, const stream_ref& producer);

/// The same for protocol numbers of two devices. Two equal ones cost no driver call.
/// @throws exchange_error `capture`
/// @throws cuda_error
void order_after(device consumer_device, stream_handle consumer, device producer_device,
                 stream_handle producer);

/// Blocks the host until the work that is on the stream now has run.
/// @throws exchange_error `capture`: the stream captures, and waiting would break that
/// @throws cuda_error
void wait_for(device where, stream_handle stream);

/// The device that a stream belongs to, and whether it captures. Does not synchronise, disturbs no
/// capture, wakes no device.
/// @throws cuda_error
stream_state look_at(device where, stream_handle stream);

}  // namespace dlpack_bridge::cuda
