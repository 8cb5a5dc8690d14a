#include <string>

#include <catch2/catch_test_macros.hpp>

#include "alone.hpp"
#include "fake_world.hpp"
#include <dlpack_bridge/cuda/driver.hpp>

using namespace dlpack_bridge;
using namespace dlpack_bridge::cuda;

namespace {

cuda_error error_of(CUresult code, call_site where) {
  fake_cuda_fail("cuCtxGetDevice", 1, code, 0);
  CUdevice device = -1;
  try {
    check(where, need_driver().cuCtxGetDevice, &device);
  } catch (const cuda_error& e) {
    return e;
  }
  FAIL("the call did not fail");
  throw;
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("a driver that answers is opened once and says so", "[driver]") {
  const driver_api* api = driver();
  REQUIRE(api != nullptr);
  CHECK(driver() == api);
  CHECK(&need_driver() == api);
  CHECK(api->device_count == 2);
  CHECK(status().answers());
  CHECK(fake_cuda_calls("cuInit") <= 1);
}

TEST_CASE("opening the driver wakes no device", "[driver]") {
  CHECK(run_alone("only the driver is opened").code == 0);
}
TEST_CASE("only the driver is opened", "[.alone]") {
  REQUIRE(driver() != nullptr);
  CHECK(fake_cuda_live("contexts") == 0);
  CHECK(fake_cuda_calls("cuDevicePrimaryCtxRetain") == 0);
}

TEST_CASE("an error names the call, the driver's words, the device and the stream", "[driver]") {
  const fake_world world;
  int target = 0;
  const cuda_error e = error_of(CUDA_ERROR_OUT_OF_MEMORY, {1, &target});
  CHECK(e.status() == CUDA_ERROR_OUT_OF_MEMORY);
  CHECK(e.code() == e.status());
  CHECK(e.name() == "CUDA_ERROR_OUT_OF_MEMORY");
  const std::string text = e.what();
  CHECK(contains(text, "cuCtxGetDevice"));
  CHECK(contains(text, "CUDA_ERROR_OUT_OF_MEMORY"));
  CHECK(contains(text, "device 1"));
  CHECK(contains(text, "stream 0x"));
  CHECK_FALSE(contains(text, "asynchronous"));
}

TEST_CASE("an error without device and stream does not invent them", "[driver]") {
  const fake_world world;
  const std::string text = error_of(CUDA_ERROR_INVALID_VALUE, {}).what();
  CHECK_FALSE(contains(text, ", device"));
  CHECK_FALSE(contains(text, ", stream"));
}

TEST_CASE("an error that poisons a context may be somebody else's, and says so", "[driver]") {
  const fake_world world;
  CHECK(contains(error_of(CUDA_ERROR_ILLEGAL_ADDRESS, {0}).what(),
                 "may have been reported by an earlier asynchronous operation"));
}

TEST_CASE("a child of fork has no driver, and says why", "[driver]") {
  REQUIRE(driver() != nullptr);
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    const driver_status said = status();
    const bool right = driver() == nullptr && said.code == CUDA_ERROR_NOT_INITIALIZED &&
                       contains(said.text, "fork");
    _exit(right ? 0 : 1);
  }
  int ended = -1;
  REQUIRE(waitpid(child, &ended, 0) == child);
  CHECK(ended == 0);
  CHECK(driver() != nullptr);
}

TEST_CASE("a driver that cannot start keeps its code and words", "[driver]") {
  const outcome ended = run_alone("the driver does not start", {{"FAKE_CUDA_INIT", "803"}});
  INFO(ended.errors);
  CHECK(ended.code == 0);
}
TEST_CASE("the driver does not start", "[.alone]") {
  CHECK(driver() == nullptr);
  const driver_status said = status();
  CHECK(said.code == 803);
  CHECK(std::string(said.name) == "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH");
  CHECK(contains(said.text, "cuInit"));
  CHECK_THROWS_AS(need_driver(), cuda_error);
}

TEST_CASE("a driver without devices is no driver", "[driver]") {
  const outcome ended = run_alone("there is no device", {{"FAKE_CUDA_DEVICES", "0"}});
  INFO(ended.errors);
  CHECK(ended.code == 0);
}
TEST_CASE("there is no device", "[.alone]") {
  CHECK(driver() == nullptr);
  CHECK(status().code == CUDA_ERROR_NO_DEVICE);
  CHECK(std::string(status().name) == "CUDA_ERROR_NO_DEVICE");
}

TEST_CASE("a driver that is too old says which", "[driver]") {
  const outcome ended = run_alone("the driver is old", {{"FAKE_CUDA_DRIVER_VERSION", "11080"}});
  INFO(ended.errors);
  CHECK(ended.code == 0);
}
TEST_CASE("the driver is old", "[.alone]") {
  CHECK(driver() == nullptr);
  CHECK(status().code == CUDA_ERROR_NOT_FOUND);
  CHECK(contains(status().text, "older than CUDA 12.0"));
}

TEST_CASE("a driver of CUDA 12.0 is enough", "[driver]") {
  const outcome ended = run_alone("the driver answers", {{"FAKE_CUDA_DRIVER_VERSION", "12000"}});
  INFO(ended.errors);
  CHECK(ended.code == 0);
}
TEST_CASE("the driver answers", "[.alone]") { CHECK(driver() != nullptr); }
