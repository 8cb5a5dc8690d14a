#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include <dlpack_bridge/counters.hpp>
#include <dlpack_bridge/element_types.hpp>
#include <dlpack_bridge/extent_list.hpp>
#include <dlpack_bridge/owner.hpp>
#include <dlpack_bridge/stream_handle.hpp>
#include <dlpack_bridge/tensor_view.hpp>

namespace dlpack_bridge {

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
  /// @throws exchange_error `malformed`: what `validate` finds; no struct at all
  static managed_tensor adopt(DLManagedTensorVersioned* raw);
  /// The same for a struct of DLPack 0.x, which has no flags: taken as writable.
  static managed_tensor adopt(DLManagedTensor* raw);

  /// Makes the hub's managed tensor around memory that `keep` keeps alive: one allocation with
  /// shape and strides inline, strides canonical, `byte_offset` 0 (handle devices keep theirs).
  /// `flags` are DLPack's; READ_ONLY is added for a read-only view. `in_turn`: one thread at a time says
  /// so, as with a GIL; what it makes is counted the cheaper way. After a throw `keep` has been released.
  static managed_tensor wrap(const tensor_view& view, owner keep, std::uint64_t flags = 0,
                             bool in_turn = false);
  /// The same for dense rows and a consumer that is quicker without strides, which DLPack before 1.2 lets
  /// a struct leave out: it is one of `strideless_dlpack_version`. Precondition: the view has none, and one
  /// thread at a time calls this, as with a GIL. The caller owns the result. `keep` is left alone by a throw.
  /// @throws std::bad_alloc
  static DLManagedTensorVersioned* wrap_strideless(const tensor_view& view, owner&& keep,
                                                   std::uint64_t flags);

  /// Gives the tensor to a consumer, who calls its deleter. Leaves this empty.
  DLManagedTensorVersioned* release() && noexcept { return std::exchange(tensor_, nullptr); }
  /// The same as DLPack 0.x, which cannot say read-only: the caller has made sure that the consumer
  /// does not write.
  DLManagedTensor* release_legacy() && noexcept;

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
  void reset() noexcept {
    if (DLManagedTensorVersioned* dying = std::exchange(tensor_, nullptr)) dying->deleter(dying);
  }

 private:
  explicit managed_tensor(DLManagedTensorVersioned* tensor) noexcept : tensor_(tensor) {}

  DLManagedTensorVersioned* tensor_ = nullptr;
  std::uint32_t origin_ = 0;
  stream_handle stream_;
};

/// Uninitialised host memory of its own: one allocation for struct, shape, strides and elements.
/// `alignment` is a power of two.
/// @throws std::bad_alloc, std::invalid_argument (an impossible shape or alignment), std::out_of_range
/// (an extent leaves 63 bits)
managed_tensor make_tensor(const extent_list& shape, dtype type,
                           std::int64_t alignment = default_alignment);

/// Where shared memory begins: any pointer. What is reached through a pointer to const is read-only.
class memory_start {
 public:
  template <class T>
  constexpr memory_start(T* data) noexcept
      : data_(const_cast<std::remove_cv_t<T>*>(data)), read_only_(std::is_const_v<T>) {}
  constexpr memory_start(std::nullptr_t) noexcept {}

  constexpr void* data() const noexcept { return data_; }
  constexpr bool read_only() const noexcept { return read_only_; }

 private:
  void* data_ = nullptr;
  bool read_only_ = false;
};

namespace detail {

managed_tensor share_kept(void* data, std::span<const extent> shape,
                          std::span<const extent> strides, dtype type, owner keep, device where,
                          bool read_only);
/// The bytes of an array that is to be made.
/// @throws std::invalid_argument an impossible shape or alignment
std::int64_t bytes_to_make(std::span<const extent> shape, dtype type, std::int64_t alignment);
/// @throws std::invalid_argument
void check_element_count(std::span<const extent> shape, std::size_t count);
/// @throws exchange_error `malformed`: the shape has elements, although there is no memory
void check_no_elements(std::span<const extent> shape);
/// @throws exchange_error `malformed`
[[noreturn]] void refuse_malformed(const char* what);

}  // namespace detail

/// Shares memory with an owner: a shared_ptr, a moved container, any object that is destroyed, or
/// any callable that is called when the last user is gone. There is no overload without an owner.
/// `strides` in elements, empty for row-major. Read-only when `read_only` says so or `data` points to
/// const. After a throw the owner is gone.
/// @throws std::invalid_argument what `validate` finds; strides of another length than the shape
/// @throws std::out_of_range an extent or stride leaves 63 bits
template <class Owner>
managed_tensor share(memory_start data, const extent_list& shape, const extent_list& strides,
                     dtype type, Owner&& keep, device where = {}, bool read_only = false) {
  owner kept = owner::of(std::forward<Owner>(keep));
  return detail::share_kept(data.data(), shape, strides, type, std::move(kept), where,
                            read_only || data.read_only());
}

/// The same for row-major elements on the CPU whose type the pointer tells.
template <class T, class Owner>
managed_tensor share(T* data, const extent_list& shape, Owner&& keep) {
  return share(data, shape, {}, dtype_for<std::remove_cv_t<T>>, std::forward<Owner>(keep));
}

/// Shares a vector without a copy, as one axis; it dies with the array. After a throw its elements
/// are gone.
template <class T>
  requires(!std::is_same_v<T, bool>)
managed_tensor share(std::vector<T>&& elements) {
  T* const data = elements.data();
  const extent shape[] = {static_cast<extent>(elements.size())};
  owner kept = owner::of(std::move(elements));
  return detail::share_kept(data, shape, {}, dtype_for<T>, std::move(kept), {}, false);
}

/// The same in any shape that holds as many elements: `{}` for a single one without axes.
/// @throws std::invalid_argument another number of elements; what `share` throws
template <class T>
  requires(!std::is_same_v<T, bool>)
managed_tensor share(std::vector<T>&& elements, const extent_list& shape) {
  T* const data = elements.data();
  const std::size_t count = elements.size();
  owner kept = owner::of(std::move(elements));
  detail::check_element_count(shape, count);
  return detail::share_kept(data, shape, {}, dtype_for<T>, std::move(kept), {}, false);
}

}  // namespace dlpack_bridge
