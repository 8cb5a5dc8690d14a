#include <string>

#include <catch2/catch_test_macros.hpp>

#include <dlpack_bridge/device.hpp>

using namespace dlpack_bridge;

namespace {

constexpr DLDeviceType all_types[] = {
    kDLCPU,      kDLCUDA,   kDLCUDAHost,    kDLOpenCL, kDLVulkan, kDLMetal,   kDLVPI,  kDLROCM,
    kDLROCMHost, kDLExtDev, kDLCUDAManaged, kDLOneAPI, kDLWebGPU, kDLHexagon, kDLMAIA, kDLTrn,
};

}  // namespace

TEST_CASE("the CPU is named without an index, GPUs with theirs", "[device]") {
  CHECK(device().name() == "cpu");
  CHECK(device(kDLCUDA).name() == "cuda:0");
  CHECK(device(kDLCUDA, 3).name() == "cuda:3");
  CHECK(device(kDLCUDAHost).name() == "cuda_host");
  CHECK(device(kDLCUDAManaged).name() == "cuda_managed");
}

TEST_CASE("an index that DLPack does not foresee is shown all the same", "[device]") {
  CHECK(device(kDLCPU, 7).name() == "cpu:7");
}

TEST_CASE("a device type without a name is shown by its number", "[device]") {
  CHECK(device(static_cast<DLDeviceType>(42), 1).name() == "device(42):1");
}

TEST_CASE("every device type has a name that leads back to it", "[device]") {
  for (const DLDeviceType type : all_types) {
    const device where(type);
    CHECK(where.name().find("device(") == std::string::npos);
    CHECK(device::from_name(where.name()) == where);
  }
}

TEST_CASE("a device name may leave out index 0", "[device]") {
  CHECK(device::from_name("cuda") == device(kDLCUDA, 0));
  CHECK(device::from_name("cuda:1") == device(kDLCUDA, 1));
  CHECK(device::from_name("cpu:0") == device(kDLCPU));
}

TEST_CASE("a text that names no device gives none", "[device]") {
  for (const char* text :
       {"", ":", "cuda:", "cuda:x", "cuda:1x", "cuda:-1", "cuda: 1", "cuda:+1", "gpu", "CPU",
        "cpu:1", "cuda_host:1", "cuda:99999999999", "device(42):0"}) {
    CHECK_FALSE(device::from_name(text));
  }
}

TEST_CASE("a device is a DLDevice and compares by content", "[device]") {
  const DLDevice raw = device(kDLROCM, 2);
  CHECK(raw.device_type == kDLROCM);
  CHECK(raw.device_id == 2);
  CHECK(device(raw) == device(kDLROCM, 2));
  CHECK(device(raw) != device(kDLROCM, 1));
  CHECK(device(raw) != device(kDLCUDA, 2));
}

TEST_CASE("what may be dereferenced is told by the device type", "[device]") {
  CHECK(memory_kind_of(kDLCPU) == memory_kind::host);
  CHECK(memory_kind_of(kDLCUDAHost) == memory_kind::host);
  CHECK(memory_kind_of(kDLROCMHost) == memory_kind::host);
  CHECK(memory_kind_of(kDLCUDAManaged) == memory_kind::managed);
  CHECK(memory_kind_of(kDLCUDA) == memory_kind::device);
  CHECK(memory_kind_of(kDLMetal) == memory_kind::handle);
  CHECK(memory_kind_of(kDLOpenCL) == memory_kind::handle);
  CHECK(memory_kind_of(kDLVulkan) == memory_kind::handle);
  CHECK(memory_kind_of(static_cast<DLDeviceType>(42)) == memory_kind::unknown);
}

TEST_CASE("only host memory is read without asking", "[device]") {
  for (const DLDeviceType type : all_types) {
    CHECK(is_host_memory(type) == (memory_kind_of(type) == memory_kind::host));
  }
  CHECK_FALSE(is_host_memory(kDLCUDAManaged));
  CHECK_FALSE(is_host_memory(static_cast<DLDeviceType>(0)));
}

TEST_CASE("the CPU reads host memory and managed memory", "[device]") {
  for (const DLDeviceType type : all_types) {
    CHECK(cpu_reads(type) == (is_host_memory(type) || type == kDLCUDAManaged));
  }
  CHECK_FALSE(cpu_reads(static_cast<DLDeviceType>(42)));
}

TEST_CASE("device and managed memory of CUDA need its driver", "[device]") {
  CHECK(needs_cuda(kDLCUDA));
  CHECK(needs_cuda(kDLCUDAManaged));
  CHECK_FALSE(needs_cuda(kDLCUDAHost));
  CHECK_FALSE(needs_cuda(kDLCPU));
}
