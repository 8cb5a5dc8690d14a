// What several source rows do alike.

#include <dlpack_bridge/python/release.hpp>
#include <dlpack_bridge/python/source.hpp>

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

owner take_object(inbound& in) { return own_object(in.object); }

owner keep_itself(PyObject* object) { return own_object(object); }

owner take_held(inbound& in) { return std::move(in.held); }

}  // namespace dlpack_bridge::python
