#pragma once

#include <dlpack_bridge/cuda/loan_record.hpp>

namespace dlpack_bridge::cuda {

/// What can be done with memory whose owner was dropped.
enum class verdict {
  due,      ///< let it go: every use is ordered before any reuse its producer can make
  waiting,  ///< the events of its readers are recorded and not all reached
  parked,   ///< a capture forbids to record, or there was no memory for it: settle again later
  lost,     ///< nothing can be known any more: it must never go
};

/// Tells the producer of each stream of use, if it wants to know: what it protects itself needs
/// nothing more. Once, on the thread that dropped the owner.
void ask_listener(loan_record& record) noexcept;

/// Does what a release needs at this moment, one of: nothing, when nobody or only the home stream
/// reads; make the home stream wait for the readers; record an event on each reader and ask it.
/// May be called again until the verdict is `due` or `lost`. Does not synchronise, breaks no
/// capture, wakes no device. One caller at a time per record.
///
/// That nothing captures is looked up first, and must still hold when the stream is used: true for
/// the threads of the program, which say themselves when they begin to capture, and for no others.
verdict settle(loan_record& record) noexcept;

/// Asks for the events that `settle` recorded, and `parked` where it has not. Touches no stream, so
/// any thread may do it at any time.
verdict ask_again(loan_record& record) noexcept;

/// Blocks the host until the readers of a waiting record are through. False when the driver says
/// no.
bool wait_for_readers(loan_record& record) noexcept;

}  // namespace dlpack_bridge::cuda
