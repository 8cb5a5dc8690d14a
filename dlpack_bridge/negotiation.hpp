#pragma once

#include <bit>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <dlpack_bridge/capabilities.hpp>
#include <dlpack_bridge/reason.hpp>
#include <dlpack_bridge/stream_facts.hpp>
#include <dlpack_bridge/tensor_view.hpp>

namespace dlpack_bridge {

/// Whether the result may, or must, be a copy.
enum class copy_policy : std::uint8_t {
  if_needed,  ///< share when possible, otherwise copy
  never,      ///< share or refuse
  always,     ///< a fresh writable allocation
};

/// What becomes of memory that must not be written when the target could write it.
enum class readonly_policy : std::uint8_t {
  copy,   ///< copy read-only memory for a target that cannot say read-only
  share,  ///< share it all the same: the caller promises not to write
  error,  ///< refuse
};

/// What the caller asks for. The default asks for nothing in particular.
struct requirements {
  std::optional<dlpack_bridge::dtype> dtype{};  ///< element type of the result
  bool bits = false;  ///< the unsigned integers of the same width; not beside `dtype`
  std::optional<dlpack_bridge::device> device{};  ///< where the result must live
  copy_policy copy = copy_policy::if_needed;
  bool detach = false;  ///< share the values of a tensor that requires grad
  readonly_policy readonly = readonly_policy::copy;
  bool c_order = false;        ///< the result must be C-contiguous
  std::int64_t alignment = 1;  ///< a power of two: the first element's address is a multiple of it
  stream_handle stream{};      ///< where the caller will use the result; unknown: not said
  /// A number that is none of CUDA's streams; the largest or smallest for one beyond 64 bits.
  std::optional<std::int64_t> refused_stream{};
  bool complete = false;  ///< the result must be complete on return: its user knows no stream
  /// What keeps the stream alive, as `python/` knows it (opaque here).
  const void* stream_object = nullptr;
  /// A dtype that DLPack lacks, as `python/` knows it: only an array that has it already will do.
  const void* named_dtype = nullptr;

  /// True when nothing is asked of dtype, device, layout and address.
  bool keeps_form() const noexcept {
    return !dtype && !bits && !device && !c_order && alignment == 1;
  }
  /// True when an array of the target is the answer itself, whatever it holds.
  bool asks_nothing() const noexcept {
    return copy != copy_policy::always && keeps_form() && !detach && !stream.known() &&
           !refused_stream && named_dtype == nullptr;
  }
  friend bool operator==(const requirements&, const requirements&) noexcept = default;
};

/// Whether the last axis of packed elements fills whole bytes, as `bits` needs it.
bool fills_bytes(const tensor_view& packed) noexcept;

/// The stream that the caller names where there is no such stream on a kind of device; empty when it
/// may be used there, when none is named, and for -1.
std::optional<std::int64_t> missing_stream(const requirements& wanted, DLDeviceType where) noexcept;

/// What is known of an array, and what is out of the ordinary: a word, so that an array like most is
/// known at a glance.
struct alignas(std::uint64_t) array_facts {
  bool has_layout = true;  ///< data, shape and strides are known
  bool has_dtype = true;   ///< `view.dtype()` is the element type
  bool has_device = true;
  bool byte_strides =
      false;  ///< a stride is no multiple of the element: `view.strides()` is in bytes
  bool overlapping = false;   ///< two indices reach a common byte, or nobody could tell
  bool padded = false;        ///< sub-byte elements that take a byte each, not packed
  bool is_copied = false;     ///< the producer says that it made this copy
  bool driver_fails = false;  ///< CUDA's driver answered, and failed when asked about a stream

  /// All of it is as at first.
  constexpr bool is_ordinary() const noexcept {
    return std::bit_cast<std::uint64_t>(*this) == std::bit_cast<std::uint64_t>(array_facts());
  }
};

/// What a source knows about an array before anything is decided. A plain record on the stack:
/// shape and strides are borrowed.
struct description : array_facts {
  tensor_view view;
  layout_facts layout;               ///< of `view`, when `has_layout`
  std::int64_t itemsize = 0;         ///< bytes of an element, also of one that DLPack lacks
  driver_status driver = no_driver;  ///< of CUDA; asked only where memory needs one
  reason_set state;  ///< what was observed: requires_grad, conj, sparse, byte_order, ...
  framework source = framework::other;
  bool says_contiguous = false;  ///< without a layout: its framework says that it is C-contiguous
  bool same_framework = false;   ///< the object is already an array of the target
  stream_facts streams = no_streams();  ///< of device memory, when the driver answers
  std::string_view dtype_name;  ///< the producer's name of an element type that DLPack lacks
  std::string_view note;        ///< what there is to say beyond the codes: a defect, a version
};

/// What is done with an array.
enum class action : std::uint8_t { share, copy, refuse };

/// What will be done, and why. A plain value: texts are made from it when someone reads them.
struct decision {
  dlpack_bridge::action action = action::share;
  bool identity = false;             ///< the result is the object itself
  bool read_only = false;            ///< the result cannot be written
  bool copies_here = false;          ///< the hub writes the result (false: the producer had copied)
  bool keeps_bits = false;           ///< the result is the `bits` view: elements are not converted
  bool only_copy_forbidden = false;  ///< refused, and `copy=None` would work
  reason_set reasons;                ///< why it copies
  reason_set blockers;               ///< why it is refused
  dlpack_bridge::dtype dtype;        ///< of the result
  dlpack_bridge::device device;      ///< of the result
  std::int64_t alignment = 1;        ///< a copy is allocated at a multiple of this
  std::int64_t nbytes = 0;           ///< bytes of the result that are written
  stream_handle stream;              ///< what the result is ordered on; unknown for the host
  stream_handle work_stream;         ///< where a copy runs; unknown: on the hub's own stream
  bool after_producer = false;       ///< that stream, or the copy's, waits for the producer's
  bool producer_after = false;       ///< the producer's stream waits for the copy
  bool host_waits = false;           ///< the result is complete on return

  friend constexpr bool operator==(const decision&, const decision&) noexcept = default;
};

/// A stream and what it is made to wait for; unknown when only the producer knows.
struct stream_wait {
  stream_handle consumer;
  stream_handle producer;
};

/// The waits of a decision, for reports.
std::vector<stream_wait> waits_of(const decision& decided, const description& source);

namespace detail {
decision judge(const description& source, const requirements& wanted,
               const capabilities& target) noexcept;
}

/// Whether nothing is asked of an array in which there is nothing to judge: host memory that is shared as
/// it is, as most exchanges are.
inline bool is_shared_at_sight(const description& s, const requirements& r,
                               const capabilities& t) noexcept {
  if (!r.asks_nothing() || !s.is_ordinary() || !s.state.empty()) return false;
  if (s.view.device().type != kDLCPU || s.same_framework) return false;
  if (s.view.read_only() || t.immutable || s.view.ndim() > t.max_ndim) return false;
  const bool simple = s.layout.c_contiguous || (t.any_strides && s.layout.negative_axis < 0);
  // No element needs more than its size.
  const std::int64_t unit = (s.itemsize - 1) | (t.alignment - 1);
  const bool is_aligned = (reinterpret_cast<std::intptr_t>(s.view.data()) & unit) == 0;
  return simple && is_aligned && t.devices.contains(kDLCPU) &&
         t.dtypes.contains(id_of(s.view.dtype()));
}

/// Decides share, copy or refuse with every reason. Pure: no Python, no driver call, no allocation. This,
/// with its look at sight, is the only place in the project that judges.
inline decision negotiate(const description& source, const requirements& wanted,
                          const capabilities& target) noexcept {
  if (!is_shared_at_sight(source, wanted, target)) return detail::judge(source, wanted, target);
  decision shared;
  shared.dtype = source.view.dtype();
  shared.device = source.view.device();
  return shared;
}

/// The sentence of one code for people; ends in the remedy where there is one.
std::string explain(reason_code code, const description& source, const requirements& wanted,
                    const capabilities& target);

/// All codes of a set with their sentences.
std::vector<reason> explain_all(reason_set codes, const description& source,
                                const requirements& wanted, const capabilities& target);

/// "device cpu, dtype float32, shape (3, 4), strides (4, 1)": what is known of a source.
std::string summary(const description& source);

/// The whole text of a refusal: source, target, each blocker and its remedy, as `explain_all` has them.
std::string refusal_text(std::span<const reason> blockers, const description& source,
                         const capabilities& target);

}  // namespace dlpack_bridge
