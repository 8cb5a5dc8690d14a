// What several source rows do alike.

#include <algorithm>

#include <dlpack_bridge/python/release.hpp>
#include <dlpack_bridge/python/source.hpp>
#include <dlpack_bridge/python/values.hpp>

namespace dlpack_bridge::python {

void describe_tensor(inbound& in, const DLTensor& tensor, std::uint64_t flags) {
  DLTensor checked = tensor;
  if (checked.device.device_type == kDLCPU) checked.device.device_id = 0;  // means nothing there
  if (const defect found = validate(checked); found != defect::none) {
    in.desc.has_layout = false;
    in.desc.view = tensor_view(nullptr, nullptr, nullptr, 0, checked.dtype, checked.device);
    in.refuse(reason_code::malformed, std::string(to_string(found)) + "; mend it in the producer");
    return;
  }
  describe_struct(in.desc, checked, flags);
}

void describe_claims(inbound& in, std::optional<dtype> type, std::optional<device> where,
                     bool read_only) {
  const int ndim = read_shape(in.object, in.shape_room);
  in.desc.has_layout = false;
  in.desc.has_dtype = type.has_value();
  in.desc.has_device = where.has_value();
  in.desc.view =
      tensor_view(nullptr, ndim < 0 ? nullptr : in.shape_room, nullptr, std::max(ndim, 0),
                  type.value_or(dtype()), where.value_or(device()), read_only);
}

[[gnu::hot]] owner take_object(inbound& in) { return own_object(in.object); }

owner keep_itself(PyObject* object) { return own_object(object); }

owner take_held(inbound& in) { return std::move(in.held); }

}  // namespace dlpack_bridge::python
