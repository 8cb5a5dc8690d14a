#include <dlpack_bridge/device.hpp>

#include <charconv>

namespace dlpack_bridge {
namespace {

struct device_row {
  DLDeviceType type;
  std::string_view name;
  memory_kind kind;
  bool indexed;  // the name carries ":id"; DLPack fixes the id of the others to 0
};

constexpr device_row rows[] = {
    {kDLCPU, "cpu", memory_kind::host, false},
    {kDLCUDA, "cuda", memory_kind::device, true},
    {kDLCUDAHost, "cuda_host", memory_kind::host, false},
    {kDLOpenCL, "opencl", memory_kind::handle, true},
    {kDLVulkan, "vulkan", memory_kind::handle, true},
    {kDLMetal, "metal", memory_kind::handle, true},
    {kDLVPI, "vpi", memory_kind::device, true},
    {kDLROCM, "rocm", memory_kind::device, true},
    {kDLROCMHost, "rocm_host", memory_kind::host, false},
    {kDLExtDev, "ext_dev", memory_kind::device, true},
    {kDLCUDAManaged, "cuda_managed", memory_kind::managed, false},
    {kDLOneAPI, "oneapi", memory_kind::device, true},
    {kDLWebGPU, "webgpu", memory_kind::handle, true},
    {kDLHexagon, "hexagon", memory_kind::device, true},
    {kDLMAIA, "maia", memory_kind::device, true},
    {kDLTrn, "trn", memory_kind::device, true},
};

const device_row* find(DLDeviceType type) noexcept {
  for (const device_row& row : rows) {
    if (row.type == type) return &row;
  }
  return nullptr;
}

}  // namespace

std::string device::name() const {
  const device_row* row = find(type);
  if (row == nullptr) {
    return "device(" + std::to_string(static_cast<int>(type)) + "):" + std::to_string(id);
  }
  std::string text(row->name);
  if (row->indexed || id != 0) text.append(":").append(std::to_string(id));
  return text;
}

std::optional<device> device::from_name(std::string_view text) noexcept {
  const std::size_t colon = text.find(':');
  const std::string_view name = text.substr(0, colon);
  std::int32_t id = 0;
  if (colon != std::string_view::npos) {
    const std::string_view digits = text.substr(colon + 1);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), id);
    if (error != std::errc{} || end != digits.data() + digits.size() || id < 0) return std::nullopt;
  }
  for (const device_row& row : rows) {
    if (row.name != name) continue;
    if (!row.indexed && id != 0) return std::nullopt;
    return device(row.type, id);
  }
  return std::nullopt;
}

memory_kind memory_kind_of(DLDeviceType type) noexcept {
  const device_row* row = find(type);
  return row == nullptr ? memory_kind::unknown : row->kind;
}

}  // namespace dlpack_bridge
