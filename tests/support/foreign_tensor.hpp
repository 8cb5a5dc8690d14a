#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include <dlpack_bridge/dtype.hpp>
#include <dlpack_bridge/layout.hpp>

/// What a producer outside the hub hears of its array.
struct deletions {
  std::atomic<int> count{0};
  std::thread::id thread;
};

/// An array of a producer outside the hub, in either struct of DLPack: struct, shape, strides and
/// elements lie on the heap, so that a read beside them or after the deleter is found by ASan.
template <class Managed>
struct foreign_tensor {
  using extents = std::vector<dlpack_bridge::extent>;

  /// Makes an array and gives away its struct; the deleter drops the whole.
  static Managed* make(deletions& heard, extents shape = {2, 3}, extents strides = {3, 1}) {
    return &(new foreign_tensor(heard, std::move(shape), std::move(strides)))->managed;
  }

  foreign_tensor(deletions& heard, extents its_shape, extents its_strides)
      : shape(std::move(its_shape)), strides(std::move(its_strides)), heard(&heard) {
    managed.manager_ctx = this;
    managed.deleter = [](Managed* self) {
      const std::unique_ptr<foreign_tensor> dying(static_cast<foreign_tensor*>(self->manager_ctx));
      dying->heard->thread = std::this_thread::get_id();
      ++dying->heard->count;
    };
    managed.dl_tensor.data = elements;
    managed.dl_tensor.device = {kDLCPU, 0};
    managed.dl_tensor.ndim = static_cast<std::int32_t>(shape.size());
    managed.dl_tensor.dtype = dlpack_bridge::float32;
    managed.dl_tensor.shape = shape.empty() ? nullptr : shape.data();
    managed.dl_tensor.strides = strides.empty() ? nullptr : strides.data();
    if constexpr (requires { managed.version; }) managed.version = {1, 3};
  }

  alignas(64) float elements[32] = {};
  extents shape, strides;
  deletions* heard;
  Managed managed{};
};
