#include <thread>
#include <utility>

#include <catch2/catch_test_macros.hpp>

#include "fake_world.hpp"
#include "lending.hpp"
#include <dlpack_bridge/cuda/context.hpp>
#include <dlpack_bridge/cuda/copy.hpp>
#include <dlpack_bridge/cuda/handshake.hpp>
#include <dlpack_bridge/cuda/memory.hpp>
#include <dlpack_bridge/cuda/stream.hpp>

// The default streams of a device are those of the context that is current to the thread; and what
// is current to one thread is left alone by the others.

using namespace dlpack_bridge;

namespace {

/// A green context of device 0 is current while it lives.
struct green_context {
  green_context() {
    const quiet own;
    must(cuCtxPushCurrent(handle));
  }
  green_context(const green_context&) = delete;
  green_context& operator=(const green_context&) = delete;
  ~green_context() { leave(); }
  void leave() {
    const quiet own;
    if (inside) cuCtxPopCurrent(nullptr);
    inside = false;
  }

  CUcontext handle = fake_cuda_green_context(0);
  bool inside = true;
};

void order(CUstream consumer, CUstream producer) {
  cuda::order_after(cuda_device(0), handle_of(consumer), cuda_device(0), handle_of(producer));
}

}  // namespace

TEST_CASE("a green context has default streams of its own", "[green]") {
  const fake_world world;
  block memory;
  memory.write(legacy);
  const green_context green;
  memory.read(legacy);
  CHECK(fake_cuda_races() > 0);
}

TEST_CASE("a default stream is that of the context that is current", "[green]") {
  const fake_world world;
  const CUstream other = make_stream();
  for (const CUstream own : {legacy, per_thread}) {
    block memory;
    const green_context green;
    memory.write(own);
    order(other, own);
    memory.write(other);
    order(own, other);
    memory.write(own);
    cuda::wait_for(cuda_device(0), handle_of(own));
    fake_cuda_host_access(memory.bytes, sizeof memory.bytes, 1);
    CHECK(first_race() == "");
    CHECK(current_context() == green.handle);
  }
}

TEST_CASE("the default stream of another device is that of its primary context", "[green]") {
  const fake_world world;
  block memory(1);
  const CUstream there = make_stream(1);
  const green_context green;
  memory.write(there);
  cuda::order_after(cuda_device(1), handle_of(legacy), cuda_device(1), handle_of(there));
  memory.write(legacy);
  CHECK(first_race() == "");
}

TEST_CASE("a producer elsewhere does not change whose default stream is meant", "[green]") {
  const fake_world world;
  block memory;
  const green_context green;
  const CUstream own = make_stream();  // of the green context
  const current_device primary(0);
  memory.write(own);
  order(legacy, own);
  memory.write(legacy);
  CHECK(first_race() == "");
}

TEST_CASE("entering a device leaves a context of it current", "[green]") {
  const fake_world world;
  REQUIRE(make_stream(1) != nullptr);  // it is awake
  const green_context green;
  CHECK_FALSE(cuda::enter_device(cuda_device(0)));
  const owner entered = cuda::enter_device(cuda_device(1));
  CHECK(current_context() == context_of(1));
}

TEST_CASE("a reader in a green context is waited for wherever the memory is dropped", "[green]") {
  const fake_world world;
  const CUstream writer = make_stream();
  for (const CUstream own : {legacy, per_thread}) {
    for (const bool known_home : {true, false}) {
      for (const bool elsewhere : {true, false}) {
        INFO("home known: " << known_home << ", on another thread: " << elsewhere);
        block memory;
        producer from(memory, writer);
        memory.write(writer);
        green_context green;
        owner lent = from.lend(own, known_home ? handle_of(writer) : stream_handle());
        order(own, writer);
        memory.read(own);
        green.leave();
        if (elsewhere) std::thread([&] { lent.reset(); }).join();
        else lent.reset();
        CHECK(from.returned == (known_home ? 1 : 0));
        cuda::collect(true);
        CHECK(from.returned == 1);
        CHECK(first_race() == "");
        fake_cuda_clear_races();
      }
    }
  }
}

TEST_CASE("a use that is declared in a green context is one there", "[green]") {
  const fake_world world;
  const CUstream writer = make_stream();
  block memory;
  producer from(memory, writer);
  owner lent = from.lend(writer, handle_of(writer));
  memory.write(writer);
  {
    const green_context green;
    order(legacy, writer);
    memory.read(legacy);
    CHECK(cuda::record_use(cuda_device(0), memory.bytes, handle_of(legacy), {}));
  }
  lent.reset();
  CHECK(from.returned == 1);
  CHECK(first_race() == "");
}

TEST_CASE("memory is at home on no default stream of a green context", "[green]") {
  const fake_world world;
  const auto use = [](const backend_memory& memory) {
    const quiet own;
    const fake_cuda_access access{memory.data, 5000, 1};
    must(fake_cuda_work(0, legacy, &access, 1));
  };
  {
    // Of the primary context, used and dropped there and in a green one.
    auto memory = cuda::allocate(5000, 64, cuda_device(0), handle_of(legacy));
    CHECK(memory.home == handle_of(legacy));
    use(memory);
    const green_context green;
    memory.keep.reset();
  }
  const green_context green;
  const auto memory = cuda::allocate(5000, 64, cuda_device(0), handle_of(legacy));
  CHECK(memory.home == cuda::own_stream(cuda_device(0)).handle());
  use(memory);
  cuda::order_after(cuda_device(0), memory.home, cuda_device(0), handle_of(legacy));
  CHECK(first_race() == "");
}

TEST_CASE("other threads ask for the events of a green context without it", "[green]") {
  const fake_world world;
  block first, second;
  const green_context green;
  const CUstream writer = make_stream(), reader = make_stream();
  producer from(first, writer), held(second, writer);
  owner lent = from.lend(reader), kept = held.lend(reader);
  order(reader, writer);
  first.read(reader);
  second.read(reader);
  lent.reset();
  let_it_look();
  CHECK(from.returned == 0);
  fake_cuda_run(0);
  CHECK(eventually([&] { return from.returned == 1; }));
  fake_cuda_reset_calls();
  second.read(reader);
  kept.reset();
  std::thread([] { cuda::collect(true); }).join();
  CHECK(held.returned == 1);
  CHECK(first_race() == "");
}
