#include <dlpack_bridge/python/buffer.hpp>

#include <bit>
#include <string>
#include <string_view>

#include <dlpack_bridge/python/release.hpp>
#include <dlpack_bridge/python/source.hpp>

namespace dlpack_bridge::python {
namespace {

using why = reason_code;

struct element_format {
  dtype type;
  bool known = false;
  bool swapped = false;
};

// One item of the struct module's language (PEP 3118 adds Z for complex). The size decides the
// width: native and standard sizes differ.
element_format read_format(std::string_view format, Py_ssize_t itemsize) noexcept {
  element_format e;
  if (!format.empty() && std::string_view("@=<>!|").find(format.front()) != format.npos) {
    const char order = format.front() == '!' ? '>' : format.front();
    const char native = std::endian::native == std::endian::little ? '<' : '>';
    e.swapped = (order == '<' || order == '>') && order != native && itemsize > 1;
    format.remove_prefix(1);
  }
  const bool is_complex = format.starts_with('Z');
  if (is_complex) format.remove_prefix(1);
  if (format.size() != 1 || itemsize > 16) return e;
  const int bits = static_cast<int>(8 * itemsize);
  const auto any_of = [&](std::string_view letters) {
    return letters.find(format.front()) != letters.npos;
  };
  if (is_complex && any_of("efd")) e.type = dtype(kDLComplex, bits);
  else if (is_complex) return e;
  else if (any_of("?")) e.type = dtype(kDLBool, bits);
  else if (any_of("bhilqn")) e.type = dtype(kDLInt, bits);
  else if (any_of("BcHILQN")) e.type = dtype(kDLUInt, bits);
  else if (any_of("efd")) e.type = dtype(kDLFloat, bits);
  else if (any_of("FD")) e.type = dtype(kDLComplex, bits);
  else return e;
  e.known = id_of(e.type) != dtype_id::unknown;
  return e;
}

void describe_view(inbound& in, const Py_buffer& view, bool read_only) {
  const std::string_view format = view.format == nullptr ? "B" : view.format;
  const element_format element = read_format(format, view.itemsize);
  // Exporters may leave the shape out for one axis, and ctypes leaves the strides out.
  in.shape_room[0] = view.itemsize == 0 ? 0 : view.len / view.itemsize;
  const auto* shape =
      view.shape == nullptr ? in.shape_room : reinterpret_cast<const extent*>(view.shape);
  if (view.suboffsets != nullptr) {
    in.desc.has_layout = false;
    in.refuse(why::malformed,
              "the buffer has suboffsets (pointers to pointers); copy it into one block");
    return;
  }
  if (!element.known) {
    in.desc.has_layout = false;
    in.name_dtype("buffer format '" + std::string(format) + "'");
    in.desc.view = tensor_view(view.buf, shape, nullptr, view.ndim, dtype());
    return;
  }
  if (element.swapped) in.desc.state.add(why::byte_order);
  const auto* strides = reinterpret_cast<const extent*>(view.strides);
  if (strides != nullptr) {
    strides = read_byte_strides(in, shape, strides, view.ndim, view.itemsize);
  }
  in.desc.view = tensor_view(view.buf, shape, strides, view.ndim, element.type, {}, read_only);
  describe_layout(in.desc);
}

bool describe_buffer(inbound& in, const requirements&) {
  return describe_lent_buffer(in) || in.refuse_producer_error();
}

}  // namespace

bool describe_lent_buffer(inbound& in) {
  const bool immutable = capabilities_of(in.desc.source).immutable;
  const Py_buffer* const view = borrow_buffer(in.object, PyBUF_FULL_RO, in.held);
  if (view == nullptr) return false;
  describe_view(in, *view, immutable || view->readonly != 0);
  return true;
}

const source_row buffer_source{"buffer", framework::other, describe_buffer, take_held};

}  // namespace dlpack_bridge::python
