#include <string>

#include <catch2/catch_test_macros.hpp>

#include <dlpack_bridge/cuda/driver.hpp>
#include <dlpack_bridge/cuda/handshake.hpp>
#include <dlpack_bridge/cuda/release.hpp>
#include <dlpack_bridge/cuda/stream.hpp>

using namespace dlpack_bridge;
using namespace dlpack_bridge::cuda;

namespace {

const device first_gpu(kDLCUDA, 0);
const auto any_stream = stream_handle::from_native(nullptr);

void skip_with_a_driver() {
  if (driver() != nullptr) SKIP("this machine has a CUDA driver");
}

}  // namespace

TEST_CASE("without a driver its status says what the loader said", "[no_driver]") {
  skip_with_a_driver();
  const driver_status said = status();
  CHECK(said.code == CUDA_ERROR_NO_DEVICE);
  CHECK(std::string(said.name) == "CUDA_ERROR_NO_DEVICE");
  CHECK(std::string(said.text).find("libcuda.so.1") != std::string::npos);
}

TEST_CASE("without a driver what needs one throws its status", "[no_driver]") {
  skip_with_a_driver();
  CHECK_THROWS_AS(need_driver(), cuda_error);
  CHECK_THROWS_AS(stream_ref(first_gpu, any_stream), cuda_error);
  CHECK_THROWS_AS(stream(first_gpu), cuda_error);
  CHECK_THROWS_AS(event(first_gpu), cuda_error);
  CHECK_THROWS_AS(own_stream(first_gpu), cuda_error);
  CHECK_THROWS_AS(look_at(first_gpu, any_stream), cuda_error);
  CHECK_THROWS_AS(wait_for(first_gpu, any_stream), cuda_error);
  try {
    need_driver();
  } catch (const cuda_error& e) {
    CHECK(e.status() == CUDA_ERROR_NO_DEVICE);
    CHECK(std::string(e.what()).find("libcuda.so.1") != std::string::npos);
  }
}

TEST_CASE("without a driver lent memory is the memory itself", "[no_driver]") {
  skip_with_a_driver();
  int released = 0;
  owner memory(&released, [](void* count) noexcept { ++*static_cast<int*>(count); });
  loan terms{.where = first_gpu, .begin = &released, .nbytes = 4, .user = any_stream};
  owner lent = lend(std::move(memory), std::move(terms));
  CHECK(lent.get() == &released);
  CHECK_FALSE(record_use(first_gpu, &released, any_stream, {}));
  CHECK(collect(true) == 0);
  lent.reset();
  CHECK(released == 1);
}
