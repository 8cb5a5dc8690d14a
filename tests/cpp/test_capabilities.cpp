#include <bit>
#include <set>
#include <string_view>
#include <type_traits>

#include <catch2/catch_test_macros.hpp>

#include <dlpack_bridge/capabilities.hpp>

using namespace dlpack_bridge;

namespace {

const capabilities& row(int i) { return capabilities_of(static_cast<framework>(i)); }

bool holds(const capabilities& target, dtype type) { return target.dtypes.contains(id_of(type)); }

const dtype float8{kDLFloat8_e4m3fn, 8}, float4{kDLFloat4_e2m1fn, 4},
    float4_x2{kDLFloat4_e2m1fn, 4, 2};
constexpr dtype native[] = {boolean, int8,   int16,   int32,   int64,   uint8,     uint16,
                            uint32,  uint64, float16, float32, float64, complex64, complex128};

}  // namespace

static_assert(std::is_trivially_copyable_v<capabilities>);

TEST_CASE("each framework has its own row", "[capabilities]") {
  for (int i = 0; i < frameworks; ++i) CHECK(row(i).id == static_cast<framework>(i));
}

TEST_CASE("the name of a framework leads back to it", "[capabilities]") {
  std::set<std::string_view> names;
  for (int i = 0; i < frameworks; ++i) {
    CHECK(framework_of(row(i).name) == row(i).id);
    names.insert(row(i).name);
  }
  CHECK(names.size() == static_cast<std::size_t>(frameworks));
}

TEST_CASE("a name nobody has is another framework", "[capabilities]") {
  for (const char* name : {"", "NumPy", "pytorch", "numpy ", "mxnet"}) {
    CHECK(framework_of(name) == framework::other);
  }
}

TEST_CASE("what can be installed names its package", "[capabilities]") {
  CHECK(capabilities_of(framework::numpy).package == "numpy");
  CHECK(capabilities_of(framework::torch).package == "torch");
  CHECK(capabilities_of(framework::tvm_ffi).package == "apache-tvm-ffi");
  for (const framework id : {framework::jax, framework::cupy, framework::tensorflow}) {
    CHECK_FALSE(capabilities_of(id).package.empty());
  }
}

TEST_CASE("every alignment is a power of two and every row allows axes", "[capabilities]") {
  for (int i = 0; i < frameworks; ++i) {
    CHECK(std::has_single_bit(static_cast<std::uint64_t>(row(i).alignment)));
    CHECK(row(i).max_ndim >= 32);
  }
}

TEST_CASE("C++ and the hub's own type hold everything", "[capabilities]") {
  for (const framework id : {framework::cpp, framework::array}) {
    const capabilities& target = capabilities_of(id);
    for (int i = 0; i < known_dtypes; ++i) CHECK(target.dtypes.contains(static_cast<dtype_id>(i)));
    for (int type = kDLCPU; type <= kDLTrn; ++type) {
      CHECK(target.devices.contains(static_cast<DLDeviceType>(type)));
    }
    CHECK(target.negative_strides);
    CHECK(target.any_strides);
    CHECK(target.read_only);
    CHECK_FALSE(target.immutable);
    CHECK(target.alignment == 1);
  }
}

TEST_CASE("every framework has the numbers that NumPy has without help", "[capabilities]") {
  for (int i = 0; i < frameworks; ++i) {
    if (row(i).id == framework::other) continue;
    for (const dtype type : native) CHECK(holds(row(i), type));
  }
}

TEST_CASE("NumPy without ml_dtypes has neither bfloat16 nor float8", "[capabilities]") {
  const capabilities& numpy = capabilities_of(framework::numpy);
  CHECK_FALSE(holds(numpy, bfloat16));
  CHECK_FALSE(holds(numpy, float8));
  CHECK_FALSE(holds(numpy, complex32));
  CHECK(numpy.read_only);
  CHECK(numpy.negative_strides);
  CHECK_FALSE(numpy.devices.contains(kDLCUDA));
}

TEST_CASE("torch has no negative strides and cannot say read-only", "[capabilities]") {
  const capabilities& torch = capabilities_of(framework::torch);
  CHECK_FALSE(torch.negative_strides);
  CHECK(torch.any_strides);
  CHECK_FALSE(torch.read_only);
  CHECK_FALSE(torch.immutable);
  CHECK(holds(torch, bfloat16));
  CHECK(holds(torch, float8));
  CHECK(holds(torch, complex32));
  CHECK(holds(torch, float4_x2));
  CHECK_FALSE(holds(torch, float4));
}

TEST_CASE("JAX and TensorFlow never write and want dense memory at 64 bytes", "[capabilities]") {
  for (const framework id : {framework::jax, framework::tensorflow}) {
    const capabilities& target = capabilities_of(id);
    CHECK(target.immutable);
    CHECK_FALSE(target.any_strides);
    CHECK_FALSE(target.negative_strides);
    CHECK(target.alignment == 64);
    CHECK(holds(target, bfloat16));
  }
}

TEST_CASE("CuPy lives on CUDA devices only and cannot say read-only", "[capabilities]") {
  const capabilities& cupy = capabilities_of(framework::cupy);
  CHECK(cupy.devices.contains(kDLCUDA));
  CHECK(cupy.devices.contains(kDLCUDAManaged));
  CHECK_FALSE(cupy.devices.contains(kDLCPU));
  CHECK_FALSE(cupy.read_only);
}

TEST_CASE("TensorFlow and tvm-ffi take memory without being told a stream", "[capabilities]") {
  for (int i = 0; i < frameworks; ++i) {
    const framework id = row(i).id;
    const bool is_one = id == framework::tensorflow || id == framework::tvm_ffi;
    CHECK(row(i).asks_no_stream == is_one);
  }
}

TEST_CASE("nothing is known of a producer without a row", "[capabilities]") {
  const capabilities& other = capabilities_of(framework::other);
  CHECK_FALSE(other.devices.contains(kDLCPU));
  CHECK(other.dtypes == dtype_set());
}

TEST_CASE("a set of devices holds what was put in and nothing else", "[capabilities]") {
  device_set set{kDLCPU, kDLROCM};
  CHECK(set.contains(kDLCPU));
  CHECK(set.contains(kDLROCM));
  CHECK_FALSE(set.contains(kDLCUDA));
  set.add(kDLCUDA);
  CHECK(set.contains(kDLCUDA));
  CHECK_FALSE(device_set().contains(kDLCPU));
  CHECK(device_set::every().contains(kDLTrn));
}

TEST_CASE("a device type beyond every known one is in no set", "[capabilities]") {
  for (const int type : {32, 33, 42, 1 << 20, -1}) {
    CHECK_FALSE(device_set::every().contains(static_cast<DLDeviceType>(type)));
    CHECK_FALSE(device_set{kDLCPU, kDLCUDA}.contains(static_cast<DLDeviceType>(type)));
  }
}

TEST_CASE("adding a device type beyond every known one adds none", "[capabilities]") {
  device_set set;
  set.add(static_cast<DLDeviceType>(32 + kDLCPU));
  CHECK_FALSE(set.contains(kDLCPU));
  CHECK_FALSE(device_set{static_cast<DLDeviceType>(64 + kDLCUDA)}.contains(kDLCUDA));
}
