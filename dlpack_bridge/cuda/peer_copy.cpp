#include <dlpack_bridge/cuda/peer_copy.hpp>

#include <array>
#include <utility>

#include <dlpack_bridge/cuda/context.hpp>
#include <dlpack_bridge/cuda/copy_engine.hpp>
#include <dlpack_bridge/cuda/device_copy.hpp>
#include <dlpack_bridge/cuda/handshake.hpp>
#include <dlpack_bridge/cuda/memory.hpp>
#include <dlpack_bridge/cuda/stream.hpp>

namespace dlpack_bridge::cuda {
namespace {

using strides = std::array<extent, detail::copy_plan::most_axes>;

/// Memory on the way, which must not be freed once a stream that is not its home may use it.
class temporary {
 public:
  temporary(std::int64_t bytes, device where, stream_handle stream)
      : memory_(allocate(bytes, 256, where, stream)) {}
  temporary(const temporary&) = delete;
  temporary& operator=(const temporary&) = delete;
  ~temporary() {
    if (lent_) abandon(std::move(memory_.keep));
  }

  void* data() const noexcept { return memory_.data; }
  void lend() noexcept { lent_ = true; }
  void give_back() noexcept { lent_ = false; }

 private:
  backend_memory memory_;
  bool lent_ = false;
};

/// A copy in two halves with a dense array of the target type in the middle.
struct halves {
  planned_copy first, second;
};

halves split(const planned_copy& copy, void* middle) {
  const detail::copy_plan& plan = copy.plan;
  strides shape, from, dense, to;
  extent step = copy.to_size();
  for (auto i = static_cast<std::size_t>(plan.size); i-- > 0;) {
    shape[i] = plan.axes[i].count;
    from[i] = plan.axes[i].from;
    to[i] = plan.axes[i].to;
    dense[i] = step;
    step *= shape[i];
  }
  const strided_memory between{middle, dense.data(), copy.to_type};
  return {plan_copy(shape.data(), plan.size,
                    {const_cast<std::byte*>(plan.from), from.data(), copy.from_type}, between,
                    copy.change),
          plan_copy(shape.data(), plan.size, between, {plan.to, to.data(), copy.to_type}, {})};
}

/// The steps of one copy.
class peer_copier {
 public:
  peer_copier(const driver_api& api, device from, device to, stream_handle stream)
      : api_(api), from_(kDLCUDA, from.id), to_(kDLCUDA, to.id), stream_(stream),
        on_to_(awake(api, place(api, to.id, stream))) {
    contexts_ = {primary_context(api, from.id), on_to_.context};
    enable_peer_access(api, from.id, to.id, contexts_);
  }

  bool copy(const planned_copy& copy) {
    if (road_of(copy, true) == device_road::block) {
      put(copy);
      return true;
    }
    const stream_handle own = own_stream(from_).handle();
    const placed_stream on_from = awake(api_, place(api_, from_.id, own));
    if (!kernels_for(api_, on_from)) return copy_blocks(copy);
    order_after(from_, own, to_, stream_);
    temporary middle(copy.plan.elements() * copy.to_size(), from_, own);
    const halves parts = split(copy, middle.data());
    {
      const context_guard current(api_, on_from.context);
      copy_on_device(api_, on_from, parts.first);
    }
    order_after(to_, stream_, from_, own);
    middle.lend();
    put_second(parts.second);
    order_after(from_, own, to_, stream_);
    middle.give_back();
    return true;
  }

 private:
  /// One block, or several.
  void put(const planned_copy& copy) {
    const context_guard current(api_, on_to_.context);
    for_each_block(blocks_of(copy.plan, copy.from_size(), most_row), [&](const block_copy& block) {
      put_peer_block(api_, on_to_, contexts_, block);
    });
  }

  bool copy_blocks(const planned_copy& copy) {
    if (road_of(copy, false) != device_road::blocks) return false;
    put(copy);
    return true;
  }

  /// From dense memory to any layout.
  void put_second(const planned_copy& copy) {
    if (road_of(copy, true) == device_road::block) return put(copy);
    const std::int64_t bytes = copy.plan.elements() * copy.to_size();
    const temporary arrived(bytes, to_, stream_);
    const extent one = 1;
    put(plan_copy(&bytes, 1, {const_cast<std::byte*>(copy.plan.from), &one, uint8},
                  {arrived.data(), &one, uint8}, {}));
    planned_copy last = copy;
    last.plan.from = static_cast<const std::byte*>(arrived.data());
    const context_guard current(api_, on_to_.context);
    copy_on_device(api_, on_to_, last);
  }

  const driver_api& api_;
  device from_, to_;
  stream_handle stream_;
  placed_stream on_to_;
  device_pair contexts_{};
};

}  // namespace

bool copy_between_devices(const driver_api& api, const planned_copy& copy, device from, device to,
                          stream_handle stream) {
  return peer_copier(api, from, to, stream).copy(copy);
}

}  // namespace dlpack_bridge::cuda
