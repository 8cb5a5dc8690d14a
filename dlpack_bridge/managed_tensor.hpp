#pragma once

#include <cstdint>
#include <initializer_list>
#include <limits>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <dlpack_bridge/counters.hpp>
#include <dlpack_bridge/element_types.hpp>
#include <dlpack_bridge/owner.hpp>
#include <dlpack_bridge/stream_handle.hpp>
#include <dlpack_bridge/tensor_view.hpp>

namespace dlpack_bridge {

/// An extent or stride given by a caller: any integer type, checked for range.
class checked_extent {
 public:
  template <std::integral Integer>
  constexpr checked_extent(Integer value) : value_(static_cast<extent>(value)) {
    if (!std::in_range<extent>(value)) throw std::out_of_range("an extent leaves 63 bits");
  }
  constexpr operator extent() const noexcept { return value_; }

 private:
  extent value_;
};

/// Shape or strides in a call: `{rows, 3}`, or any span of extents.
class extent_list {
 public:
  extent_list() = default;
  extent_list(std::initializer_list<checked_extent> values)
      : values_(values.begin(), values.end()) {}
  extent_list(std::span<const extent> values) : values_(values.begin(), values.end()) {}

  operator std::span<const extent>() const noexcept { return values_; }
  std::size_t size() const noexcept { return values_.size(); }
  bool empty() const noexcept { return values_.empty(); }
  const extent* data() const noexcept { return values_.data(); }

 private:
  std::vector<extent> values_;
};

/// The owner of an array in DLPack's own form. Move-only; drops the array exactly once, on any
/// thread. Everything that passes through the hub is one of these.
class managed_tensor {
 public:
  managed_tensor() noexcept = default;
  managed_tensor(managed_tensor&& other) noexcept
      : tensor_(std::exchange(other.tensor_, nullptr)), origin_(other.origin_),
        stream_(other.stream_) {}
  managed_tensor& operator=(managed_tensor&& other) noexcept;
  managed_tensor(const managed_tensor&) = delete;
  managed_tensor& operator=(const managed_tensor&) = delete;
  ~managed_tensor() { reset(); }

  /// Takes a managed tensor from a producer and checks it. The major version is looked at before
  /// any other field. Missing strides are completed in a block of the hub, never in the producer's.
  /// After a throw the producer's deleter has run.
  /// @throws version_error another major version
  /// @throws exchange_error `malformed`: what `validate` finds
  static managed_tensor adopt(DLManagedTensorVersioned* raw);
  /// The same for a struct of DLPack 0.x, which has no flags: taken as writable.
  static managed_tensor adopt(DLManagedTensor* raw);

  /// Makes the hub's managed tensor around memory that `keep` keeps alive: one allocation with
  /// shape and strides inline, strides canonical, `byte_offset` 0 (handle devices keep theirs).
  /// `flags` are DLPack's; READ_ONLY is added for a read-only view. After a throw `keep` has been
  /// released.
  static managed_tensor wrap(const tensor_view& view, owner keep, std::uint64_t flags = 0);

  /// Gives the tensor to a consumer, who calls its deleter. Leaves this empty.
  DLManagedTensorVersioned* release() && noexcept;
  /// The same as DLPack 0.x, which cannot say read-only: the caller has made sure that the consumer
  /// does not write.
  DLManagedTensor* release_legacy() &&;

  tensor_view view() const& noexcept;
  tensor_view view() const&& = delete;
  operator tensor_view() const& noexcept { return view(); }
  operator tensor_view() const&& = delete;

  /// The struct itself, to look at. Null when empty.
  const DLManagedTensorVersioned* get() const noexcept { return tensor_; }
  explicit operator bool() const noexcept { return tensor_ != nullptr; }
  bool read_only() const noexcept { return (flags() & DLPACK_FLAG_BITMASK_READ_ONLY) != 0; }
  bool is_copied() const noexcept { return (flags() & DLPACK_FLAG_BITMASK_IS_COPIED) != 0; }
  std::uint64_t flags() const noexcept { return tensor_ == nullptr ? 0 : tensor_->flags; }

  /// Which world the array came from, as a number that `python/` gives its meaning; 0 is C++.
  std::uint32_t origin() const noexcept { return origin_; }
  void set_origin(std::uint32_t origin) noexcept { origin_ = origin; }
  /// The stream the array's last writer runs on, when it is known.
  stream_handle stream() const noexcept { return stream_; }
  void set_stream(stream_handle stream) noexcept { stream_ = stream; }

  /// Drops the array now.
  void reset() noexcept;

 private:
  explicit managed_tensor(DLManagedTensorVersioned* tensor) noexcept : tensor_(tensor) {}

  DLManagedTensorVersioned* tensor_ = nullptr;
  std::uint32_t origin_ = 0;
  stream_handle stream_;
};

/// The alignment of memory the hub allocates unless more is asked for: a cache line, and what XLA
/// needs to share (it copies anything below 64 bytes).
inline constexpr std::int64_t default_alignment = 64;

/// Uninitialised host memory of its own: one allocation for struct, shape, strides and elements.
/// `alignment` is a power of two.
/// @throws std::bad_alloc, std::invalid_argument (an impossible shape or alignment)
managed_tensor make_tensor(const extent_list& shape, dtype type,
                           std::int64_t alignment = default_alignment);

/// Shares memory with an owner: a shared_ptr, a moved container, any object that is destroyed, or
/// any callable that is called when the last user is gone. There is no overload without an owner.
/// `strides` in elements, empty for row-major. After a throw the owner is gone.
/// @throws std::invalid_argument what `validate` finds; strides of another length than the shape
template <class Owner>
managed_tensor share(const void* data, const extent_list& shape, const extent_list& strides,
                     dtype type, Owner&& keep, device where = {}, bool read_only = false) {
  owner kept = owner::of(std::forward<Owner>(keep));
  if (!strides.empty() && strides.size() != shape.size()) {
    throw std::invalid_argument("share: strides and shape differ in length");
  }
  const tensor_view view(const_cast<void*>(data), shape.data(),
                         strides.empty() ? nullptr : strides.data(),
                         static_cast<std::int32_t>(shape.size()), type, where, read_only);
  const DLTensor checked{const_cast<void*>(data),
                         where,
                         view.ndim(),
                         type,
                         const_cast<extent*>(shape.data()),
                         const_cast<extent*>(view.strides()),
                         0};
  if (const defect found = validate(checked); found != defect::none) {
    throw std::invalid_argument(std::string("share: ") + to_string(found));
  }
  return managed_tensor::wrap(view, std::move(kept));
}

/// Shares a vector without a copy; it dies with the array. One axis unless `shape` says otherwise.
template <class T>
  requires(!std::is_same_v<T, bool>)
managed_tensor share(std::vector<T>&& elements, const extent_list& shape = {}) {
  auto kept = std::make_unique<std::vector<T>>(std::move(elements));
  const extent_list whole = shape.empty() ? extent_list{kept->size()} : shape;
  const std::optional<std::int64_t> count = element_count(whole);
  if (!count || *count != static_cast<std::int64_t>(kept->size())) {
    throw std::invalid_argument("share: the shape does not hold as many elements as the vector");
  }
  T* const data = kept->data();
  return share(data, whole, {}, dtype_for<T>, std::move(kept));
}

}  // namespace dlpack_bridge
