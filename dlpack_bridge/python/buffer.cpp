#include <dlpack_bridge/python/buffer.hpp>

#include <optional>
#include <string>
#include <string_view>

#include <dlpack_bridge/python/dtype_text.hpp>
#include <dlpack_bridge/python/release.hpp>
#include <dlpack_bridge/python/source.hpp>

namespace dlpack_bridge::python {
namespace {

using why = reason_code;

void describe_view(inbound& in, const Py_buffer& view, bool read_only) {
  const std::string_view format = view.format == nullptr ? "B" : view.format;
  const std::optional<written_dtype> element = dtype_from_format(format, view.itemsize);
  // Exporters may leave the shape out for one axis, and ctypes leaves the strides out.
  in.shape_room[0] = view.itemsize == 0 ? 0 : view.len / view.itemsize;
  const auto* shape =
      view.shape == nullptr ? in.shape_room : reinterpret_cast<const extent*>(view.shape);
  if (view.suboffsets != nullptr) {
    in.desc.has_layout = in.desc.has_dtype = false;
    in.refuse(why::malformed,
              "the buffer has suboffsets (pointers to pointers); copy it into one block");
    return;
  }
  if (view.ndim < 0 || view.ndim > most_held_axes) {
    in.desc.has_layout = in.desc.has_dtype = false;
    in.refuse(why::malformed, "the buffer says it has " + std::to_string(view.ndim) +
                                  " axes; PyBUF_MAX_NDIM is the most that one may have");
    return;
  }
  if (!element) {
    in.desc.has_layout = false;
    in.name_dtype("buffer format '" + std::string(format) + "'");
    in.desc.view = tensor_view(view.buf, shape, nullptr, view.ndim, dtype());
    return;
  }
  if (element->swapped) in.desc.state.add(why::byte_order);
  const auto* strides = reinterpret_cast<const extent*>(view.strides);
  if (strides != nullptr) {
    strides = read_byte_strides(in, shape, strides, view.ndim, view.itemsize);
  }
  in.desc.view = tensor_view(view.buf, shape, strides, view.ndim, element->type, {}, read_only);
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
