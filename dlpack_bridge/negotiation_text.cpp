// The words of negotiation: made only when someone reads them.

#include <dlpack_bridge/negotiation_text.hpp>

#include <cstdio>

#include <dlpack_bridge/negotiation_rules.hpp>
#include <dlpack_bridge/version.hpp>

namespace dlpack_bridge {
namespace {

std::string hex_address(const void* data) {
  char text[32];
  std::snprintf(text, sizeof text, "%p", data);
  return text;
}

std::string exact_dtype(const description& s) {
  if (!s.has_dtype) return std::string(s.dtype_name);
  return s.view.dtype().name();
}

std::string device_text(const description& s, const requirements& r, const capabilities& t) {
  if (!s.has_device) return "the device is not known";
  const device from = s.view.device();
  if (r.device && !t.devices.contains(r.device->type)) {
    return std::string(t.name) + " cannot hold arrays on " + r.device->name() +
           " here; leave device= out or install a build of it for that device";
  }
  if (!r.device && !t.devices.contains(kDLCPU) && !t.devices.contains(from.type)) {
    return std::string(t.name) + " holds arrays neither on " + from.name() +
           " nor on the CPU; pass device= with a device that it has";
  }
  if (!hub_copies(from.type)) {
    return "the array is on " + from.name() +
           ", a device that the hub has no adapter for; move it to the CPU with its own framework "
           "first";
  }
  const device to = r.device.value_or(device());
  if (!hub_copies(to.type)) {
    return "the hub has no adapter that copies to " + to.name() + "; leave device= out";
  }
  return "the data moves from " + from.name() + " to " + to.name();
}

std::string layout_text(const description& s, const capabilities& t) {
  if (s.view.ndim() > t.max_ndim) {
    return std::string(t.name) + " holds at most " + std::to_string(t.max_ndim) +
           " axes and the array has " + std::to_string(s.view.ndim()) + "; reshape it first";
  }
  if (packed_dtypes.contains(id_of(s.view.dtype()))) {
    return "packed " + s.view.dtype().name() +
           " needs a dense array whose last axis fills whole bytes; " +
           (fills_bytes(s.view) ? "make it contiguous in the producer" : "pad it in the producer");
  }
  if (s.byte_strides) {
    return "a stride of " + tuple_text({s.view.strides(), s.view.shape().size()}) +
           " bytes is no multiple of the itemsize " + std::to_string(s.view.dtype().itemsize());
  }
  return std::string(t.name) + " holds dense row-major arrays only";
}

std::string alignment_text(const description& s, const requirements& r, const capabilities& t) {
  return "address " + hex_address(s.view.data()) + " is no multiple of " +
         std::to_string(needed_alignment(s, r, t)) + " bytes";
}

std::string lanes_text(const description& s) {
  const dtype from = s.view.dtype();
  return "vector elements (code=" + std::to_string(from.code) +
         ", bits=" + std::to_string(from.bits) + ", lanes=" + std::to_string(from.lanes) +
         ") have no scalar dtype; export them with lanes=1 and one more axis";
}

// "what (note); remedy", or without the note.
std::string with_note(const char* what, const description& s, const char* remedy = "") {
  std::string text = what;
  if (!s.note.empty()) text.append(" (").append(s.note).append(")");
  return text + remedy;
}

std::string readonly_text(const description& s, const requirements& r, const capabilities& t) {
  const char* what = s.view.read_only() ? "the memory is read-only"
                                        : "elements overlap, so the array is read-only";
  if (t.id == framework::cpp) {
    return std::string(what) + " and a legacy capsule cannot say so; ask with " +
           max_version_text() + ", or let the hub hand it to JAX: db.convert(x, \"jax\")";
  }
  return std::string(what) + " and " + std::string(t.name) + " cannot say so; pass " +
         (r.readonly == readonly_policy::error && r.copy != copy_policy::never
              ? "readonly=\"copy\" to copy it or "
              : "") +
         "readonly=\"share\" to share it and not write";
}

std::string negative_axes(const description& s) {
  std::string axes;
  int count = 0;
  for (std::int32_t i = 0; i < s.view.ndim(); ++i) {
    if (s.view.shape(i) < 2 || s.view.strides()[i] >= 0) continue;
    axes += (count++ == 0 ? "" : ", ") + std::to_string(i);
  }
  return count == 1 ? "axis " + axes + " has one" : "axes " + axes + " have them";
}

// Of the reasons that are the same for every array; else null.
const char* fixed_text(reason_code code) noexcept {
  switch (code) {
    case reason_code::byte_order:
      return "the elements are in the other byte order, which DLPack cannot say";
    case reason_code::order: return "order=\"C\" was asked for and the array is not C-contiguous";
    case reason_code::copy_requested: return "copy=True was asked for";
    case reason_code::requires_grad:
      return "the tensor requires_grad and the result cannot carry autograd state; "
             "pass detach=True to share the values";
    case reason_code::conj:
      return "the conjugate bit is set: the memory holds the unconjugated values";
    case reason_code::neg: return "the negative bit is set: the memory holds the opposite values";
    case reason_code::meta: return "a meta tensor has no data; materialize it first";
    case reason_code::fake:
      return "a fake tensor has no data (tracing or torch.compile); exchange real tensors, outside "
             "the traced code";
    case reason_code::quantized:
      return "a quantized tensor has scales that DLPack cannot carry; pass x.int_repr() or "
             "x.dequantize()";
    case reason_code::nested:
      return "a nested tensor is ragged; pass its parts, or x.to_padded_tensor(...)";
    case reason_code::functional:
      return "a functional tensor wraps another tensor (functorch or functionalization); exchange "
             "it outside the transform";
    case reason_code::framework: return "the producer says that it made this copy";
    default: return nullptr;
  }
}

constexpr reason_set always_mended(reason_code::byte_order, reason_code::negative_stride,
                                   reason_code::order, reason_code::alignment,
                                   reason_code::copy_requested, reason_code::conj, reason_code::neg,
                                   reason_code::framework);

// Whether the array would be exchanged, as far as this reason goes, if it might be copied.
bool is_mended_by_copy(reason_code code, const description& s, const requirements& r,
                       const capabilities& t) noexcept {
  switch (code) {
    case reason_code::device: return is_move(s, r, t);
    case reason_code::dtype: return is_conversion(s, r, t);
    case reason_code::layout:
      return s.view.ndim() <= t.max_ndim && !packed_dtypes.contains(id_of(s.view.dtype()));
    case reason_code::readonly: return r.readonly == readonly_policy::copy;
    default: return always_mended.contains(code);
  }
}

}  // namespace

std::string tuple_text(std::span<const extent> values, std::optional<extent> any) {
  std::string text = "(";
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (i != 0) text += ", ";
    text += values[i] == any ? "*" : std::to_string(values[i]);
  }
  return text + (values.size() == 1 ? ",)" : ")");
}

std::string strides_text(const tensor_view& view) {
  if (view.strides() != nullptr) return tuple_text({view.strides(), view.shape().size()});
  std::vector<extent> strides(view.shape().size());
  row_major_strides(view.shape(), strides.data());
  return tuple_text(strides);
}

std::string ends_in_note(const char* what, const description& s) {
  return s.note.empty() ? std::string(what) : std::string(what).append(": ").append(s.note);
}

std::string explain(reason_code code, const description& s, const requirements& r,
                    const capabilities& t) {
  if (const char* text = fixed_text(code)) return text;
  switch (code) {
    case reason_code::device: return device_text(s, r, t);
    case reason_code::dtype: return dtype_text(s, r, t);
    case reason_code::negative_stride:
      return std::string(t.name) + " has no negative strides, and " + negative_axes(s);
    case reason_code::layout: return layout_text(s, t);
    case reason_code::alignment: return alignment_text(s, r, t);
    case reason_code::readonly: return readonly_text(s, r, t);
    case reason_code::sparse:
      return with_note("a sparse tensor has no strided memory", s, "; pass x.to_dense()");
    case reason_code::subclass:
      return ends_in_note("the subclass carries state that would be lost", s);
    case reason_code::lanes: return lanes_text(s);
    case reason_code::version: return ends_in_note("the DLPack major version cannot be read", s);
    case reason_code::capsule: return ends_in_note("the capsule cannot be used", s);
    case reason_code::malformed: return ends_in_note("the array is malformed", s);
    case reason_code::stream: return stream_text(s, r, t);
    case reason_code::capture: return capture_text(s);
    case reason_code::driver: return driver_text(s, r);
    case reason_code::producer:
      return ends_in_note("the producer failed", s) + "; mend it, or export the array another way";
    default: return "unknown";
  }
}

std::vector<reason> explain_all(reason_set codes, const description& s, const requirements& r,
                                const capabilities& t) {
  std::vector<reason> all;
  all.reserve(static_cast<std::size_t>(codes.size()));
  const bool forbidden = r.copy == copy_policy::never;
  codes.for_each([&](reason_code code) {
    std::string text = explain(code, s, r, t);
    if (forbidden && is_mended_by_copy(code, s, r, t)) text += "; pass copy=None to copy";
    all.push_back({code, std::move(text)});
  });
  return all;
}

std::string summary(const description& s) {
  std::string text;
  const auto add = [&text](const char* label, const std::string& value) {
    if (!text.empty()) text += ", ";
    text += label + (" " + value);
  };
  if (s.has_device) add("device", s.view.device().name());
  if (s.has_dtype || !s.dtype_name.empty()) add("dtype", exact_dtype(s));
  if (s.view.ndim() >= 0 &&
      (s.view.ndim() == 0 ? s.has_layout : s.view.shape().data() != nullptr)) {
    add("shape", tuple_text(s.view.shape()));
    if (s.has_layout) {
      add(s.byte_strides ? "strides in bytes" : "strides", strides_text(s.view));
    }
  }
  return text.empty() ? "nothing is known of it" : text;
}

std::string refusal_text(std::span<const reason> blockers, const description& s,
                         const capabilities& t) {
  return "cannot exchange the array (" + summary(s) + ") with " + std::string(t.name) + ":" +
         list_text(blockers);
}

}  // namespace dlpack_bridge
