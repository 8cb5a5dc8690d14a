#include <dlpack_bridge/exchange.hpp>

#include <algorithm>
#include <vector>

#include <dlpack_bridge/exchange_hand_over.hpp>

namespace dlpack_bridge {
namespace {

// Managed memory is the same memory under every label it is shown with.
bool may_share(device a, device b) noexcept {
  if (a == b) return true;
  const bool managed = a.type == kDLCUDAManaged || b.type == kDLCUDAManaged;
  return (cpu_reads(a.type) && cpu_reads(b.type)) ||
         (managed && needs_cuda(a.type) && needs_cuda(b.type));
}

// What no array can meet is a mistake of the caller.
void check(const requirements& wanted) {
  if (!is_alignment(wanted.alignment)) {
    throw std::invalid_argument("exchange: alignment is not a power of two");
  }
  if (wanted.bits && wanted.dtype) {
    throw std::invalid_argument("exchange: bits is an element type already, dtype is another");
  }
}

std::uintptr_t address_of(const description& d) noexcept {
  return reinterpret_cast<std::uintptr_t>(d.view.data()) + d.view.byte_offset();
}

/// The bytes of an array as a layout. Packed elements have no bytes of their own: they count as all from
/// the first to the last, which is exact when they are dense.
class touched_bytes {
 public:
  explicit touched_bytes(const description& d)
      : strides_(d), layout_{address_of(d), d.view.shape(), strides_.get(), d.itemsize} {
    if (!d.view.dtype().is_packed()) return;
    __extension__ using wide = __int128;
    exact_ = d.layout.c_contiguous;
    const byte_span elements =
        span_of(d.view.shape(), d.view.strides(), 1).value_or(byte_span{0, INT64_MAX});
    const wide bits = d.view.dtype().element_bits();
    const auto low = static_cast<std::int64_t>((elements.low * bits) >> 3);
    length_ = static_cast<std::int64_t>((elements.high * bits + 7) >> 3) - low;
    layout_ = {address_of(d) + static_cast<std::uintptr_t>(low), {&length_, 1}, nullptr, 1};
  }
  touched_bytes(const touched_bytes&) = delete;
  touched_bytes& operator=(const touched_bytes&) = delete;

  const address_layout& layout() const noexcept { return layout_; }
  bool exact() const noexcept { return exact_; }

 private:
  detail::byte_strides_of strides_;
  extent length_ = 0;
  address_layout layout_;
  bool exact_ = true;
};

}  // namespace

// Asks about the axes that move the address only.
bool overlaps_itself(const description& s) noexcept {
  extent shape[most_moving_axes], strides[most_moving_axes];
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
  if (!t) return describe(tensor_view());
  description d;
  describe_struct(d, t.get()->dl_tensor, t.flags());
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
    if (!d.driver.answers() || stream.has_device) return;  // failed, or looked at before
    d.driver = cuda_backend()->look_at(where, stream);
    d.driver_fails = !d.driver.answers();
  };
  if (to_cuda) look(*wanted.device, user);
  else if (from_cuda) look(from, user);
  if (from_cuda) look(from, d.streams.producer);
}

managed_tensor make_tensor(const extent_list& sizes, dtype type, device where, stream_handle stream,
                           std::int64_t alignment) {
  if (where.type == kDLCPU) return make_tensor(sizes, type, alignment);
  if (!needs_cuda(where.type) && where.type != kDLCUDAHost) {
    throw std::invalid_argument("make_tensor: no memory on device " + where.name());
  }
  const std::span<const extent> shape = sizes;
  const std::int64_t nbytes = detail::bytes_to_make(shape, type, alignment);
  if (const driver_status driver = cuda_status(); !driver.answers()) {
    throw device_error(driver.code, driver.name,
                       std::string("make_tensor: no CUDA driver answers; ") + driver.text);
  }
  const bool on_device = needs_cuda(where.type);
  const device_backend& backend = *cuda_backend();
  const stream_handle home = !on_device       ? stream_handle()
                             : stream.known() ? stream
                                              : backend.own_stream(where);
  backend_memory memory = backend.allocate(nbytes, alignment, where, home);
  const tensor_view view(memory.data, shape.data(), nullptr,
                         static_cast<std::int32_t>(shape.size()), type, where);
  owner keep =
      detail::lend(std::move(memory.keep), view, where, {.user = home, .home = memory.home});
  managed_tensor made = managed_tensor::wrap(view, std::move(keep));
  made.set_stream(home);
  return made;
}

answer share_memory(const description& a, const description& b) {
  if (!may_share(a.view.device(), b.view.device())) return answer::no;
  const touched_bytes first(a), second(b);
  const answer found = share_memory(first.layout(), second.layout());
  if (found != answer::yes || (first.exact() && second.exact())) return found;
  return address_of(a) == address_of(b) ? answer::yes : answer::unknown;  // the first elements
}

managed_tensor exchange(managed_tensor t, const requirements& wanted, const capabilities& target) {
  check(wanted);
  if (!t) return t;
  description source = describe(t);
  find_facts(source, wanted);
  const decision decided = negotiate(source, wanted, target);
  if (decided.action == action::refuse) {
    const std::vector<reason> blockers = explain_all(decided.blockers, source, wanted, target);
    throw exchange_error(refusal_text(blockers, source, target), blockers);
  }
  const tensor_view view = source.view;
  const bool lent = needs_cuda(decided.device.type) && source.driver.answers();
  const bool as_it_is = !decided.copies_here && !lent && decided.dtype == view.dtype() &&
                        decided.device == view.device() && decided.read_only == view.read_only();
  if (as_it_is) return t;
  // Whether the result is read-only was decided, and its view says it. A copy made here is the caller's
  // own array like any other: IS_COPIED is what a producer says of an array that it keeps.
  const std::uint64_t flags =
      decided.copies_here ? 0 : t.flags() & ~std::uint64_t{DLPACK_FLAG_BITMASK_READ_ONLY};
  const std::uint32_t origin = decided.copies_here ? 0 : t.origin();
  const stream_handle carried = decided.copies_here ? stream_handle() : t.stream();
  std::vector<extent> room(static_cast<std::size_t>(view.ndim()));
  owner keep = owner::of_managed(std::move(t).release());
  handed_over out = hand_over(source, decided, keep, {}, room.data());
  managed_tensor result = managed_tensor::wrap(out.view, std::move(out.keep), flags);
  result.set_origin(origin);
  result.set_stream(out.stream.known() ? out.stream : carried);
  return result;
}

}  // namespace dlpack_bridge
