#include <dlpack_bridge/device.hpp>

#include <charconv>

namespace dlpack_bridge {
namespace {

struct device_row {
  DLDeviceType type;
  std::string_view name;
  bool indexed;  // the name carries ":id"; DLPack fixes the id of the others to 0
};

constexpr device_row rows[] = {
    {kDLCPU, "cpu", false},
    {kDLCUDA, "cuda", true},
    {kDLCUDAHost, "cuda_host", false},
    {kDLOpenCL, "opencl", true},
    {kDLVulkan, "vulkan", true},
    {kDLMetal, "metal", true},
    {kDLVPI, "vpi", true},
    {kDLROCM, "rocm", true},
    {kDLROCMHost, "rocm_host", false},
    {kDLExtDev, "ext_dev", true},
    {kDLCUDAManaged, "cuda_managed", false},
    {kDLOneAPI, "oneapi", true},
    {kDLWebGPU, "webgpu", true},
    {kDLHexagon, "hexagon", true},
    {kDLMAIA, "maia", true},
    {kDLTrn, "trn", true},
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

}  // namespace dlpack_bridge
