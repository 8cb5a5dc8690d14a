// The words of negotiation: made only when someone reads them.

#include <dlpack_bridge/negotiation_text.hpp>

#include <cstdio>

#include <dlpack_bridge/negotiation_rules.hpp>
#include <dlpack_bridge/version.hpp>

namespace dlpack_bridge {
namespace {

std::string quoted(std::string_view name) { return std::string("\"").append(name).append("\""); }

std::string hex_address(const void* data) {
  char text[32];
  std::snprintf(text, sizeof text, "%p", data);
  return text;
}

std::string exact_dtype(const description& s) {
  if (!s.has_dtype) return std::string(s.dtype_name);
  return s.view.dtype().name();
}

// The narrowest type of the target that holds every value of `from`.
std::optional<dtype> wider(dtype from, dtype_set holds) {
  using id = dtype_id;
  const auto first = [&](std::initializer_list<id> candidates) -> std::optional<dtype> {
    for (const id c : candidates) {
      if (holds.contains(c)) return dtype_of(c);
    }
    return std::nullopt;
  };
  const id from_id = id_of(from);
  if (float8_dtypes.contains(from_id) || from_id == id::bfloat16) {
    return first({id::float32, id::float64});
  }
  switch (from_id) {
    case id::boolean: return first({id::uint8, id::int8});
    case id::int8: return first({id::int16, id::int32, id::int64});
    case id::uint8: return first({id::int16, id::uint16, id::int32, id::int64});
    case id::int16: return first({id::int32, id::int64});
    case id::uint16: return first({id::int32, id::uint32, id::int64});
    case id::int32: return first({id::int64, id::float64});
    case id::uint32: return first({id::int64, id::float64});
    case id::float16: return first({id::float32, id::float64});
    case id::float32: return first({id::float64});
    case id::complex32: return first({id::complex64, id::complex128});
    case id::complex64: return first({id::complex128});
    default: return std::nullopt;
  }
}

// What to do about an element type that DLPack lacks, by the name its framework gives it.
std::string unnamed_dtype_remedy(std::string_view name) {
  const auto has = [name](std::string_view part) { return name.find(part) != name.npos; };
  if (has("object")) {
    return ": an array of Python objects, probably ragged; make it rectangular, with a numeric dtype";
  }
  if (has("structured")) return "; exchange its fields one by one, x[\"name\"]";
  if (has("datetime64") || has("timedelta64")) return "; pass x.view(\"int64\")";
  if (has("torch.")) return "; pass its bytes, x.view(torch.uint8)";
  if (has("float128") || has("complex256") || has("longdouble")) {
    return "; pass x.astype(\"float64\") or x.astype(\"complex128\")";
  }
  return "; convert it to a numeric dtype in its own framework first";
}

// Whether `bits` can show the elements: packed ones where they are dense and the last axis fills bytes.
bool has_bits(const description& s) noexcept {
  if (!s.view.dtype().is_packed() || !s.has_layout) return true;
  return fills_bytes(s.view) && s.layout.c_contiguous;
}

std::string packed_text(const description& s) {
  return s.view.dtype().name() + " is packed and is never packed or unpacked by guess; " +
         (has_bits(s) ? "take dtype=\"bits\" or convert it in the producer"
                      : "convert it in the producer");
}

dtype half_as_wide(dtype type) noexcept {
  type.bits /= 2;
  return type;
}

// The target has no such type: what it has instead.
std::string missing_dtype_text(const description& s, dtype to, const capabilities& t) {
  const dtype from = s.view.dtype();
  const std::optional<dtype> fits = wider(to, t.dtypes);
  const std::optional<dtype> bits = to == from ? bits_of(from) : std::nullopt;
  const bool needs_ml_dtypes = t.id == framework::numpy && (float8_dtypes.contains(id_of(to)) ||
                                                            id_of(to) == dtype_id::bfloat16);
  const bool needs_x64 =
      t.id == framework::jax && capabilities_of(framework::jax).dtypes.contains(id_of(to));
  std::vector<std::string> ways;
  if (needs_x64) ways.emplace_back("set jax.config.update(\"jax_enable_x64\", True)");
  if (needs_ml_dtypes) ways.emplace_back("install ml_dtypes (pip install ml_dtypes)");
  if (bits && t.dtypes.contains(id_of(*bits)) && has_bits(s)) {
    ways.push_back("pass dtype=\"bits\" for the " + bits->name() + " view");
  }
  if (fits) ways.push_back("pass dtype=" + quoted(fits->name()) + " (lossless, a copy)");
  if (needs_x64) ways.push_back("pass dtype=" + quoted(half_as_wide(to).name()) + " (narrows)");
  if (ways.empty()) {
    ways.emplace_back(from.is_packed() ? "convert it in the producer"
                                       : "pass dtype= with one that it has");
  }
  std::string text = std::string(t.name) + " has no dtype " + to.name() + "; ";
  for (std::size_t i = 0; i < ways.size(); ++i) {
    if (i != 0) text += ", or ";
    text += ways[i];
  }
  return text;
}

std::string dtype_text(const description& s, const requirements& r, const capabilities& t) {
  if (!s.has_dtype) {
    return "dtype " + exact_dtype(s) + " has no DLPack element type" +
           unnamed_dtype_remedy(s.dtype_name);
  }
  const dtype from = s.view.dtype();
  if (id_of(from) == dtype_id::unknown) {
    return "element type code=" + std::to_string(from.code) +
           ", bits=" + std::to_string(from.bits) + ", lanes=" + std::to_string(from.lanes) +
           " is not known to this version; export it as a known dtype";
  }
  if (s.padded && from.is_packed()) {
    return from.name() + " with each element padded to a byte is not exchanged; export it packed";
  }
  if (r.bits && !bits_of(from)) {
    return from.name() + " has no unsigned integer of the same width; leave dtype=\"bits\" out";
  }
  const dtype to = r.bits ? *bits_of(from) : r.dtype.value_or(from);
  if (!t.dtypes.contains(id_of(to))) return missing_dtype_text(s, to, t);
  if (packed_dtypes.contains(id_of(to)) && to != from) {
    return from.name() + " is never packed into " + to.name() + " by guess; pass another dtype=";
  }
  if (packed_dtypes.contains(id_of(from))) return packed_text(s);
  return "dtype " + from.name() + " becomes " + to.name() + "; leave dtype= out to share";
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
      std::vector<extent> strides(static_cast<std::size_t>(s.view.ndim()));
      if (s.view.strides() != nullptr) {
        strides.assign(s.view.strides(), s.view.strides() + s.view.ndim());
      } else {
        row_major_strides(s.view.shape(), strides.data());
      }
      add(s.byte_strides ? "strides in bytes" : "strides", tuple_text(strides));
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
