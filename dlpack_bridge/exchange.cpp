#include <dlpack_bridge/exchange.hpp>

#include <algorithm>
#include <bit>
#include <vector>

#include <dlpack_bridge/exchange_hand_over.hpp>

namespace dlpack_bridge {
namespace {

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
  owner keep =
      detail::lend(std::move(memory.keep), view, where, {.user = home, .home = memory.home});
  managed_tensor made = managed_tensor::wrap(view, std::move(keep));
  made.set_stream(home);
  return made;
}

answer share_memory(const description& a, const description& b) {
  if (!may_share(a.view.device(), b.view.device())) return answer::no;
  const detail::byte_strides_of a_strides(a), b_strides(b);
  const auto layout_of = [](const description& d, const detail::byte_strides_of& strides) {
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
