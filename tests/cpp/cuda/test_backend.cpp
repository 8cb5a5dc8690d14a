#include <string>
#include <type_traits>
#include <utility>

#include <catch2/catch_test_macros.hpp>

#include "alone.hpp"
#include "fake_world.hpp"
#include "lending.hpp"
#include <dlpack_bridge/cuda/backend.hpp>
#include <dlpack_bridge/cuda/error.hpp>
#include <dlpack_bridge/device_backend.hpp>

using namespace dlpack_bridge;

namespace {

const device_backend& gpu = cuda::backend();

}  // namespace

TEST_CASE("the backend is in use once it was handed in", "[backend]") {
  CHECK(cuda_backend() == nullptr);
  cuda::use();
  CHECK(cuda_backend() == &gpu);
}

TEST_CASE("handing in the backend opens no driver", "[backend]") {
  CHECK(run_alone("the backend was handed in").code == 0);
}
TEST_CASE("the backend was handed in", "[.alone]") {
  cuda::use();
  CHECK(fake_cuda_calls("cuInit") == 0);
  CHECK(gpu.status().answers());
  CHECK(fake_cuda_calls("cuInit") == 1);
  CHECK(fake_cuda_live("contexts") == 0);
}

TEST_CASE("looking at a stream tells its device and its capture", "[backend]") {
  const fake_world world;
  const CUstream there = make_stream(1), captured = make_stream(0);
  stream_state state{.handle = handle_of(there)};
  CHECK(gpu.look_at(cuda_device(0), state).answers());
  CHECK(state.has_device);
  CHECK(state.device_id == 1);
  CHECK(state.handle == handle_of(there));
  CHECK(state.capture == capture_kind::none);
  capture running(0, captured);
  state = {.handle = handle_of(captured)};
  CHECK(gpu.look_at(device(kDLCUDAManaged, 0), state).answers());
  CHECK(state.capture == capture_kind::active);
  CHECK(running.end() == CUDA_SUCCESS);
}

TEST_CASE("looking without a stream tells whether the device exists", "[backend]") {
  const fake_world world;
  for (const auto none : {stream_handle(), *stream_handle::from_protocol(kDLCUDA, -1)}) {
    stream_state state{.handle = none};
    fake_cuda_reset_calls();
    CHECK(gpu.look_at(cuda_device(1), state).answers());
    CHECK(state.handle == none);
    CHECK_FALSE(state.has_device);
    CHECK(fake_cuda_calls("cuStreamIsCapturing") == 0);
    const driver_status missing = gpu.look_at(cuda_device(2), state);
    CHECK(missing.code == CUDA_ERROR_INVALID_DEVICE);
    CHECK(std::string(missing.name) == "CUDA_ERROR_INVALID_DEVICE");
    CHECK(std::string(missing.text) != "");
  }
}

TEST_CASE("looking at a stream in vain says what the driver said", "[backend]") {
  const fake_world world;
  stream_state state{.handle = handle_of(make_stream())};
  fake_cuda_fail("cuStreamIsCapturing", 1, CUDA_ERROR_ILLEGAL_ADDRESS, 0);
  const driver_status said = gpu.look_at(cuda_device(0), state);
  CHECK(said.code == CUDA_ERROR_ILLEGAL_ADDRESS);
  CHECK(std::string(said.name) == "CUDA_ERROR_ILLEGAL_ADDRESS");
  CHECK(current_context() == nullptr);
}

TEST_CASE("the whole road of a share is one record and one wait at each end", "[backend]") {
  const fake_world world;
  block memory;
  const CUstream writer = make_stream(), user = make_stream();
  producer from(memory, writer);
  memory.write(writer);
  fake_cuda_reset_calls();
  gpu.order(cuda_device(0), handle_of(user), cuda_device(0), handle_of(writer));
  owner lent = gpu.lend(from.give(), from.terms(user, handle_of(writer)));
  memory.write(user);
  lent.reset();
  CHECK(from.returned == 1);
  CHECK(fake_cuda_calls("cuEventRecord") == 2);
  CHECK(fake_cuda_calls("cuStreamWaitEvent") == 2);
  CHECK(fake_cuda_host_waits() == 0);
  CHECK(first_race() == "");
}

TEST_CASE("the other functions of the backend are those of the module", "[backend]") {
  const fake_world world;
  block memory;
  const CUstream user = make_stream();
  producer from(memory, user);
  owner lent = gpu.lend(from.give(), from.terms(user));
  CHECK(gpu.record_use(cuda_device(0), memory.bytes, handle_of(user), {}));
  memory.write(user);
  lent.reset();
  CHECK(from.returned == 0);
  CHECK(gpu.collect(true) == 1);
  CHECK(gpu.own_stream(cuda_device(1)).known());
  gpu.wait(cuda_device(0), handle_of(user));
  {
    const owner entered = gpu.enter(cuda_device(1));
    CHECK(current_context() == context_of(1));
  }
  CHECK(current_context() == nullptr);
}
