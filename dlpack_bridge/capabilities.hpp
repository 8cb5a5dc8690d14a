#pragma once

#include <cstdint>
#include <initializer_list>
#include <string_view>

#include <dlpack_bridge/device.hpp>
#include <dlpack_bridge/dtype.hpp>

namespace dlpack_bridge {

/// The worlds an array can come from or go to.
enum class framework : std::uint8_t {
  cpp,    ///< a C++ caller: takes everything
  array,  ///< the hub's own Python type
  numpy,
  torch,
  jax,
  cupy,
  tensorflow,
  tvm_ffi,
  other,  ///< a producer known by its protocol only
};

inline constexpr int frameworks = static_cast<int>(framework::other) + 1;

/// A set of DLPack device types.
class device_set {
 public:
  constexpr device_set() noexcept = default;
  constexpr device_set(std::initializer_list<DLDeviceType> types) noexcept {
    for (const DLDeviceType t : types) bits_ |= bit(t);
  }
  static constexpr device_set every() noexcept {
    device_set set;
    set.bits_ = ~std::uint32_t{0};
    return set;
  }
  constexpr bool contains(DLDeviceType t) const noexcept { return (bits_ & bit(t)) != 0; }
  constexpr void add(DLDeviceType t) noexcept { bits_ |= bit(t); }

 private:
  static constexpr std::uint32_t bit(DLDeviceType t) noexcept {
    // A type that DLPack has not given out is in no set.
    return static_cast<unsigned>(t) < 32 ? std::uint32_t{1} << static_cast<unsigned>(t) : 0;
  }
  std::uint32_t bits_ = 0;
};

/// Most axes of an array in any framework: room for the shape of whatever negotiation let through.
inline constexpr std::int32_t most_held_axes = 64;

/// What a framework can hold, as plain data. One row per framework stands in `capabilities_of`;
/// what depends on the installed version (a build without CUDA, a missing `ml_dtypes`) is a changed
/// copy that the framework's target row keeps.
struct capabilities {
  framework id = framework::other;
  std::string_view name;     ///< as users write it in `convert(x, "...")`
  std::string_view package;  ///< what to pip install
  device_set devices;        ///< device types it holds under their own label
  dtype_set dtypes;          ///< element types it holds
  bool negative_strides = false;
  bool any_strides = true;     ///< false: dense row-major only
  bool read_only = false;      ///< can hold an array that must not be written
  bool immutable = false;      ///< never writes, so read-only memory may be shared with it
  bool carries_order = false;  ///< an array of it knows its stream, and is ordered when it leaves
  /// Takes memory without being told a stream: memory of a device is complete before, unless the caller
  /// orders (stream=-1).
  bool asks_no_stream = false;
  std::int64_t alignment = 1;              ///< multiple that the first element's address must have
  std::int32_t max_ndim = most_held_axes;  ///< most axes it can hold
};

/// The row of a framework.
const capabilities& capabilities_of(framework id) noexcept;

/// The framework of a name, or `framework::other`.
framework framework_of(std::string_view name) noexcept;

}  // namespace dlpack_bridge
