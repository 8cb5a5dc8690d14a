#pragma once

#include <optional>

#include <dlpack_bridge/capabilities.hpp>
#include <dlpack_bridge/python/object.hpp>
#include <dlpack_bridge/stream_facts.hpp>

namespace dlpack_bridge::python {

// How a producer's `__dlpack__` is called: keywords that it lacks are dropped, most wanted last.

struct dlpack_call {
  ref dlpack;  ///< `__dlpack__` of the type
  ref self;
  device where;  ///< where the producer says that its array is
  bool forbids_copy = false;
};

/// Where the producer says its array is; empty with an error set.
std::optional<device> announced_device(PyObject* method, PyObject* self) noexcept;

/// Asks a producer of host memory. Empty with the producer's error set.
ref ask_on_host(const dlpack_call& call);

/// Asks a producer on a GPU, with its device current; `streams` says afterwards what its work is
/// ordered before. A producer that takes no stream is an error, unless the caller orders. Empty with
/// the producer's error set.
/// @throws device_error
ref ask_in_order(const dlpack_call& call, stream_handle told, bool caller_orders,
                 stream_facts& streams);

/// True when the call failed because the producer has no such keyword: nothing of it ran, so there is
/// no traceback. A TypeError of its own is another matter.
bool lacks_keyword() noexcept;

}  // namespace dlpack_bridge::python
