#include <concepts>
#include <optional>
#include <thread>
#include <type_traits>

#include <catch2/catch_test_macros.hpp>

#include "fake_world.hpp"
#include <dlpack_bridge/cuda/error.hpp>
#include <dlpack_bridge/cuda/stream.hpp>
#include <dlpack_bridge/cuda/stream_ref.hpp>

using namespace dlpack_bridge;
using namespace dlpack_bridge::cuda;

namespace {

// The two shapes of stream classes: CUDA's own have get(), torch's converts.
struct with_get {
  CUstream handle;
  CUstream get() const { return handle; }
};
struct converting {
  CUstream handle;
  operator CUstream() const { return handle; }
};

stream_handle protocol(std::int64_t number) {
  return *stream_handle::from_protocol(kDLCUDA, number);
}

reason_code refusal_of(device where, stream_handle handle) {
  try {
    const stream_ref made(where, handle);
  } catch (const exchange_error& e) {
    REQUIRE(e.blockers().size() == 1);
    return e.blockers()[0].code;
  }
  FAIL("not refused");
  throw;
}

}  // namespace

static_assert(std::is_trivially_copyable_v<stream_ref>);
static_assert(!std::constructible_from<stream_ref, device, std::nullptr_t>);
static_assert(!std::constructible_from<stream_ref, device, int>);
static_assert(!stream_object<stream_handle>);
static_assert(!stream_object<device>);

TEST_CASE("a stream reference knows the kind of its stream", "[stream_ref]") {
  const fake_world world;
  const CUstream made = make_stream(1);
  CHECK(stream_ref(cuda_device(0), protocol(1)).kind() == stream_kind::legacy);
  CHECK(stream_ref(cuda_device(0), protocol(2)).kind() == stream_kind::per_thread);
  const stream_ref ref(cuda_device(1), handle_of(made));
  CHECK(ref.kind() == stream_kind::handle);
  CHECK(ref.get() == made);
  CHECK(ref.handle() == handle_of(made));
  CHECK(ref.where() == cuda_device(1));
  CHECK(ref.id() != 0);
}

TEST_CASE("a stream reference is made from handles and from objects that have one",
          "[stream_ref]") {
  const fake_world world;
  const CUstream made = make_stream();
  const stream_ref ref(cuda_device(0), handle_of(made));
  CHECK(stream_ref(cuda_device(0), made) == ref);
  CHECK(stream_ref(cuda_device(0), static_cast<void*>(made)) == ref);
  CHECK(stream_ref(cuda_device(0), with_get{made}) == ref);
  CHECK(stream_ref(cuda_device(0), converting{made}) == ref);
  const cuda::stream own(cuda_device(0));
  CHECK(stream_ref(cuda_device(0), own) == stream_ref(own));
}

TEST_CASE("NULL is the legacy stream, and never reaches the driver", "[stream_ref]") {
  const fake_world world;
  const stream_ref ref(cuda_device(0), with_get{nullptr});
  CHECK(ref.kind() == stream_kind::legacy);
  CHECK(ref.get() == legacy);
  CHECK(ref == stream_ref(cuda_device(0), protocol(1)));
  CHECK(first_race() == "");
}

TEST_CASE("managed memory counts as its device", "[stream_ref]") {
  const fake_world world;
  CHECK(stream_ref(device(kDLCUDAManaged, 1), protocol(1)) ==
        stream_ref(cuda_device(1), protocol(1)));
}

TEST_CASE("default streams of two devices differ", "[stream_ref]") {
  const fake_world world;
  CHECK(stream_ref(cuda_device(0), protocol(1)) != stream_ref(cuda_device(1), protocol(1)));
  CHECK(stream_ref(cuda_device(0), protocol(1)) != stream_ref(cuda_device(0), protocol(2)));
}

TEST_CASE("what names no stream of the device is refused", "[stream_ref]") {
  const fake_world world;
  CHECK(refusal_of(cuda_device(0), {}) == reason_code::stream);
  CHECK(refusal_of(cuda_device(0), protocol(-1)) == reason_code::stream);
  CHECK(refusal_of(device(), protocol(1)) == reason_code::stream);
  CHECK(refusal_of(cuda_device(0), handle_of(make_stream(1))) == reason_code::stream);
  CHECK_THROWS_AS(stream_ref(cuda_device(9), protocol(1)), cuda_error);
}

TEST_CASE("a stream that has the handle of a destroyed one is another", "[stream_ref]") {
  const fake_world world;
  const CUstream first = make_stream();
  const stream_ref before(cuda_device(0), first);
  destroy_stream(0, first);
  const CUstream second = make_stream();
  REQUIRE(second == first);
  const stream_ref after(cuda_device(0), second);
  CHECK(after.handle() == before.handle());
  CHECK(after.id() != before.id());
  CHECK(after != before);
}

TEST_CASE("a per-thread stream is that of the thread which named it", "[stream_ref]") {
  const fake_world world;
  const stream_ref here(cuda_device(0), protocol(2));
  CHECK(here.is_usable_here());
  CHECK(here == stream_ref(cuda_device(0), protocol(2)));
  // One after the other: the system gives both threads the same id.
  std::optional<stream_ref> first, second;
  std::jthread([&] {
    first.emplace(cuda_device(0), protocol(2));
    CHECK(first->is_usable_here());
    CHECK_FALSE(here.is_usable_here());
  }).join();
  std::jthread([&] { second.emplace(cuda_device(0), protocol(2)); }).join();
  CHECK(*first != here);
  CHECK(*first != *second);
  CHECK_FALSE(second->is_usable_here());
  CHECK(stream_ref(cuda_device(0), protocol(1)).is_usable_here());
}

TEST_CASE("a reference costs no event, no wait, and wakes no device", "[stream_ref]") {
  const fake_world world;
  const CUstream made = make_stream();
  const stream_ref ref(cuda_device(0), made);
  CHECK(fake_cuda_calls("cuEventRecord") == 0);
  CHECK(fake_cuda_host_waits() == 0);
  CHECK(current_context() == nullptr);
}

TEST_CASE("a reference that cannot be made throws and restores the context", "[stream_ref]") {
  const fake_world world;
  const CUstream made = make_stream();
  for (const char* call : {"cuStreamGetCtx", "cuStreamGetId"}) {
    fake_cuda_fail(call, 1, CUDA_ERROR_INVALID_HANDLE, 0);
    CHECK_THROWS_AS(stream_ref(cuda_device(0), made), cuda_error);
    CHECK(current_context() == nullptr);
  }
}
