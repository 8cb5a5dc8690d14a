#include <dlpack_bridge/cuda/handshake.hpp>

#include <dlpack_bridge/cuda/context.hpp>
#include <dlpack_bridge/cuda/event_pool.hpp>
#include <dlpack_bridge/error.hpp>

namespace dlpack_bridge::cuda {
namespace {

[[noreturn]] void refuse(reason_code code, const std::string& message) {
  throw exchange_error(message, {{code, message}});
}

// An edge that a capture does not allow does not only fail: it ends the capture.
void check_captures(const stream_state& consumer, const stream_state& producer) {
  if (may_order(consumer, producer)) [[likely]]
    return;
  refuse(reason_code::capture,
         producer.capture == capture_kind::none
             ? "a CUDA graph capture is in progress on the consumer's stream: order it after the "
               "producer's before the capture"
             : "a CUDA graph capture is in progress on the producer's stream: order the streams "
               "after the capture, or capture both into one graph");
}

}  // namespace

void order_after(device consumer_device, stream_handle consumer, device producer_device,
                 stream_handle producer) {
  if (consumer == producer && consumer_device.id == producer_device.id) return;
  const driver_api& api = need_driver();
  const placed_stream from = place(api, producer_device.id, producer);
  if (from.context == nullptr) return;
  const placed_stream to = place(api, consumer_device.id, consumer);
  const context_guard current(api, from.context);
  if (to == from) return;
  const stream_state state = state_of(api, from, producer);
  check_captures(state_of(api, to, consumer), state);
  const pooled_event mark = state.capture == capture_kind::none
                                ? pooled_event(api, from)
                                : pooled_event::dedicated(api, from);
  record(api, mark.get(), from);
  make_wait(api, awake(api, to), mark.get());
}

void order_after(const stream_ref& consumer, const stream_ref& producer) {
  if (consumer == producer) return;
  if (!consumer.is_usable_here() || !producer.is_usable_here()) {
    refuse(reason_code::stream,
           "the per-thread default stream of another thread cannot be reached");
  }
  const bool one_handle =
      consumer.handle() == producer.handle() && consumer.where() == producer.where();
  if (one_handle) {
    refuse(reason_code::stream,
           "one of the streams was destroyed and the other has its handle now");
  }
  order_after(consumer.where(), consumer.handle(), producer.where(), producer.handle());
}

void wait_for(device where, stream_handle stream) {
  const driver_api& api = need_driver();
  const placed_stream at = place(api, where.id, stream);
  if (at.context == nullptr) return;
  const context_guard current(api, at.context);
  if (state_of(api, at, stream).capture != capture_kind::none) {
    refuse(reason_code::capture,
           "a CUDA graph capture is in progress on the stream: the host cannot wait for it");
  }
  // An event and not the stream: to synchronise the legacy stream is an act on the whole device,
  // which ends captures of other threads.
  const pooled_event mark(api, at);
  record(api, mark.get(), at);
  const relaxed_capture relaxed(api);
  check({at.device, at.handle}, api.cuEventSynchronize, mark.get());
}

stream_state look_at(device where, stream_handle stream) {
  const driver_api& api = need_driver();
  return state_of(api, place(api, where.id, stream), stream);
}

}  // namespace dlpack_bridge::cuda
