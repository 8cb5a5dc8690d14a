#include <dlpack_bridge/negotiation_streams.hpp>

#include <dlpack_bridge/negotiation_rules.hpp>

namespace dlpack_bridge {
namespace {

using why = reason_code;

// `user` is made to wait for the producer, unless there is nothing to wait for. The default streams
// have the same number on every device.
void order_after_producer(decision& d, const stream_facts& s, const stream_state& user,
                          bool one_device) noexcept {
  const stream_handle producer = s.producer.handle;
  const bool same = one_device && producer == user.handle;
  d.after_producer = s.producer_unknown || (producer.known() && !producer.no_sync() && !same);
  if (!d.after_producer) return;
  // Inside a capture the producer's own wait could break it, and nobody can tell beforehand.
  const bool blind = s.producer_unknown && user.captures();
  if (blind || !may_order(s.producer, user)) d.blockers.add(why::capture);
}

// What is shared is ordered for its user; a target that carries the order needs nothing yet.
void judge_shared_streams(decision& d, device from, const stream_facts& s, bool complete) noexcept {
  const stream_handle user = s.consumer.handle;
  const bool producer_known = s.producer.handle.known();
  d.stream = user.known() ? user : s.producer.handle;
  if (user.no_sync()) return;
  if (complete) {
    d.host_waits = !s.producer.handle.no_sync();
    d.work_stream = producer_known ? s.producer.handle : user;
    d.after_producer = d.host_waits && s.producer_unknown;
    if (!needs_cuda(d.device.type)) d.stream = {};
    const bool capture = s.producer.captures() || s.consumer.captures();
    if (d.host_waits && capture) d.blockers.add(why::capture);
  } else if (user.known()) {
    order_after_producer(d, s, s.consumer, true);
  } else if (producer_known && d.device.type == kDLCUDA && d.device.id != from.id) {
    // Managed memory under the name of another device, which has other streams.
    d.stream = {};
    order_after_producer(d, s, {}, false);
  } else {
    // The producer will be told the hub's own stream.
    d.after_producer = s.producer_unknown && !producer_known;
  }
}

// A copy runs where it is used, else where the producer works, else on the hub's own stream. Memory
// that is made inside a capture would belong to the graph: it is refused there.
void judge_copy_streams(decision& d, const description& from, bool complete) noexcept {
  const stream_facts& s = from.streams;
  const bool to_cuda = needs_cuda(d.device.type), from_cuda = needs_cuda(from.view.device().type);
  const bool caller_orders = s.consumer.handle.no_sync();
  const bool one_device = !to_cuda || from.view.device().id == d.device.id;
  stream_state work;
  if (s.consumer.handle.known() && !caller_orders) {
    work = s.consumer;
  } else if (from_cuda && one_device && !s.producer.handle.no_sync()) {
    work = s.producer;
  }
  d.work_stream = work.handle;
  d.host_waits = !to_cuda || caller_orders || complete;
  d.stream = to_cuda ? work.handle : stream_handle();
  if (work.captures()) d.blockers.add(why::capture);
  if (!from_cuda || caller_orders) return;
  order_after_producer(d, s, work, one_device);
  d.producer_after =
      d.after_producer && s.producer.handle.known() && !s.producer_unknown && !d.host_waits;
}

}  // namespace

void judge_streams(decision& d, const description& s, const requirements& r,
                   const capabilities& t) noexcept {
  const device from = s.view.device();
  if (!s.has_device) return;
  if (!needs_cuda(from.type) && !needs_cuda(d.device.type)) return;
  const bool elsewhere = s.streams.consumer.belongs_elsewhere(device_of_work(from, d.device)) ||
                         (needs_cuda(from.type) && s.streams.producer.belongs_elsewhere(from));
  if (elsewhere) d.blockers.add(why::stream);
  const bool complete = r.complete || t.asks_no_stream || !needs_cuda(d.device.type);
  if (d.copies_here) judge_copy_streams(d, s, complete);
  else judge_shared_streams(d, from, s.streams, complete);
}

std::vector<stream_wait> waits_of(const decision& d, const description& s) {
  std::vector<stream_wait> waits;
  const stream_handle user = d.work_stream.known() ? d.work_stream : d.stream;
  const stream_handle producer =
      s.streams.producer_unknown ? stream_handle() : s.streams.producer.handle;
  if (d.after_producer) waits.push_back({user, producer});
  if (d.producer_after) waits.push_back({producer, user});
  return waits;
}

}  // namespace dlpack_bridge
