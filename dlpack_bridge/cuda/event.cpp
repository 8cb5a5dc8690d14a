#include <dlpack_bridge/cuda/event.hpp>

#include <dlpack_bridge/cuda/context.hpp>
#include <dlpack_bridge/cuda/event_pool.hpp>

namespace dlpack_bridge::cuda {
namespace {

CUevent native(void* handle) noexcept { return static_cast<CUevent>(handle); }

}  // namespace

event::event(device where) : where_(kDLCUDA, where.id) {
  const driver_api& api = need_driver();
  handle_ = create_event(api, primary_context(api, where.id), where.id);
}

event& event::operator=(event&& other) noexcept {
  event taken(std::move(other));
  std::swap(where_, taken.where_);
  std::swap(handle_, taken.handle_);
  return *this;
}

void event::reset() noexcept {
  const CUevent dying = native(std::exchange(handle_, nullptr));
  const driver_api* api = driver();
  if (dying == nullptr || api == nullptr) return;
  destroy_event(*api, where_.id, dying);
}

void event::record(const stream_ref& stream) {
  const driver_api& api = need_driver();
  cuda::record(api, native(handle_), place(api, stream.where().id, stream.handle()));
}

void event::order_before(const stream_ref& consumer) const {
  const driver_api& api = need_driver();
  make_wait(api, place(api, consumer.where().id, consumer.handle()), native(handle_));
}

bool event::is_done() const {
  const driver_api& api = need_driver();
  const relaxed_capture relaxed(api);
  return cuda::is_done(api, native(handle_));
}

void event::wait() const {
  const driver_api& api = need_driver();
  const relaxed_capture relaxed(api);
  wait_until_done(api, where_.id, native(handle_));
}

}  // namespace dlpack_bridge::cuda
