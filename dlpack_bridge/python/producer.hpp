#pragma once

#include <optional>

#include <dlpack_bridge/python/road.hpp>

namespace dlpack_bridge::python {

/// What a framework tells of an array before its `__dlpack__` is called.
enum class shortcut : std::uint8_t {
  none,       ///< the protocol is to be asked; no error is set
  described,  ///< the array is described, or refused
  exported,   ///< `in.capsule` is what its `__dlpack__` would have given
  failed,     ///< an error is set that must pass through
};

/// What a framework's `__dlpack__` does otherwise than the protocol, and what tells the same by cheaper
/// means: one row each, in the file of the framework. What its arrays can be stands in `capabilities_of`. A
/// null function: as the protocol has it.
struct producer_row {
  framework id = framework::other;
  /// -1 for a stream is no order to it; false where it is taken for a stream.
  bool takes_no_sync = true;
  /// `__dlpack_device__` may fail where `__dlpack__` says better what is wrong.
  bool device_may_fail = false;

  /// Cheaper means than `__dlpack__`. `dlpack` and `dlpack_device` are the type's methods; the second may be
  /// null.
  shortcut (*ask_first)(inbound& in, PyObject* dlpack, PyObject* dlpack_device) = nullptr;
  /// Describes device memory for a look where an export would order something. False only with an error set
  /// that must pass through.
  bool (*look_at_device)(inbound& in, device where) = nullptr;
  /// Where an array is that does not say it by `__dlpack_device__`; leaves no error set.
  std::optional<device> (*find_device)(PyObject* x) noexcept = nullptr;
};

/// A framework of which nothing is known.
inline constexpr producer_row any_producer;

extern const producer_row jax_producer;         // jax.cpp
extern const producer_row tensorflow_producer;  // tensorflow.cpp

}  // namespace dlpack_bridge::python
