#include <dlpack_bridge/exchange_hand_over.hpp>

#include <algorithm>

#include <dlpack_bridge/negotiation_rules.hpp>

namespace dlpack_bridge::detail {
namespace {

// Whether the CUDA backend has memory of either side.
bool concerns_cuda(const description& s, const decision& d) noexcept {
  return (needs_cuda(s.view.device().type) || needs_cuda(d.device.type) ||
          d.device.type == kDLCUDAHost) &&
         cuda_backend() != nullptr;
}

// The shape under which the elements leave: packed elements asked for as bits become bytes.
std::span<const extent> result_shape(const description& s, const decision& d, extent* room) {
  const dtype from = s.view.dtype();
  if (!from.is_packed() || d.dtype == from || s.view.ndim() == 0) return s.view.shape();
  std::ranges::copy(s.view.shape(), room);
  extent& last = room[s.view.ndim() - 1];
  last = last * from.element_bits() / 8;
  return {room, static_cast<std::size_t>(s.view.ndim())};
}

struct address_span {
  const void* begin = nullptr;
  std::int64_t nbytes = 0;
};

// The addresses that a valid view reaches.
address_span reach_of(const tensor_view& view) {
  if (view.size() == 0) return {view.data(), 0};
  const std::int64_t itemsize = std::max<std::int64_t>(view.dtype().itemsize(), 1);
  const byte_strides_of strides(view, itemsize);
  const std::optional<byte_span> span = span_of(view.shape(), strides.get(), itemsize);
  if (!span) return {view.data(), 0};
  return {static_cast<const char*>(view.data()) + span->low, span->high - span->low};
}

// Fresh memory with the elements of a source in it, C-contiguous.
struct fresh_copy {
  tensor_view view;
  backend_memory memory;
  stream_handle stream;  // what the result is ordered on; unknown for a finished copy
  bool running = false;  // the source is still being read on `stream`
};

// Writes the elements of the source, C-contiguous, to `memory`: by a backend, or here when that is
// null. True while it may be going on.
bool write_copy(const description& s, const decision& d, std::span<const extent> shape,
                void* memory, const device_backend* backend, stream_handle stream) {
  if (s.layout.empty) return false;
  const element_change change{.swap_bytes = s.state.contains(reason_code::byte_order),
                              .conjugate = s.state.contains(reason_code::conj),
                              .negate = s.state.contains(reason_code::neg)};
  const auto move = [&](std::span<const extent> axes, const strided_memory& from,
                        const strided_memory& to) {
    const auto ndim = static_cast<std::int32_t>(axes.size());
    if (backend == nullptr) {
      copy(axes.data(), ndim, from, to, change);
      return false;
    }
    return backend->copy({.shape = axes.data(),
                          .ndim = ndim,
                          .from = from,
                          .to = to,
                          .from_device = s.view.device(),
                          .to_device = d.device,
                          .change = change,
                          .stream = stream});
  };
  // What lies densely has one axis; packed elements move as the bytes that hold them.
  void* const source = s.view.data();
  if (s.view.dtype().is_packed()) {
    return move({&d.nbytes, 1}, {source, nullptr, uint8}, {memory, nullptr, uint8});
  }
  // `bits` copies the elements as what they are (lazy bits and byte order need to know) and only the
  // label of the result differs.
  const strided_memory to{memory, nullptr, d.keeps_bits ? s.view.dtype() : d.dtype};
  if (s.layout.c_contiguous) {
    return move({&s.layout.size, 1}, {source, nullptr, s.view.dtype()}, to);
  }
  const byte_strides_of strides(s);
  return move(shape, {source, strides.get(), s.view.dtype()}, to);
}

tensor_view view_of_copy(const description& s, const decision& d, std::span<const extent> shape,
                         void* memory) noexcept {
  return tensor_view(memory, shape.data(), nullptr, s.view.ndim(), d.dtype, d.device, d.read_only);
}

// Host memory has no streams: nothing to order, to wait for or to lend.
handed_over copy_on_host(const description& s, const decision& d, const hand_over_options& options,
                         extent* room) {
  backend_memory memory = options.allocate != nullptr
                              ? options.allocate(d.nbytes, d.alignment)
                              : host_backend().allocate(d.nbytes, d.alignment, d.device, {});
  const std::span<const extent> shape = result_shape(s, d, room);
  write_copy(s, d, shape, memory.data, nullptr, {});
  active_counters().count_copy(d.nbytes, options.in_turn);
  handed_over out;  // filled in: made of one expression it would be cleared first
  out.view = view_of_copy(s, d, shape, memory.data);
  out.keep = std::move(memory.keep);
  out.flags = DLPACK_FLAG_BITMASK_IS_COPIED;
  return out;
}

// Allocates through the backend of the result's device, orders, copies and waits.
fresh_copy carry_out_copy(const description& s, const decision& d, owner& source,
                          const hand_over_options& options, extent* room) {
  const device_backend& backend = *cuda_backend();
  const device from = s.view.device(), work = device_of_work(from, d.device);
  const bool on_device = needs_cuda(work.type);
  const stream_handle producer = s.streams.producer.handle;
  fresh_copy made;
  if (on_device) made.stream = d.work_stream.known() ? d.work_stream : backend.own_stream(work);
  if (d.after_producer && producer.known()) backend.order(work, made.stream, from, producer);
  made.memory = backend.allocate(d.nbytes, d.alignment, d.device, made.stream);
  try {
    const std::span<const extent> shape = result_shape(s, d, room);
    made.view = view_of_copy(s, d, shape, made.memory.data);
    made.running =
        write_copy(s, d, shape, made.memory.data, on_device ? &backend : nullptr, made.stream);
    if (d.host_waits) {
      backend.wait(work, made.stream);
      made.running = false;
    } else if (d.producer_after) {
      backend.order(from, producer, work, made.stream);
    }
  } catch (...) {
    // A part of it may be running: neither side goes back before that is over.
    const tensor_view nothing(nullptr, nullptr, nullptr, 0, d.dtype, d.device);
    source =
        lend(std::move(source), s.view, work, {.user = made.stream, .listener = options.listener});
    lend(std::move(made.memory.keep), nothing, work,
         {.user = made.stream, .home = made.memory.home});
    throw;
  }
  if (!needs_cuda(d.device.type)) made.stream = {};
  active_counters().count_copy(d.nbytes, options.in_turn);
  return made;
}

// A copy that the CUDA backend has a part in.
[[gnu::noinline]] handed_over copy_with_device(const description& s, const decision& d, owner& keep,
                                               hand_over_options& options, extent* room) {
  fresh_copy made = carry_out_copy(s, d, keep, options, room);
  handed_over out{.view = made.view, .flags = DLPACK_FLAG_BITMASK_IS_COPIED, .stream = made.stream};
  if (!needs_cuda(d.device.type)) {  // finished, and read by no device
    out.keep = std::move(made.memory.keep);
    return out;
  }
  if (made.running) {
    keep = lend(std::move(keep), s.view, d.device,
                {.user = made.stream, .listener = options.listener});
  }
  out.keep = lend(std::move(made.memory.keep), made.view, d.device,
                  {.user = made.stream,
                   .user_object = std::move(options.user_object),
                   .home = made.memory.home});
  return out;
}

}  // namespace

owner lend(owner memory, const tensor_view& view, device where, loan terms) {
  if (!needs_cuda(where.type) || !cuda_status().answers()) return memory;
  const address_span reach = reach_of(view);
  terms.where = where;
  terms.begin = reach.begin;
  terms.nbytes = reach.nbytes;
  return cuda_backend()->lend(std::move(memory), std::move(terms));
}

tensor_view view_of_bytes(const description& s, const decision& d, extent* room) noexcept {
  const std::span<const extent> shape = result_shape(s, d, room);
  const DLTensor bytes{.data = s.view.data(),
                       .device = d.device,
                       .ndim = s.view.ndim(),
                       .dtype = d.dtype,
                       .shape = const_cast<extent*>(shape.data()),
                       .strides = nullptr,
                       .byte_offset = s.view.byte_offset()};
  return tensor_view(bytes, d.read_only);
}

stream_handle make_wait(const description& s, const decision& d) {
  const device_backend& backend = *cuda_backend();
  const stream_handle producer = s.streams.producer.handle;
  if (d.host_waits) {
    if (d.work_stream.known()) backend.wait(s.view.device(), d.work_stream);
    return d.stream;
  }
  const stream_handle user = d.stream.known() ? d.stream : backend.own_stream(d.device);
  if (producer.known()) backend.order(d.device, user, s.view.device(), producer);
  return user;
}

handed_over hand_over_ordered(const description& s, const decision& d, owner& keep,
                              hand_over_options& options, extent* room) {
  const stream_handle stream = carry_out_order(s, d);
  handed_over out = hand_over_shared(s, d, keep, room);
  out.stream = stream;
  if (needs_cuda(d.device.type)) {
    out.keep = lend(std::move(out.keep), s.view, d.device,
                    {.user = s.streams.consumer.handle,
                     .user_object = std::move(options.user_object),
                     .listener = options.listener});
  }
  return out;
}

handed_over hand_over_copy(const description& s, const decision& d, owner& keep,
                           hand_over_options& options, extent* room) {
  return concerns_cuda(s, d) ? copy_with_device(s, d, keep, options, room)
                             : copy_on_host(s, d, options, room);
}

}  // namespace dlpack_bridge::detail
