#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <catch2/catch_test_macros.hpp>

#include "alone.hpp"
#include "calls.hpp"
#include "failing_allocations.hpp"
#include "fake_world.hpp"
#include "lending.hpp"
#include <dlpack_bridge/cuda/error.hpp>
#include <dlpack_bridge/cuda/handshake.hpp>
#include <dlpack_bridge/cuda/stream.hpp>
#include <dlpack_bridge/error.hpp>
#include <dlpack_bridge/managed_tensor.hpp>

using namespace dlpack_bridge;
using namespace dlpack_bridge::cuda;

namespace {

// A user reads what the producer has written, in the order that the handshake makes.
void read_after(block& memory, CUstream writer, CUstream reader) {
  order_after(cuda_device(0), handle_of(reader), cuda_device(0), handle_of(writer));
  memory.read(reader);
}
void use(block& memory, CUstream writer, CUstream reader) {
  memory.write(writer);
  read_after(memory, writer, reader);
}

bool record_on(const block& memory, CUstream stream, owner keep = {}) {
  return record_use(cuda_device(0), memory.bytes + 7, handle_of(stream), std::move(keep));
}

// A producer that is told of users, as torch is.
struct told {
  static bool take_note(void* context, device where, stream_handle stream) noexcept {
    auto& self = *static_cast<told*>(context);
    self.streams.push_back(stream);
    self.where = where;
    self.thread = std::this_thread::get_id();
    return self.answer;
  }
  use_listener listener() { return {this, take_note}; }

  bool answer = true;
  std::vector<stream_handle> streams;
  device where;
  std::thread::id thread;
};

}  // namespace

TEST_CASE("memory that nobody used goes back at once, without a driver call", "[release]") {
  const fake_world world;
  block memory;
  producer from(memory, make_stream());
  fake_cuda_reset_calls();
  for (const CUstream nobody : {CUstream{}, reinterpret_cast<CUstream>(-1)}) {
    loan terms = from.terms(nullptr);
    if (nobody != nullptr) terms.user = *stream_handle::from_protocol(kDLCUDA, -1);
    owner lent = lend(from.give(), std::move(terms));
    CHECK(from.returned == 0);
    lent.reset();
    CHECK(from.returned == 1);
    from.returned = 0;
  }
  CHECK(fake_cuda_calls(nullptr) == 0);
  CHECK(pending() == 0);
}

TEST_CASE("memory that only its home stream used goes back at once", "[release]") {
  const fake_world world;
  block memory;
  const CUstream home = make_stream();
  producer from(memory, home);
  memory.write(home);
  fake_cuda_reset_calls();
  owner lent = from.lend(home, handle_of(home));
  CHECK(record_on(memory, home));
  memory.read(home);
  lent.reset();
  CHECK(from.returned == 1);
  CHECK(fake_cuda_calls(nullptr) == 0);
  CHECK(first_race() == "");
}

TEST_CASE("a producer that takes note protects its memory itself", "[release]") {
  const fake_world world;
  block memory;
  const CUstream writer = make_stream(), reader = make_stream(), second = make_stream();
  producer from(memory, writer);
  told torch;
  owner lent = from.lend(reader, {}, torch.listener());
  CHECK(record_on(memory, second));
  CHECK(torch.streams.empty());  // asked when the memory comes back, not before
  fake_cuda_reset_calls();
  lent.reset();
  CHECK(from.returned == 1);
  CHECK(torch.streams == std::vector{handle_of(reader), handle_of(second)});
  CHECK(torch.where == cuda_device(0));
  CHECK(torch.thread == std::this_thread::get_id());
  CHECK(fake_cuda_calls(nullptr) == 0);
}

TEST_CASE("a producer that cannot take note is protected by the hub", "[release]") {
  const fake_world world;
  block memory;
  const CUstream writer = make_stream(), reader = make_stream();
  producer from(memory, writer);
  told torch;
  torch.answer = false;
  owner lent = from.lend(reader, {}, torch.listener());
  use(memory, writer, reader);
  lent.reset();
  CHECK(torch.streams.size() == 1);
  CHECK(from.returned == 0);
  fake_cuda_run(0);
  CHECK(eventually([&] { return from.returned == 1; }));
  CHECK(torch.streams.size() == 1);
  CHECK(first_race() == "");
}

TEST_CASE("a producer is not asked about its own stream, nor about a thread's", "[release]") {
  const fake_world world;
  block memory;
  const CUstream home = make_stream();
  producer from(memory, home);
  told torch;
  owner lent = from.lend(home, handle_of(home), torch.listener());
  std::jthread([&] { CHECK(record_on(memory, per_thread)); }).join();
  lent.reset();
  CHECK(torch.streams.empty());
  CHECK(from.returned == 1);
}

TEST_CASE("the home stream waits for the reader, and the memory goes at once", "[release]") {
  const fake_world world;
  block memory;
  const CUstream home = make_stream(), reader = make_stream();
  producer from(memory, home);
  owner lent = from.lend(reader, handle_of(home));
  use(memory, home, reader);
  fake_cuda_reset_calls();
  lent.reset();
  CHECK(from.returned == 1);
  CHECK(fake_cuda_calls("cuEventRecord") == 1);
  CHECK(fake_cuda_calls("cuStreamWaitEvent") == 1);
  CHECK(fake_cuda_calls("cuEventQuery") == 0);
  CHECK(fake_cuda_host_waits() == 0);
  CHECK(first_race() == "");
}

TEST_CASE("the home stream waits for every reader", "[release]") {
  const fake_world world;
  block memory;
  const CUstream home = make_stream();
  producer from(memory, home);
  owner lent = from.lend(home, handle_of(home));
  memory.write(home);
  for (const CUstream reader : {make_stream(), make_stream(), legacy, per_thread}) {
    read_after(memory, home, reader);
    CHECK(record_on(memory, reader));
  }
  fake_cuda_reset_calls();
  lent.reset();
  CHECK(from.returned == 1);
  CHECK(fake_cuda_calls("cuStreamWaitEvent") == 4);
  CHECK(first_race() == "");
}

TEST_CASE("without the home stream's wait the reuse is a race", "[release]") {
  const fake_world world;
  for (const char* ignored : {"cuEventRecord", "cuStreamWaitEvent"}) {
    block memory;
    const CUstream home = make_stream(), reader = make_stream();
    producer from(memory, home);
    owner lent = from.lend(reader, handle_of(home));
    use(memory, home, reader);
    fake_cuda_ignore(ignored, 0);
    lent.reset();
    fake_cuda_heal();
    CHECK(from.returned == 1);
    CHECK(fake_cuda_races() > 0);
    fake_cuda_clear_races();
  }
}

TEST_CASE("memory of an unknown home goes back when its reader is through", "[release]") {
  const fake_world world;
  block memory;
  const CUstream writer = make_stream(), reader = make_stream();
  producer from(memory, writer);
  owner lent = from.lend(reader);
  use(memory, writer, reader);
  const std::int64_t before = pending();
  fake_cuda_reset_calls();
  lent.reset();
  CHECK(from.returned == 0);
  CHECK(pending() == before + 1);
  CHECK(fake_cuda_calls("cuEventRecord") == 1);
  CHECK(fake_cuda_calls("cuStreamWaitEvent") == 0);
  let_it_look();
  CHECK(from.returned == 0);
  fake_cuda_run(0);
  CHECK(eventually([&] { return from.returned == 1 && pending() == before; }));
  CHECK(from.thread != std::this_thread::get_id());
  CHECK(fake_cuda_host_waits() == 0);
  CHECK(first_race() == "");
}

TEST_CASE("memory of an unknown home goes back at once when its reader is idle", "[release]") {
  const fake_world world;
  block memory;
  const CUstream writer = make_stream(), reader = make_stream();
  producer from(memory, writer);
  owner lent = from.lend(reader);
  use(memory, writer, reader);
  fake_cuda_run(0);
  fake_cuda_reset_calls();
  lent.reset();
  CHECK(from.returned == 1);
  CHECK(from.thread == std::this_thread::get_id());
  CHECK(fake_cuda_calls("cuEventRecord") == 1);
  CHECK(fake_cuda_calls("cuEventQuery") == 1);
  CHECK(first_race() == "");
}

TEST_CASE("without the record or the query the same reuse is a race", "[release]") {
  const fake_world world;
  for (const char* ignored : {"cuEventRecord", "cuEventQuery"}) {
    block memory;
    const CUstream writer = make_stream(), reader = make_stream();
    producer from(memory, writer);
    owner lent = from.lend(reader);
    use(memory, writer, reader);
    fake_cuda_ignore(ignored, 0);
    lent.reset();
    fake_cuda_run(0);
    CHECK(eventually([&] { return from.returned == 1; }));
    fake_cuda_heal();
    CHECK(fake_cuda_races() > 0);
    fake_cuda_clear_races();
  }
}

TEST_CASE("a use that was not declared is not protected", "[release]") {
  const fake_world world;
  block memory;
  const CUstream home = make_stream(), reader = make_stream();
  producer from(memory, home);
  owner lent = from.lend(home, handle_of(home));
  use(memory, home, reader);
  lent.reset();
  CHECK(fake_cuda_races() > 0);
}

TEST_CASE("a use is declared by any address of the memory", "[release]") {
  const fake_world world;
  block memory;
  const CUstream reader = make_stream();
  producer from(memory, make_stream());
  const auto declared = [&](const void* address) {
    return record_use(cuda_device(0), address, handle_of(reader), {});
  };
  CHECK_FALSE(declared(memory.bytes));
  {
    const owner lent = from.lend(nullptr);
    CHECK(declared(memory.bytes));
    CHECK(declared(memory.bytes + sizeof memory.bytes - 1));
    CHECK_FALSE(declared(memory.bytes + sizeof memory.bytes));
    CHECK_FALSE(declared(nullptr));
  }
  CHECK_FALSE(declared(memory.bytes));
  {
    loan empty = from.terms(nullptr);
    empty.nbytes = 0;
    const owner lent = lend(from.give(), std::move(empty));
    CHECK(declared(memory.bytes));
    CHECK_FALSE(declared(memory.bytes + 1));
  }
}

TEST_CASE("loans are found whatever was dropped before them", "[release]") {
  const fake_world world;
  block memory[4];
  std::vector<owner> lent;
  producer from(memory[0], make_stream());
  for (block& one : memory) {
    loan terms = from.terms(nullptr);
    terms.begin = one.bytes;
    lent.push_back(lend(owner(&from, [](void*) noexcept {}), std::move(terms)));
  }
  bool living[4] = {true, true, true, true};
  for (const std::size_t dropped : {1U, 3U, 0U, 2U}) {
    lent[dropped].reset();
    living[dropped] = false;
    for (std::size_t i = 0; i < 4; ++i) CHECK(record_on(memory[i], legacy) == living[i]);
  }
}

TEST_CASE("a use is declared for every loan of the memory", "[release]") {
  const fake_world world;
  block memory;
  const CUstream home = make_stream(), reader = make_stream();
  producer first(memory, home), second(memory, home);
  stream_keeper kept;
  owner one = first.lend(home, handle_of(home)), two = second.lend(home, handle_of(home));
  CHECK(record_on(memory, reader, kept.give()));
  for (owner* lent : {&one, &two}) {
    use(memory, home, reader);
    fake_cuda_reset_calls();
    CHECK(kept.dropped == 0);
    lent->reset();
    CHECK(fake_cuda_calls("cuEventRecord") == 1);
  }
  CHECK(kept.dropped == 1);
  CHECK(first_race() == "");
}

TEST_CASE("arrays and stream references declare uses too", "[release]") {
  const fake_world world;
  block memory;
  const CUstream home = make_stream();
  const cuda::stream reader(cuda_device(0));
  producer from(memory, home);
  const extent shape[] = {sizeof memory.bytes};
  const auto wrap = [&](owner keep) {
    return managed_tensor::wrap(tensor_view(memory.bytes, shape, nullptr, 1, uint8, cuda_device(0)),
                                std::move(keep));
  };
  managed_tensor array = wrap(from.lend(home, handle_of(home)));
  CHECK(record_use(array, reader));
  CHECK(record_use(array.view(), reader));
  use(memory, home, static_cast<CUstream>(reader.get()));
  array.reset();
  CHECK(from.returned == 1);
  CHECK(first_race() == "");
}

TEST_CASE("the per-thread stream of another thread cannot be declared", "[release]") {
  const fake_world world;
  block memory;
  producer from(memory, make_stream());
  const owner lent = from.lend(nullptr);
  const stream_ref here(cuda_device(0), per_thread);
  const extent shape[] = {1};
  const tensor_view view(memory.bytes, shape, nullptr, 1, uint8, cuda_device(0));
  std::jthread([&] { CHECK_THROWS_AS(record_use(view, here), exchange_error); }).join();
  CHECK(record_use(view, here));
}

TEST_CASE("what keeps a stream alive goes after the memory", "[release]") {
  const fake_world world;
  block memory;
  const CUstream writer = make_stream(), reader = make_stream();
  stream_keeper first, second, third;
  struct order_seen {
    stream_keeper* kept;
    int dropped = -1;
  } seen{&first};
  loan terms = producer(memory, writer).terms(reader);
  terms.user_object = first.give();
  owner lent = lend(owner(&seen,
                          [](void* object) noexcept {
                            auto& s = *static_cast<order_seen*>(object);
                            s.dropped = s.kept->dropped;
                          }),
                    std::move(terms));
  CHECK(record_on(memory, reader, second.give()));  // known already, and kept already
  CHECK(second.dropped == 1);
  const CUstream other = make_stream();
  CHECK(record_on(memory, other));
  CHECK(record_on(memory, other, third.give()));  // known, and not kept by anybody
  CHECK(third.dropped == 0);
  use(memory, writer, reader);
  lent.reset();
  CHECK(first.dropped == 0);
  fake_cuda_run(0);
  CHECK(eventually([&] { return first.dropped == 1 && third.dropped == 1; }));
  CHECK(seen.dropped == 0);
}

TEST_CASE("a reader on another device is waited for there", "[release]") {
  const fake_world world;
  const CUstream home = make_stream(0);
  for (const CUstream reader : {make_stream(1), legacy}) {
    for (const stream_handle known : {handle_of(home), stream_handle()}) {
      block memory;
      producer from(memory, home);
      owner lent = from.lend(nullptr, known);
      memory.write(home);
      CHECK(record_use(cuda_device(1), memory.bytes, handle_of(reader), {}));
      order_after(cuda_device(1), handle_of(reader), cuda_device(0), handle_of(home));
      memory.write(1, reader);
      lent.reset();
      fake_cuda_run(0);
      fake_cuda_run(1);
      CHECK(eventually([&] { return from.returned == 1; }));
      CHECK(first_race() == "");
    }
  }
  CHECK(current_context() == nullptr);
}

TEST_CASE("a release wakes no device", "[release]") {
  CHECK(run_alone("a reader on a sleeping device").code == 0);
}
TEST_CASE("a reader on a sleeping device", "[.alone]") {
  const CUstream home = make_stream(0);
  const current_device current(0);
  fake_cuda_reset_calls();
  for (const stream_handle known : {handle_of(home), stream_handle()}) {
    block memory;
    producer from(memory, home);
    owner lent = from.lend(nullptr, known);
    CHECK(record_use(cuda_device(1), memory.bytes, handle_of(legacy), {}));
    lent.reset();
    CHECK(from.returned == 1);
  }
  CHECK(fake_cuda_calls("cuEventRecord") == 0);
  CHECK(fake_cuda_live("contexts") == 1);
}

TEST_CASE("a per-thread reader is recorded on its own thread", "[release]") {
  const fake_world world;
  block memory;
  const CUstream home = make_stream();
  producer from(memory, home);
  owner lent = from.lend(per_thread, handle_of(home));
  use(memory, home, per_thread);
  lent.reset();
  CHECK(from.returned == 1);
  CHECK(first_race() == "");
}

TEST_CASE("a per-thread reader whose thread is elsewhere is covered by the legacy stream",
          "[release]") {
  const fake_world world;
  for (const bool known : {true, false}) {
    block memory;
    const CUstream home = make_stream();
    producer from(memory, home);
    owner lent;
    std::jthread([&] {
      lent = from.lend(per_thread, known ? handle_of(home) : stream_handle());
      use(memory, home, per_thread);
    }).join();
    memory.read(home);
    std::jthread([&] { lent.reset(); }).join();  // may have the thread id of the first
    fake_cuda_run(0);
    CHECK(eventually([&] { return from.returned == 1; }));
    CHECK(first_race() == "");
  }
}

TEST_CASE("a per-thread home is reached from any thread", "[release]") {
  const fake_world world;
  block memory;
  const CUstream reader = make_stream();
  producer from(memory, legacy);
  owner lent;
  std::jthread([&] {
    lent = from.lend(reader, handle_of(per_thread));
    use(memory, per_thread, reader);
  }).join();
  lent.reset();
  CHECK(from.returned == 1);
  CHECK(first_race() == "");
}

// ---- captures -----------------------------------------------------------------------------------

TEST_CASE("a release leaves every capture alone and comes after it", "[release][capture]") {
  const fake_world world;
  enum class captured { reader, home, blocking };
  for (const auto what : {captured::reader, captured::home, captured::blocking}) {
    block memory;
    const CUstream home = make_stream(), reader = make_stream();
    producer from(memory, home);
    const bool legacy_reads = what == captured::blocking;
    owner lent = from.lend(legacy_reads ? legacy : reader, handle_of(home));
    use(memory, home, legacy_reads ? legacy : reader);
    capture running(0, what == captured::reader ? reader
                       : what == captured::home ? home
                                                : make_stream(0, 0));
    fake_cuda_reset_calls();
    lent.reset();
    let_it_look();
    CHECK(from.returned == 0);
    CHECK(fake_cuda_calls("cuEventRecord") == 0);
    CHECK(collect(true) == 0);  // does not wait for it, and does not hang
    CHECK(from.returned == 0);
    CHECK(running.end() == CUDA_SUCCESS);
    CHECK(collect() == 1);
    CHECK(from.returned == 1);
    CHECK(first_race() == "");
  }
}

TEST_CASE("what a capture held up goes with the next release", "[release][capture]") {
  const fake_world world;
  block first, second, third;
  const CUstream home = make_stream(), reader = make_stream();
  producer one(first, home), two(second, home), three(third, home);
  owner lent = one.lend(reader, handle_of(home)), also = two.lend(reader, handle_of(home));
  capture running(0, reader);
  lent.reset();
  also.reset();
  CHECK(pending() == 2);
  CHECK(running.end() == CUDA_SUCCESS);
  let_it_look();
  CHECK(pending() == 2);  // the queue's own thread uses no stream
  three.lend(home, handle_of(home)).reset();
  CHECK(three.returned == 1);
  CHECK(one.returned == 1);
  CHECK(two.returned == 1);
  CHECK(pending() == 0);
  CHECK(first_race() == "");
}

TEST_CASE("a capture that does not end holds up no other release, and costs each one look",
          "[release][capture]") {
  const fake_world world;
  std::vector<std::unique_ptr<block>> memory;
  for (int i = 0; i < 9; ++i) memory.push_back(std::make_unique<block>());
  const CUstream home = make_stream(), endless = make_stream(), reader = make_stream();
  producer stays(*memory[0], home), goes(*memory[1], home);
  capture running(0, endless);
  stays.lend(endless, handle_of(home)).reset();
  {
    const capture passing(0, reader);
    goes.lend(reader, handle_of(home)).reset();
  }
  fake_cuda_reset_calls();
  for (int i = 2; i < 9; ++i) {
    producer from(*memory[static_cast<std::size_t>(i)], home);
    from.lend(home, handle_of(home)).reset();
    CHECK(from.returned == 1);
  }
  CHECK(goes.returned == 1);
  CHECK(stays.returned == 0);
  CHECK(fake_cuda_calls("cuStreamIsCapturing") <= 2 * 8);  // home and reader, of one record
  CHECK(running.end() == CUDA_SUCCESS);
  CHECK(collect() == 1);
  CHECK(first_race() == "");
}

TEST_CASE("the queue's thread uses no stream, whatever it lets go of", "[release][capture]") {
  const fake_world world;
  block memory;
  const CUstream writer = make_stream(), reader = make_stream(), second = make_stream();
  producer from(memory, writer);
  // A loan of what is lent already: dropping the outer one drops the inner one.
  owner inner = from.lend(reader);
  owner outer = lend(std::move(inner), from.terms(second));
  use(memory, writer, reader);
  read_after(memory, reader, second);
  outer.reset();
  fake_cuda_reset_calls();
  fake_cuda_run(0);
  // The outer one went by itself; the inner one waits for a thread that may record on its stream.
  CHECK(eventually([&] { return fake_cuda_calls("cuEventQuery") > 0 && pending() == 1; }));
  let_it_look();
  CHECK(fake_cuda_calls("cuEventRecord") + fake_cuda_calls("cuStreamWaitEvent") +
            fake_cuda_calls("cuStreamIsCapturing") ==
        0);
  CHECK(from.returned == 0);
  CHECK(collect(true) == 1);
  CHECK(from.returned == 1);
  CHECK(first_race() == "");
}

TEST_CASE("a capturing reader of an unknown home is recorded after the capture",
          "[release][capture]") {
  const fake_world world;
  block memory;
  const CUstream writer = make_stream(), reader = make_stream(), other = make_stream();
  producer from(memory, writer);
  owner lent = from.lend(reader);
  CHECK(record_on(memory, other));
  use(memory, writer, reader);
  read_after(memory, writer, other);
  capture running(0, reader);
  lent.reset();
  fake_cuda_run(0);
  let_it_look();
  CHECK(from.returned == 0);
  CHECK(running.end() == CUDA_SUCCESS);
  CHECK(collect() == 1);
  CHECK(from.returned == 1);
  CHECK(first_race() == "");
}

TEST_CASE("a reader that begins to capture unseen is recorded again after the capture",
          "[release][capture]") {
  const fake_world world;
  block memory;
  const CUstream writer = make_stream(), reader = make_stream();
  producer from(memory, writer);
  owner lent = from.lend(reader);
  use(memory, writer, reader);
  capture running(0, reader);
  fake_cuda_ignore("cuStreamIsCapturing", 1);  // it answers that nothing captures
  lent.reset();
  REQUIRE(fake_cuda_ignored() == 1);
  fake_cuda_heal();
  CHECK(from.returned == 0);
  running.end();  // the query of the captured event may have ended it
  CHECK(collect() == 0);
  fake_cuda_run(0);
  CHECK(eventually([&] { return from.returned == 1; }));
  CHECK(first_race() == "");
}

TEST_CASE("releases go on while another stream captures, in every mode", "[release][capture]") {
  const fake_world world;
  for (const auto mode : {CU_STREAM_CAPTURE_MODE_GLOBAL, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL,
                          CU_STREAM_CAPTURE_MODE_RELAXED}) {
    block memory;
    const CUstream writer = make_stream(), reader = make_stream();
    producer from(memory, writer);
    owner lent = from.lend(reader);
    use(memory, writer, reader);
    capture running(0, make_stream(), mode);
    lent.reset();
    CHECK(from.returned == 0);
    fake_cuda_run(0);
    CHECK(eventually([&] { return from.returned == 1; }));
    lent = from.lend(reader);
    use(memory, writer, reader);
    lent.reset();
    CHECK(collect(true) == 1);
    CHECK(from.returned == 2);
    CHECK(running.end() == CUDA_SUCCESS);
    CHECK(first_race() == "");
  }
}

// ---- trouble ------------------------------------------------------------------------------------

TEST_CASE("a shortage at the release is waited out", "[release]") {
  const fake_world world;
  block memory;
  const CUstream writer = make_stream(), reader = make_stream();
  producer from(memory, writer);
  owner lent = from.lend(reader);
  use(memory, writer, reader);
  fake_cuda_fail("cuEventRecord", 0, CUDA_ERROR_OUT_OF_MEMORY, 0);
  lent.reset();
  let_it_look();
  CHECK(from.returned == 0);
  fake_cuda_heal();
  CHECK(collect() == 0);
  fake_cuda_run(0);
  CHECK(eventually([&] { return from.returned == 1; }));
  CHECK(first_race() == "");
}

TEST_CASE("what an error leaves unknown is given up and counted, not given back", "[release]") {
  const fake_world world;
  block memory;
  const CUstream home = make_stream(), reader = make_stream();
  for (const stream_handle known : {handle_of(home), stream_handle()}) {
    static producer from(memory, home);  // outlives the case: it never comes back
    from.returned = 0;
    int times = 0;
    const std::int64_t lost = leaked(), waiting = pending();
    with_each_call_failing(
        CUDA_ERROR_INVALID_HANDLE,
        [&] {
          owner lent = from.lend(reader, known);
          ++times;
          fake_cuda_set_idle(1);
          lent.reset();
        },
        [&](const std::string& failed) {
          INFO(failed);
          if (failed.starts_with("cuCtxPopCurrent")) cuCtxPopCurrent(nullptr);
          CHECK(current_context() == nullptr);
        });
    CHECK(eventually([&] { return from.returned + leaked() - lost == times; }));
    CHECK(leaked() > lost);
    CHECK(pending() == waiting);
  }
}

TEST_CASE("memory of a lost device goes back without waiting", "[release]") {
  CHECK(run_alone("device 0 is lost").code == 0);
}
TEST_CASE("device 0 is lost", "[.alone]") {
  block first(0), second(0), third(0);
  const CUstream home = make_stream(), reader = make_stream();
  producer waiting(first, home), dropped(second, home), later(third, home);
  owner one = waiting.lend(reader), two = dropped.lend(reader, handle_of(home));
  owner three = later.lend(reader);
  first.read(reader);
  second.read(reader);
  one.reset();
  CHECK(waiting.returned == 0);
  fake_cuda_fail("cuEventRecord", 1, CUDA_ERROR_ILLEGAL_ADDRESS, 1);
  two.reset();
  CHECK(dropped.returned == 1);
  CHECK(eventually([&] { return waiting.returned == 1; }));
  fake_cuda_reset_calls();
  three.reset();
  CHECK(later.returned == 1);
  CHECK(fake_cuda_calls(nullptr) == 0);  // nothing is asked of it any more
  CHECK(leaked() == 0);
  // The other device is well.
  block fourth(1);
  CHECK_FALSE(record_use(cuda_device(1), fourth.bytes, handle_of(legacy), {}));
  order_after(cuda_device(1), handle_of(make_stream(1)), cuda_device(1), handle_of(legacy));
  fake_cuda_heal();
}

TEST_CASE("in the child of a fork the driver is left alone", "[release]") {
  const fake_world world;
  block memory;
  const CUstream home = make_stream(), reader = make_stream();
  producer used(memory, home), unused(memory, home);
  owner with_reader = used.lend(reader, handle_of(home)), without = unused.lend(nullptr);
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    const long calls = fake_cuda_calls(nullptr);
    const std::int64_t lost = leaked();
    with_reader.reset();
    without = owner();
    const bool right = used.returned == 0 && unused.returned == 1 && leaked() == lost + 1 &&
                       !record_on(memory, reader) && collect(true) == 0 && !lend(owner(), loan()) &&
                       fake_cuda_calls(nullptr) == calls;
    _exit(right ? 0 : 1);
  }
  int ended = -1;
  REQUIRE(waitpid(child, &ended, 0) == child);
  CHECK(ended == 0);
  with_reader.reset();
  CHECK(used.returned == 1);
}

TEST_CASE("a fork while threads lend leaves the child able to drop", "[release]") {
  const fake_world world;
  block memory;
  const CUstream home = make_stream();
  const auto lend_unused = [&] {
    loan terms = producer(memory, home).terms(home, handle_of(home));
    return lend(owner(&memory, [](void*) noexcept {}), std::move(terms));
  };
  owner lent = lend_unused();
  std::vector<std::jthread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&](const std::stop_token& stop) {
      while (!stop.stop_requested()) lend_unused();
    });
  }
  for (int turn = 0; turn < 100; ++turn) {
    const pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      alarm(10);  // ends a child that hangs on a lock of a thread it does not have
      lent.reset();
      _exit(0);
    }
    int ended = -1;
    REQUIRE(waitpid(child, &ended, 0) == child);
    REQUIRE(ended == 0);
  }
}

#ifdef DLPACK_BRIDGE_FAILING_ALLOCATIONS
TEST_CASE("lending allocates nothing in the long run", "[release]") {
  const fake_world world;
  block memory;
  const CUstream home = make_stream();
  producer from(memory, home);
  stream_keeper kept;
  const auto lend_and_drop = [&] {
    loan terms = from.terms(home, handle_of(home));
    terms.user_object = kept.give();
    return lend(owner(&from, [](void*) noexcept {}), std::move(terms));
  };
  lend_and_drop();
  allocations::made = 0;
  lend_and_drop();
  CHECK(allocations::made == 0);
}

TEST_CASE("memory that could not be lent has been released", "[release]") {
  const fake_world world;
  block memory;
  producer from(memory, make_stream());
  const CUstream reader = make_stream();
  std::vector<owner> all;
  bool failed = false;
  all.reserve(100000);
  while (!failed && all.size() < all.capacity()) {
    const allocations::failure injected(0);
    try {
      all.push_back(from.lend(reader));
    } catch (const std::bad_alloc&) {
      failed = true;
    }
  }
  CHECK(failed);
  CHECK(from.returned == 1);
  fake_cuda_set_idle(1);
}
#endif
