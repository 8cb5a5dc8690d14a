#include <dlpack_bridge/managed_tensor.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>

#include <dlpack_bridge/array_axes.hpp>
#include <dlpack_bridge/error.hpp>
#include <dlpack_bridge/host_memory.hpp>
#include <dlpack_bridge/version.hpp>

namespace dlpack_bridge {
namespace {

// The struct of DLPack 0.x, where its tensor is that of the versioned one.
struct legacy_struct {
  std::byte before[offsetof(DLManagedTensorVersioned, dl_tensor)];
  DLManagedTensor managed;
};
static_assert(offsetof(legacy_struct, managed.dl_tensor) ==
              offsetof(DLManagedTensorVersioned, dl_tensor));

// What the hub allocates for a managed tensor: what keeps the memory alive, both structs of the protocol (a
// consumer gets one of them), then shape and, where they are told, strides. Small, and what dropping it needs
// comes first, side by side: who has a hundred thousand arrays waits for the caches.
struct block {
  block(const tensor_view& view, owner&& kept, std::uint64_t flags, bool with_strides = true,
        bool in_turn = false) noexcept;

  owner keep;
  union {
    DLManagedTensorVersioned versioned;
    legacy_struct legacy;
  };
  [[no_unique_address]] live_token token;

  extent* extents() noexcept { return reinterpret_cast<extent*>(this + 1); }

  static constexpr std::size_t bytes(std::int32_t ndim, bool with_strides = true) noexcept {
    const std::size_t lists = with_strides ? 2 : 1;
    return sizeof(block) + lists * sizeof(extent) * static_cast<std::size_t>(ndim);
  }
};
static_assert(sizeof(block) % alignof(extent) == 0);

void destroy(block* dying) noexcept {
  dying->~block();
  std::free(dying);
}

// C linkage is what the protocol asks of deleters; both find the block through manager_ctx.
extern "C" [[gnu::hot]] void delete_versioned(DLManagedTensorVersioned* self) {
  destroy(static_cast<block*>(self->manager_ctx));
}
extern "C" void delete_legacy(DLManagedTensor* self) {
  destroy(static_cast<block*>(self->manager_ctx));
}

// `this` is at the beginning of at least block::bytes(ndim, with_strides).
block::block(const tensor_view& view, owner&& kept, std::uint64_t flags, bool with_strides,
             bool in_turn) noexcept
    : keep(std::move(kept)), token(in_turn) {
  extent* const shape = view.ndim() == 0 ? nullptr : extents();
  extent* const strides = view.ndim() == 0 || !with_strides ? nullptr : shape + view.ndim();
  if (with_strides) copy_axes(view, shape, strides);
  else std::copy_n(view.shape().data(), view.ndim(), shape);
  versioned.version = with_strides ? exported_dlpack_version : strideless_dlpack_version;
  versioned.manager_ctx = this;
  versioned.deleter = delete_versioned;
  versioned.flags = flags | (view.read_only() ? DLPACK_FLAG_BITMASK_READ_ONLY : 0);
  versioned.dl_tensor = DLTensor{view.data(), view.device(), view.ndim(),       view.dtype(),
                                 shape,       strides,       view.byte_offset()};
}

DLManagedTensorVersioned* make_block(const tensor_view& view, owner&& keep, std::uint64_t flags,
                                     bool with_strides, bool in_turn) {
  void* memory = std::malloc(block::bytes(view.ndim(), with_strides));
  if (memory == nullptr) throw std::bad_alloc();
  auto* made = new (memory) block(view, std::move(keep), flags, with_strides, in_turn);
  return &made->versioned;
}

bool is_block(const DLManagedTensorVersioned* tensor) noexcept {
  return tensor->deleter == delete_versioned;
}

// Wraps a foreign struct that cannot be passed on as it is. `keep` already owns it.
managed_tensor adopt_rewrapped(const DLTensor& tensor, owner keep, std::uint64_t flags) {
  if (const defect found = validate(tensor); found != defect::none)
    detail::refuse_malformed(to_string(found));
  return managed_tensor::wrap(tensor_view(tensor), std::move(keep), flags);
}

}  // namespace

managed_tensor& managed_tensor::operator=(managed_tensor&& other) noexcept {
  // Taken first: the old array may be what keeps `other`.
  managed_tensor taken(std::move(other));
  std::swap(tensor_, taken.tensor_);
  origin_ = taken.origin_;
  stream_ = taken.stream_;
  return *this;
}

managed_tensor managed_tensor::adopt(DLManagedTensorVersioned* raw) {
  if (raw == nullptr) detail::refuse_malformed("there is no managed tensor");
  if (is_block(raw)) return managed_tensor(raw);
  owner keep = owner::of_managed(raw);
  if (!is_readable(raw->version)) throw version_error(raw->version);
  return adopt_rewrapped(raw->dl_tensor, std::move(keep), raw->flags);
}

managed_tensor managed_tensor::adopt(DLManagedTensor* raw) {
  if (raw == nullptr) detail::refuse_malformed("there is no managed tensor");
  if (raw->deleter == delete_legacy) {
    return managed_tensor(&static_cast<block*>(raw->manager_ctx)->versioned);
  }
  return adopt_rewrapped(raw->dl_tensor, owner::of_managed(raw), 0);
}

[[gnu::flatten, gnu::hot]] managed_tensor managed_tensor::wrap(const tensor_view& view, owner keep,
                                                               std::uint64_t flags, bool in_turn) {
  return managed_tensor(make_block(view, std::move(keep), flags, /*with_strides=*/true, in_turn));
}

[[gnu::flatten, gnu::hot]] DLManagedTensorVersioned* managed_tensor::wrap_strideless(
    const tensor_view& view, owner&& keep, std::uint64_t flags) {
  return make_block(view, std::move(keep), flags, /*with_strides=*/false, /*in_turn=*/true);
}

DLManagedTensor* managed_tensor::release_legacy() && noexcept {
  if (tensor_ == nullptr) return nullptr;
  auto* made = static_cast<block*>(std::exchange(tensor_, nullptr)->manager_ctx);
  DLManagedTensor& managed = made->legacy.managed;  // whose tensor is there
  managed.manager_ctx = made;
  managed.deleter = delete_legacy;
  return &managed;
}

tensor_view managed_tensor::view() const& noexcept {
  return tensor_ == nullptr ? tensor_view() : tensor_view(tensor_->dl_tensor, read_only());
}

void detail::refuse_malformed(const char* what) {
  const std::string text = std::string("the array is malformed: ") + what;
  throw exchange_error(text, {{reason_code::malformed, text}});
}

void detail::check_no_elements(std::span<const extent> shape) {
  const bool empty = std::ranges::find(shape, 0) != shape.end();
  if (!empty) refuse_malformed(to_string(defect::null_data));
}

std::int64_t detail::bytes_to_make(std::span<const extent> shape, dtype type,
                                   std::int64_t alignment) {
  const std::optional<std::int64_t> bytes = checked_bytes(shape, type);
  if (!bytes) throw std::invalid_argument("make_tensor: the shape is negative or too large");
  if (!is_alignment(alignment)) {
    throw std::invalid_argument("make_tensor: alignment is not a power of two");
  }
  return *bytes;
}

void detail::check_element_count(std::span<const extent> shape, std::size_t count) {
  const std::optional<std::int64_t> wanted = element_count(shape);
  if (!wanted || std::cmp_not_equal(*wanted, count)) {
    throw std::invalid_argument("share: the shape does not hold as many elements as the vector");
  }
}

managed_tensor detail::share_kept(void* data, std::span<const extent> shape,
                                  std::span<const extent> strides, dtype type, owner keep,
                                  device where, bool read_only) {
  if (!strides.empty() && strides.size() != shape.size()) {
    throw std::invalid_argument("share: strides and shape differ in length");
  }
  const auto ndim = static_cast<std::int32_t>(shape.size());
  const extent* const steps = strides.empty() ? nullptr : strides.data();
  const DLTensor checked{
      data, where, ndim, type, const_cast<extent*>(shape.data()), const_cast<extent*>(steps), 0};
  if (const defect found = validate(checked); found != defect::none) {
    throw std::invalid_argument(std::string("share: ") + to_string(found));
  }
  return managed_tensor::wrap(tensor_view(data, shape.data(), steps, ndim, type, where, read_only),
                              std::move(keep));
}

managed_tensor make_tensor(const extent_list& sizes, dtype type, std::int64_t alignment) {
  const std::span<const extent> shape = sizes;
  const auto elements = static_cast<std::size_t>(detail::bytes_to_make(shape, type, alignment));
  const auto unit = static_cast<std::size_t>(std::max(alignment, default_alignment));
  const std::size_t head = block::bytes(static_cast<std::int32_t>(shape.size()));
  const detail::host_memory memory = detail::allocate_host_memory(head, elements, unit);
  const tensor_view view(memory.elements, shape.data(), nullptr,
                         static_cast<std::int32_t>(shape.size()), type);
  auto* made = new (memory.start) block(view, owner(), 0);
  return managed_tensor::adopt(&made->versioned);
}

}  // namespace dlpack_bridge
