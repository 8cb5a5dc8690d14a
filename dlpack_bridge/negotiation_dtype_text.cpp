// What negotiation says of element types, and what to do about them.

#include <initializer_list>
#include <optional>
#include <vector>

#include <dlpack_bridge/negotiation_text.hpp>

namespace dlpack_bridge {
namespace {

std::string quoted(std::string_view name) { return std::string("\"").append(name).append("\""); }

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

}  // namespace

std::string dtype_text(const description& s, const requirements& r, const capabilities& t) {
  if (!s.has_dtype) {
    return "dtype " + std::string(s.dtype_name) + " has no DLPack element type" +
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

}  // namespace dlpack_bridge
