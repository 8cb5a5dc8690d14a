#pragma once

#include <array>
#include <cstddef>
#include <type_traits>

// As much of mdspan as its models (std, Kokkos, libcu++) have in common and a conversion needs: the
// compilers of the tests have none of them.
namespace small_mdspan {

inline constexpr std::size_t dynamic_extent = static_cast<std::size_t>(-1);

template <class Index, std::size_t... Extents>
class extents {
 public:
  using index_type = Index;
  static constexpr std::size_t rank() { return sizeof...(Extents); }
  static constexpr std::size_t static_extent(std::size_t axis) {
    constexpr std::array<std::size_t, sizeof...(Extents)> all{Extents...};
    return all[axis];
  }
  template <class... Sizes>
    requires(sizeof...(Sizes) == sizeof...(Extents))
  constexpr explicit extents(Sizes... sizes) : sizes_{static_cast<Index>(sizes)...} {}
  constexpr Index extent(std::size_t axis) const { return sizes_[axis]; }

 private:
  std::array<Index, sizeof...(Extents)> sizes_;
};

struct layout_stride {
  template <class Extents>
  class mapping {
   public:
    using strides_type = std::array<typename Extents::index_type, Extents::rank()>;
    mapping(const Extents& sizes, const strides_type& steps) : sizes_(sizes), steps_(steps) {}
    const strides_type& strides() const { return steps_; }
    auto stride(std::size_t axis) const { return steps_[axis]; }
    const Extents& sizes() const { return sizes_; }

   private:
    Extents sizes_;
    strides_type steps_;
  };
};

struct layout_right {
  template <class Extents>
  class mapping {
   public:
    explicit mapping(const Extents& sizes) : sizes_(sizes) {}
    auto stride(std::size_t axis) const {
      typename Extents::index_type step = 1;
      for (std::size_t i = Extents::rank(); --i > axis;) step *= sizes_.extent(i);
      return step;
    }
    const Extents& sizes() const { return sizes_; }

   private:
    Extents sizes_;
  };
};

template <class T, class Extents, class Layout = layout_right>
class mdspan {
 public:
  using element_type = T;
  using data_handle_type = T*;
  using extents_type = Extents;
  using index_type = typename Extents::index_type;
  using mapping_type = typename Layout::template mapping<Extents>;
  static constexpr std::size_t rank() { return Extents::rank(); }

  mdspan(T* data, const mapping_type& mapping) : data_(data), mapping_(mapping) {}
  template <class... Index>
  T& operator()(Index... index) const {
    std::size_t axis = 0;
    index_type offset = 0;
    ((offset += static_cast<index_type>(index) * mapping_.stride(axis++)), ...);
    return data_[offset];
  }
  index_type extent(std::size_t axis) const { return mapping_.sizes().extent(axis); }

 private:
  T* data_;
  mapping_type mapping_;
};

}  // namespace small_mdspan
