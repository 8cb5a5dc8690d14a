#pragma once

#include <array>
#include <cassert>
#include <concepts>
#include <span>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include <dlpack_bridge/array_axes.hpp>
#include <dlpack_bridge/array_form.hpp>
#include <dlpack_bridge/array_iterator.hpp>
#include <dlpack_bridge/managed_tensor.hpp>
#include <dlpack_bridge/owner.hpp>

struct CUstream_st;  // `cudaStream_t` and `CUstream` are pointers to it

namespace dlpack_bridge {

/// Where an array was before it came into C++: its device and the number of its world (0: C++).
struct alignas(8) array_origin {  // whole words: moved in one go
  dlpack_bridge::device where;
  std::uint32_t world = 0;
};

/// What an array is made of when its form has been checked already.
struct checked_view {
  tensor_view view;   ///< fits the form
  shared_owner keep;  ///< keeps its memory alive
  stream_handle stream;
  array_origin origin;
};

/// A pointer that is null once it was moved from.
template <class T>
class moved_pointer {
 public:
  moved_pointer() noexcept = default;
  explicit moved_pointer(T* at) noexcept : at_(at) {}
  moved_pointer(const moved_pointer&) noexcept = default;
  moved_pointer(moved_pointer&& other) noexcept : at_(std::exchange(other.at_, nullptr)) {}
  moved_pointer& operator=(const moved_pointer&) noexcept = default;
  moved_pointer& operator=(moved_pointer&& other) noexcept {
    at_ = std::exchange(other.at_, nullptr);
    return *this;
  }
  ~moved_pointer() = default;

  T* get() const noexcept { return at_; }

 private:
  T* at_ = nullptr;
};

/// A type that std::mdspan, Kokkos::mdspan and cuda::std::mdspan are models of.
template <class M>
concept mdspan_like = requires {
  typename M::element_type;
  typename M::data_handle_type;
  typename M::extents_type;
  typename M::mapping_type;
  typename M::index_type;
  { M::rank() } -> std::convertible_to<std::size_t>;
};

/// A typed view of an array together with its owner: element type, rank, layout and place are checked
/// once, when it is made. Copies share the memory, which lives as long as one of them does, and may
/// be dropped on any thread. Like a span it does not pass its own constness on to the elements.
///
/// The memory itself is not guarded: threads that write to common elements synchronise themselves.
template <class T, int Rank = dynamic, class... Tags>
class array {
  static constexpr array_tags tags = tags_of<Tags...>;
  static_assert(tags.strangers == 0, "array: a tag that does not exist");
  static_assert(tags.orders <= 1, "array: c_contiguous or f_contiguous, once");
  static_assert(tags.places <= 1, "array: one of on_cpu, on_cuda and on_any, once");
  static_assert(tags.conversions <= 1 && tags.shapes <= 1, "array: a tag is given twice");
  static_assert(tags.shapes == 0 || Rank == dynamic || Rank == tags.rank,
                "array: the rank and the number of extents differ");
  static_assert(Rank >= dynamic, "array: a rank is 0 or more, or dynamic");
  static_assert(
      !tags.converts || std::is_const_v<T>,
      "array: only const elements can be converted: what is written into a converted copy "
      "would be lost");
  static_assert(!tags.converts || tags.order != memory_order::f,
                "array: a conversion makes row-major memory, never column-major");
  static constexpr int static_rank = tags.shapes == 0 ? Rank : tags.rank;
  static constexpr bool on_host = tags.place == memory_place::cpu;
  template <class, int, class...>
  friend class array;

 public:
  using element_type = T;
  using value_type = std::remove_cv_t<T>;
  using iterator = std::conditional_t<tags.order == memory_order::c, T*, array_iterator<T>>;

  /// What it holds, as plain data.
  static constexpr const array_form& form() noexcept { return form_of<T, Rank, Tags...>; }

  /// No memory: no elements. So is an array that was moved from.
  array() noexcept = default;

  /// Takes an array that fits, or, with `converting`, one that can be converted. `t` is gone after a
  /// throw. Device memory keeps the stream it is ordered on.
  /// @throws exchange_error with every mismatch; `malformed` when `t` is empty
  explicit array(managed_tensor t) : array(from_fitting(fit(std::move(t), form()))) {}

  /// Precondition: `checked.view` fits the form.
  explicit array(checked_view&& checked)
      : data_(static_cast<T*>(checked.view.data())), keep_(std::move(checked.keep)),
        axes_(checked.view), stream_(checked.stream), device_(checked.view.device()),
        origin_(checked.origin), offset_(checked.view.byte_offset()) {}

  /// The same memory in a wider form: const elements, a dynamic rank, fewer demands.
  template <class U, int OtherRank, class... OtherTags>
    requires(std::is_convertible_v<U (*)[], T (*)[]> &&
             is_wider(form_of<T, Rank, Tags...>, form_of<U, OtherRank, OtherTags...>))
  array(const array<U, OtherRank, OtherTags...>& other)
      : array(checked_view{other.view(), other.keep_, other.stream_, other.origin_}) {}

  std::int32_t ndim() const noexcept { return static_cast<std::int32_t>(shape().size()); }
  /// A temporary gives no view of itself, and no spans or iterators either: they would outlive it.
  auto shape() const& noexcept { return axes_.shape(); }
  void shape() const&& = delete;
  extent shape(int axis) const noexcept { return shape()[static_cast<std::size_t>(axis)]; }
  /// In elements.
  auto strides() const& noexcept { return axes_.strides(); }
  void strides() const&& = delete;
  extent stride(int axis) const noexcept { return strides()[static_cast<std::size_t>(axis)]; }
  /// Number of elements.
  extent size() const noexcept {
    extent count = data() == nullptr ? 0 : 1;
    for (const extent n : shape()) count *= n;
    return count;
  }
  bool empty() const noexcept { return size() == 0; }
  bool is_c_contiguous() const noexcept {
    return dlpack_bridge::is_c_contiguous(shape(), strides().data());
  }

  /// The first element. Memory of a device is for its kernels; on handle devices it is the handle.
  T* data() const noexcept { return data_.get(); }
  /// Bytes from a handle to the first element; 0 on devices with addresses.
  std::uint64_t byte_offset() const noexcept { return offset_.get(); }
  dlpack_bridge::device device() const noexcept { return device_; }
  /// The CUDA stream that the memory is ordered on: work put there comes after what has been written.
  /// Null for host memory.
  CUstream_st* stream() const noexcept {
    return stream_.known() ? reinterpret_cast<CUstream_st*>(stream_.protocol()) : nullptr;
  }
  stream_handle stream_number() const noexcept { return stream_; }
  const array_origin& origin() const noexcept { return origin_; }
  const shared_owner& owner() const noexcept { return keep_; }

  /// A borrowed look without the element type.
  tensor_view view() const& noexcept {
    const DLTensor tensor{const_cast<value_type*>(data()),
                          device_,
                          ndim(),
                          dtype_for<value_type>,
                          const_cast<extent*>(shape().data()),
                          const_cast<extent*>(strides().data()),
                          byte_offset()};
    return tensor_view(tensor, std::is_const_v<T>);
  }
  tensor_view view() const&& = delete;

  /// One element, the index not checked. Host memory only.
  template <std::integral... Index>
    requires(on_host && (static_rank == dynamic || sizeof...(Index) == static_rank))
  T& operator()(Index... index) const noexcept {
    assert(static_cast<std::int32_t>(sizeof...(Index)) == ndim());
    extent offset = 0;
    const extent* stride = strides().data();
    ((offset += static_cast<extent>(index) * *stride++), ...);
    return data()[offset];
  }
  T& operator[](extent index) const noexcept
    requires(on_host && (static_rank == dynamic || static_rank == 1))
  {
    return (*this)(index);
  }
  /// One element, the index checked: none is inside an array without memory.
  /// @throws std::out_of_range
  template <std::integral... Index>
    requires(on_host && (static_rank == dynamic || sizeof...(Index) == static_rank))
  T& at(Index... index) const {
    bool inside = data() != nullptr && static_cast<std::int32_t>(sizeof...(Index)) == ndim();
    int axis = 0;
    ((inside = inside && std::cmp_greater_equal(index, 0) && std::cmp_less(index, shape(axis++))),
     ...);
    if (!inside) throw std::out_of_range("array: the index leaves the array");
    return (*this)(index...);
  }

  /// All elements in one row.
  /// @throws std::logic_error the memory is not row-major and dense; with `c_contiguous` it is
  std::span<T> span() const& {
    if constexpr (tags.order != memory_order::c) {
      if (!is_c_contiguous()) throw std::logic_error("array: span() needs row-major, dense memory");
    }
    return {data(), static_cast<std::size_t>(size())};
  }
  std::span<T> span() const&& = delete;

  /// The elements in row-major order: pointers with `c_contiguous`. Host memory only.
  iterator begin() const& noexcept
    requires(on_host)
  {
    return iterator_at(0);
  }
  iterator end() const& noexcept
    requires(on_host)
  {
    return iterator_at(size());
  }
  iterator begin() const&& = delete;
  iterator end() const&& = delete;

  /// An mdspan of the same memory, which this array must outlive.
  /// @throws std::invalid_argument its static extents, its rank or its layout are not those of the array
  /// @throws exchange_error `malformed`: no memory, and a shape that has elements
  template <mdspan_like M>
    requires(std::is_convertible_v<T*, typename M::data_handle_type> &&
             (static_rank == dynamic || M::rank() == static_cast<std::size_t>(static_rank)))
  operator M() const& {
    if (data() == nullptr) detail::check_no_elements(shape());
    return M(data(), mapping<M>(std::make_index_sequence<M::rank()>()));
  }
  template <mdspan_like M>
  operator M() const&& = delete;

 private:
  static checked_view from_fitting(managed_tensor t) {
    const tensor_view view = t.view();
    const stream_handle stream = t.stream();
    const array_origin origin{view.device(), t.origin()};
    return {view, shared_owner(dlpack_bridge::owner::of_managed(std::move(t).release())), stream,
            origin};
  }

  iterator iterator_at(extent position) const noexcept {
    if constexpr (tags.order == memory_order::c) return data() + position;
    else return iterator(data(), shape(), strides(), position);
  }

  // Each library has an array type of its own for extents and strides: both are named as they are used.
  template <class M, std::size_t... Axes>
  typename M::mapping_type mapping(std::index_sequence<Axes...>) const {
    using index = typename M::index_type;
    using mapping_type = typename M::mapping_type;
    if (static_cast<std::size_t>(ndim()) != M::rank()) refuse_mdspan();
    (check_axis<M>(Axes), ...);
    const typename M::extents_type extents(static_cast<index>(shape()[Axes])...);
    if constexpr (requires(const mapping_type& strided) { strided.strides(); }) {
      using strides_type = std::remove_cvref_t<decltype(std::declval<mapping_type>().strides())>;
      return mapping_type(extents, strides_type{static_cast<index>(strides()[Axes])...});
    } else {
      const mapping_type made(extents);
      if constexpr (M::rank() > 0) {  // else there is no stride to ask for
        const auto differs = [&](std::size_t axis) {
          return shape()[axis] > 1 && std::cmp_not_equal(made.stride(axis), strides()[axis]);
        };
        if (!empty() && (differs(Axes) || ...)) refuse_mdspan();
      }
      return made;
    }
  }

  template <class M>
  void check_axis(std::size_t axis) const {
    using index = typename M::index_type;
    const auto fixed = M::extents_type::static_extent(axis);
    const bool any = fixed == static_cast<decltype(fixed)>(-1);
    const bool fits = std::in_range<index>(shape()[axis]) && std::in_range<index>(strides()[axis]);
    if (!fits || !(any || std::cmp_equal(fixed, shape()[axis]))) refuse_mdspan();
  }

  [[noreturn]] static void refuse_mdspan() {
    throw std::invalid_argument("array: the mdspan has another rank, extent or layout");
  }

  moved_pointer<T> data_;
  shared_owner keep_;  // beside `data_`: both are moved in one go
  array_axes<static_rank> axes_;
  stream_handle stream_;
  dlpack_bridge::device device_{on_host ? kDLCPU : kDLCUDA};
  array_origin origin_;
  [[no_unique_address]] handle_offset<tags.place == memory_place::any> offset_;
};

/// Shares the memory of an array as a managed tensor: read-only when its elements are const.
/// @throws std::bad_alloc; exchange_error `malformed`: no memory, and a shape that has elements
template <class T, int Rank, class... Tags>
managed_tensor share(const array<T, Rank, Tags...>& x) {
  if (x.data() == nullptr) detail::check_no_elements(x.shape());
  managed_tensor shared = managed_tensor::wrap(x.view(), owner::of(x.owner()));
  shared.set_origin(x.origin().world);
  shared.set_stream(x.stream_number());
  return shared;
}

}  // namespace dlpack_bridge
