#include <dlpack_bridge/exchange.hpp>

#include <algorithm>
#include <bit>
#include <vector>

namespace dlpack_bridge {
namespace {

// Strides in bytes, for the copy and for address questions.
class byte_strides_of {
 public:
  explicit byte_strides_of(const tensor_view& view, std::int64_t itemsize, bool in_bytes = false) {
    const std::int64_t step = std::max<std::int64_t>(itemsize, 1);
    const auto ndim = static_cast<std::size_t>(view.ndim());
    if (ndim > std::size(inline_)) overflow_.resize(ndim);
    values_ = ndim > std::size(inline_) ? overflow_.data() : inline_;
    if (view.strides() == nullptr) {
      row_major_strides(view.shape(), values_, step);
      return;
    }
    for (std::size_t i = 0; i < ndim; ++i) {
      // A stride that overflows belongs to an axis of extent 1: validate refused the others.
      if (in_bytes) values_[i] = view.strides()[i];
      else if (__builtin_mul_overflow(view.strides()[i], step, &values_[i])) values_[i] = 0;
    }
  }
  explicit byte_strides_of(const description& s)
      : byte_strides_of(s.view, s.itemsize, s.byte_strides) {}
  byte_strides_of(const byte_strides_of&) = delete;
  byte_strides_of& operator=(const byte_strides_of&) = delete;
  const extent* get() const noexcept { return values_; }

 private:
  extent inline_[16];
  std::vector<extent> overflow_;
  extent* values_;
};

const device_backend& backend_for(const description& s, const decision& d) noexcept {
  const bool cuda =
      needs_cuda(s.view.device().type) || needs_cuda(d.device.type) || d.device.type == kDLCUDAHost;
  return cuda && cuda_backend() != nullptr ? *cuda_backend() : host_backend();
}

// Managed memory is the same memory under every label it is shown with.
bool may_share(device a, device b) noexcept {
  if (a == b) return true;
  const auto on_host = [](DLDeviceType type) {
    return is_host_memory(type) || type == kDLCUDAManaged;
  };
  const bool managed = a.type == kDLCUDAManaged || b.type == kDLCUDAManaged;
  return (on_host(a.type) && on_host(b.type)) ||
         (managed && needs_cuda(a.type) && needs_cuda(b.type));
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

// The CUDA device that does the work: where the result lives, else where the source does.
device device_of_work(const description& s, const decision& d) noexcept {
  return needs_cuda(d.device.type) ? d.device : s.view.device();
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

// RELEASE order: an owner of memory that a device uses. `where` is the device of the user's stream;
// memory that no device uses comes back as it is. Does not synchronise, nor does dropping it.
owner lend(owner memory, const tensor_view& view, device where, loan terms) {
  if (!needs_cuda(where.type) || !cuda_status().answers()) return memory;
  const address_span reach = reach_of(view);
  terms.where = where;
  terms.begin = reach.begin;
  terms.nbytes = reach.nbytes;
  return cuda_backend()->lend(std::move(memory), std::move(terms));
}

// Fresh memory with the elements of a source in it, C-contiguous.
struct fresh_copy {
  tensor_view view;
  backend_memory memory;
  stream_handle stream;  // what the result is ordered on; unknown for a finished copy
  bool running = false;  // the source is still being read on `stream`
};

// Writes the elements of the source into fresh memory.
tensor_view write_copy(const description& s, const decision& d, extent* room, fresh_copy& made,
                       const device_backend& backend) {
  const std::span<const extent> shape = result_shape(s, d, room);
  // `bits` copies the elements as what they are (lazy bits and byte order need to know) and only the
  // label of the result differs; packed elements move as the bytes that hold them.
  const bool packed = s.view.dtype().is_packed();
  const dtype from_type = packed ? uint8 : s.view.dtype();
  const dtype to_type = packed || d.keeps_bits ? from_type : d.dtype;

  // What lies densely has one axis.
  const bool dense = packed || s.layout.c_contiguous;
  const extent count = packed ? d.nbytes : s.view.size();
  const std::span<const extent> axes = dense ? std::span(&count, 1) : shape;
  const auto ndim = static_cast<std::int32_t>(axes.size());
  const tensor_view row_major(nullptr, axes.data(), nullptr, ndim, to_type);
  const byte_strides_of from(dense ? row_major : s.view, from_type.itemsize(), s.byte_strides);
  const byte_strides_of to(row_major, to_type.itemsize());
  const copy_job job{
      .shape = axes.data(),
      .ndim = ndim,
      .from = {s.view.data(), from.get(), from_type},
      .to = {made.memory.data, to.get(), to_type},
      .from_device = s.view.device(),
      .to_device = d.device,
      .change = {.swap_bytes = s.state.contains(reason_code::byte_order),
                 .conjugate = s.state.contains(reason_code::conj),
                 .negate = s.state.contains(reason_code::neg)},
      .stream = made.stream,
  };
  if (!s.layout.empty) made.running = backend.copy(job);
  return tensor_view(made.memory.data, shape.data(), nullptr, s.view.ndim(), d.dtype, d.device,
                     d.read_only);
}

// Allocates through the backend of the result's device, orders, copies and waits.
fresh_copy carry_out_copy(const description& s, const decision& d, owner& source,
                          const use_listener& listener, extent* room) {
  const device_backend& backend = backend_for(s, d);
  const device work = device_of_work(s, d), from = s.view.device();
  const bool on_device = needs_cuda(work.type);
  const stream_handle producer = s.streams.producer.handle;
  fresh_copy made;
  if (on_device) made.stream = d.work_stream.known() ? d.work_stream : backend.own_stream(work);
  if (d.after_producer && producer.known()) backend.order(work, made.stream, from, producer);
  made.memory = backend.allocate(d.nbytes, d.alignment, d.device, made.stream);
  try {
    made.view = write_copy(s, d, room, made, on_device ? backend : host_backend());
    if (d.host_waits) {
      backend.wait(work, made.stream);
      made.running = false;
    } else if (d.producer_after) {
      backend.order(from, producer, work, made.stream);
    }
  } catch (...) {
    // A part of it may be running: neither side goes back before that is over.
    const tensor_view nothing(nullptr, nullptr, nullptr, 0, d.dtype, d.device);
    source = lend(std::move(source), s.view, work, {.user = made.stream, .listener = listener});
    lend(std::move(made.memory.keep), nothing, work,
         {.user = made.stream, .home = made.memory.home});
    throw;
  }
  if (!needs_cuda(d.device.type)) made.stream = {};
  active_counters().copies.fetch_add(1, std::memory_order_relaxed);
  active_counters().copied_bytes.fetch_add(d.nbytes, std::memory_order_relaxed);
  return made;
}

}  // namespace

// Asks about the axes that move the address only: more than these cannot be longer than 1.
bool overlaps_itself(const description& s) noexcept {
  extent shape[64], strides[64];
  const std::int64_t step = s.byte_strides ? 1 : std::max<std::int64_t>(s.itemsize, 1);
  std::size_t moving = 0;
  for (std::int32_t i = 0; i < s.view.ndim(); ++i) {
    if (s.view.shape(i) == 1) continue;
    if (moving == std::size(shape)) return true;
    shape[moving] = s.view.shape(i);
    if (__builtin_mul_overflow(s.view.strides()[i], step, &strides[moving])) return true;
    ++moving;
  }
  return overlaps_itself({shape, moving}, strides, s.itemsize) != answer::no;
}

description describe(const tensor_view& view) noexcept {
  description d;
  d.view = view;
  describe_layout(d);
  return d;
}

description describe(const managed_tensor& t) noexcept {
  description d = describe(t.view());
  d.is_copied = t.is_copied();
  d.padded = (t.flags() & DLPACK_FLAG_BITMASK_IS_SUBBYTE_TYPE_PADDED) != 0;
  d.streams.producer.handle = t.stream();
  return d;
}

driver_status cuda_status() noexcept {
  return cuda_backend() == nullptr ? no_driver : cuda_backend()->status();
}

void find_facts(description& d, const requirements& wanted) noexcept {
  if (!involves_driver(d, wanted)) return;
  const device from = d.view.device();
  const bool from_cuda = needs_cuda(from.type);
  d.driver = cuda_status();
  if (!d.driver.answers()) return;
  stream_state& user = d.streams.consumer;
  if (wanted.stream.known()) user.handle = wanted.stream;
  const bool to_cuda = wanted.device && needs_cuda(wanted.device->type);
  const auto look = [&](device where, stream_state& stream) {
    if (!d.driver.answers() || stream.device_id >= 0) return;  // failed, or looked at before
    d.driver = cuda_backend()->look_at(where, stream);
    d.driver_fails = !d.driver.answers();
  };
  if (to_cuda) look(*wanted.device, user);
  else if (from_cuda) look(from, user);
  if (from_cuda) look(from, d.streams.producer);
}

namespace detail {

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

owner lend_shared(const description& s, const decision& d, owner& keep, loan_sides& sides) {
  return lend(std::move(keep), s.view, d.device,
              {.user = s.streams.consumer.handle,
               .user_object = std::move(sides.user_object),
               .listener = sides.listener});
}

handed_over hand_over_copy(const description& s, const decision& d, owner& keep, loan_sides& sides,
                           extent* room) {
  fresh_copy made = carry_out_copy(s, d, keep, sides.listener, room);
  handed_over out{.view = made.view, .flags = DLPACK_FLAG_BITMASK_IS_COPIED, .stream = made.stream};
  if (!needs_cuda(d.device.type)) {  // finished, and read by no device
    out.keep = std::move(made.memory.keep);
    return out;
  }
  if (made.running) {
    keep =
        lend(std::move(keep), s.view, d.device, {.user = made.stream, .listener = sides.listener});
  }
  out.keep = lend(
      std::move(made.memory.keep), made.view, d.device,
      {.user = made.stream, .user_object = std::move(sides.user_object), .home = made.memory.home});
  return out;
}

}  // namespace detail

managed_tensor make_tensor(const extent_list& shape, dtype type, device where, stream_handle stream,
                           std::int64_t alignment) {
  if (where.type == kDLCPU) return make_tensor(shape, type, alignment);
  if (!needs_cuda(where.type) && where.type != kDLCUDAHost) {
    throw std::invalid_argument("make_tensor: no memory on device " + where.name());
  }
  const std::optional<std::int64_t> count = element_count(shape);
  const auto unit = static_cast<std::uint64_t>(alignment);
  if (!count || *count > INT64_MAX / std::max<std::int64_t>(type.itemsize(), 1) || alignment < 1 ||
      !std::has_single_bit(unit)) {
    throw std::invalid_argument("make_tensor: an impossible shape or alignment");
  }
  if (const driver_status driver = cuda_status(); !driver.answers()) {
    throw device_error(driver.code, driver.name,
                       std::string("make_tensor: no CUDA driver answers; ") + driver.text);
  }
  const bool on_device = needs_cuda(where.type);
  const device_backend& backend = *cuda_backend();
  const stream_handle home = !on_device       ? stream_handle()
                             : stream.known() ? stream
                                              : backend.own_stream(where);
  backend_memory memory = backend.allocate(dense_bytes(*count, type), alignment, where, home);
  const tensor_view view(memory.data, shape.data(), nullptr,
                         static_cast<std::int32_t>(shape.size()), type, where);
  owner keep = lend(std::move(memory.keep), view, where, {.user = home, .home = memory.home});
  managed_tensor made = managed_tensor::wrap(view, std::move(keep));
  made.set_stream(home);
  return made;
}

answer share_memory(const description& a, const description& b) {
  if (!may_share(a.view.device(), b.view.device())) return answer::no;
  const byte_strides_of a_strides(a), b_strides(b);
  const auto layout_of = [](const description& d, const byte_strides_of& strides) {
    return address_layout{reinterpret_cast<std::uintptr_t>(d.view.data()) + d.view.byte_offset(),
                          d.view.shape(), strides.get(), d.itemsize};
  };
  return share_memory(layout_of(a, a_strides), layout_of(b, b_strides));
}

managed_tensor exchange(managed_tensor t, const requirements& wanted, const capabilities& target) {
  if (!t) return t;
  description source = describe(t);
  find_facts(source, wanted);
  const decision decided = negotiate(source, wanted, target);
  if (decided.action == action::refuse) {
    throw exchange_error(refusal_text(decided, source, wanted, target),
                         explain_all(decided.blockers, source, wanted, target));
  }
  const tensor_view view = source.view;
  const bool lent = needs_cuda(decided.device.type) && source.driver.answers();
  const bool as_it_is = !decided.copies_here && !lent && decided.dtype == view.dtype() &&
                        decided.device == view.device() && decided.read_only == view.read_only();
  if (as_it_is) return t;
  // Whether the result is read-only was decided, and its view says it.
  const std::uint64_t flags =
      decided.copies_here ? 0 : t.flags() & ~std::uint64_t{DLPACK_FLAG_BITMASK_READ_ONLY};
  const std::uint32_t origin = decided.copies_here ? 0 : t.origin();
  const stream_handle carried = decided.copies_here ? stream_handle() : t.stream();
  std::vector<extent> room(static_cast<std::size_t>(view.ndim()));
  owner keep = owner::of_managed(std::move(t).release());
  handed_over out = hand_over(source, decided, keep, {}, room.data());
  managed_tensor result = managed_tensor::wrap(out.view, std::move(out.keep), out.flags | flags);
  result.set_origin(origin);
  result.set_stream(out.stream.known() ? out.stream : carried);
  return result;
}

}  // namespace dlpack_bridge
