#include <dlpack_bridge/python/dtype_text.hpp>

#include <algorithm>
#include <bit>
#include <charconv>
#include <iterator>

#include <dlpack_bridge/capabilities.hpp>

namespace dlpack_bridge::python {
namespace {

constexpr char native_order = std::endian::native == std::endian::little ? '<' : '>';

std::optional<written_dtype> read_as(DLDataTypeCode code, std::int64_t itemsize,
                                     char order) noexcept {
  if (itemsize < 1 || itemsize > 16) return std::nullopt;
  const dtype type(code, static_cast<int>(8 * itemsize));
  if (id_of(type) == dtype_id::unknown) return std::nullopt;
  const bool ordered = (order == '<' || order == '>') && itemsize > 1;
  return written_dtype{type, ordered && order != native_order};
}

// The struct module's letters; PEP 3118 adds Z for complex. Native and standard sizes differ, so what is read
// takes its width from the buffer; what is written takes the letter that has its width here.
struct format_row {
  char letters[3];
  DLDataTypeCode code;
  int written_bytes = 0;
};
constexpr format_row formats[] = {
    {"B", kDLUInt, 1},     {"?", kDLBool, 1},      {"b", kDLInt, 1},   {"h", kDLInt, 2},
    {"i", kDLInt, 4},      {"q", kDLInt, 8},       {"H", kDLUInt, 2},  {"I", kDLUInt, 4},
    {"Q", kDLUInt, 8},     {"e", kDLFloat, 2},     {"f", kDLFloat, 4}, {"d", kDLFloat, 8},
    {"Zf", kDLComplex, 8}, {"Zd", kDLComplex, 16}, {"c", kDLUInt},     {"l", kDLInt},
    {"L", kDLUInt},        {"n", kDLInt},          {"N", kDLUInt},     {"F", kDLComplex},
    {"D", kDLComplex},     {"Ze", kDLComplex},
};

// The array interface's kinds.
struct typestr_row {
  char kind;
  DLDataTypeCode code;
};
constexpr typestr_row typestrs[] = {
    {'b', kDLBool}, {'i', kDLInt}, {'u', kDLUInt}, {'f', kDLFloat}, {'c', kDLComplex}};

}  // namespace

std::optional<written_dtype> dtype_from_format(std::string_view format,
                                               Py_ssize_t itemsize) noexcept {
  char order = '@';
  if (!format.empty() && std::string_view("@=<>!|").find(format.front()) != format.npos) {
    order = format.front() == '!' ? '>' : format.front();
    format.remove_prefix(1);
  }
  if (format.empty() || format.size() > 2) return std::nullopt;
  const char second = format.size() == 2 ? format[1] : '\0';
  const auto* const row = std::ranges::find_if(formats, [&](const format_row& r) {
    return r.letters[0] == format[0] && r.letters[1] == second;
  });
  return row == std::end(formats) ? std::nullopt : read_as(row->code, itemsize, order);
}

const char* format_of(dtype type) noexcept {
  const auto* const row = std::ranges::find_if(formats, [&](const format_row& r) {
    return r.written_bytes != 0 && type == dtype(r.code, 8 * r.written_bytes);
  });
  return row == std::end(formats) ? nullptr : row->letters;
}

std::optional<written_dtype> dtype_from_typestr(std::string_view text) noexcept {
  if (text.size() < 3) return std::nullopt;
  int bytes = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data() + 2, end, bytes);
  if (error != std::errc() || rest != end) return std::nullopt;
  const auto* const row = std::ranges::find(typestrs, text[1], &typestr_row::kind);
  return row == std::end(typestrs) ? std::nullopt : read_as(row->code, bytes, text[0]);
}

std::string typestr_of(dtype type) {
  static const dtype_set named = capabilities_of(framework::numpy).dtypes;
  if (!named.contains(id_of(type))) return {};
  const auto* const row =
      std::ranges::find_if(typestrs, [&](const typestr_row& r) { return type.code == r.code; });
  const char order = type.itemsize() == 1 ? '|' : native_order;
  return std::string{order, row->kind} + std::to_string(type.itemsize());
}

}  // namespace dlpack_bridge::python
