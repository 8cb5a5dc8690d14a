// Release: memory goes back to its producer only after every use that the hub knows of. The pools here
// hand a block out again as soon as it is back, and fill it with poison, as frameworks' pools do; the
// reader is held up in the meantime.
#include <chrono>
#include <functional>
#include <future>
#include <mutex>
#include <thread>

#include <catch2/generators/catch_generators.hpp>
#include <catch2/generators/catch_generators_range.hpp>

#include "gpu.hpp"
#include <dlpack_bridge/counters.hpp>
#include <dlpack_bridge/cuda/handshake.hpp>
#include <dlpack_bridge/exchange.hpp>

using namespace gpu;
using dlpack_bridge::exchange;
using dlpack_bridge::managed_tensor;
using dlpack_bridge::owner;

namespace {

constexpr std::size_t count = 40'000;
constexpr int repeats = 500;

/// Memory that is written on one stream, its home, and comes back from any thread.
class pool {
 public:
  virtual ~pool() = default;
  virtual void* take(const stream& home) = 0;
  virtual void give(const stream& home, void* block) = 0;
};

/// Keeps what comes back, and hands it out again without asking anybody: CuPy's and torch's way.
/// Has two blocks from the start: allocations may wait for the device.
class caching_pool : public pool {
 public:
  caching_pool() {
    for (void*& block : free_) MUST(lab_alloc(0, LAB_DEVICE, 4 * count, nullptr, &block));
  }
  ~caching_pool() override {
    for (void* block : free_) lab_free(0, LAB_DEVICE, block, nullptr);
  }
  void* take(const stream&) override {
    const std::lock_guard lock(mutex_);
    if (free_.empty()) FAIL("a block was not given back");
    void* const block = free_.back();
    free_.pop_back();
    return block;
  }
  void give(const stream&, void* block) override {
    const std::lock_guard lock(mutex_);
    free_.push_back(block);
  }

 private:
  std::mutex mutex_;
  std::vector<void*> free_ = std::vector<void*>(2);
};

/// The driver's own: blocks come and go in the order of the home stream.
class driver_pool : public pool {
 public:
  void* take(const stream& home) override {
    void* block = nullptr;
    MUST(lab_alloc(0, LAB_POOLED, 4 * count, home.get(), &block));
    return block;
  }
  void give(const stream& home, void* block) override {
    lab_free(0, LAB_POOLED, block, home.get());
  }
};

/// One block, written on the home stream and lent to a reader that is held up.
struct lending {
  lending(pool& from, const stream& home, const stream& reader)
      : source(from), home(home), reader(reader), block(from.take(home)) {
    fill(home, block, count, good);
  }
  lending(const lending&) = delete;
  lending& operator=(const lending&) = delete;
  /// Whatever is still to be given back is given back while the pool and the streams live.
  ~lending() {
    gate.open();
    cuda::collect(true);
  }
  owner giver() {
    return owner::of([&source = source, &home = home, block = block] { source.give(home, block); });
  }
  void read_later() {
    gate.hold(reader);
    copy(reader, out, block);
  }
  /// The pool's next block, which may be the one that was read; full of poison when `home` got there.
  void* reuse() {
    void* next = source.take(home);
    fill(home, next, count, poison);
    return next;
  }

  pool& source;
  const stream& home;
  const stream& reader;
  void* block;
  words out{count, 0};
  latch gate;
};

managed_tensor lend_with_home(lending& l) {
  cuda::order_after(l.reader.ref(), l.home.ref());
  owner keep = cuda::lend(l.giver(), {.where = gpu0,
                                      .begin = l.block,
                                      .nbytes = 4 * count,
                                      .user = l.reader.handle(),
                                      .home = l.home.handle()});
  return tensor_of(l.block, count, l.home, std::move(keep));
}

managed_tensor lend_by_exchange(lending& l) {
  return exchange(tensor_of(l.block, count, l.home, l.giver()), {.stream = l.reader.handle()});
}

struct road {
  const char* name;
  managed_tensor (*lend)(lending&);
  bool home_known;
};
constexpr road roads[] = {{"exchange", lend_by_exchange, false},
                          {"lend, with the home stream", lend_with_home, true}};

std::unique_ptr<pool> make_pool(bool caching) {
  if (caching) return std::make_unique<caching_pool>();
  return std::make_unique<driver_pool>();
}

std::int64_t pending() { return dlpack_bridge::active_counters().pending_releases.load(); }

}  // namespace

TEST_CASE_METHOD(gpu_case, "Memory is not reused before its reader is through, 500 times") {
  const bool caching = GENERATE(true, false);
  const road way = GENERATE(from_range(std::begin(roads), std::end(roads)));
  const kind reads_on = GENERATE(from_range(std::begin(kinds), std::end(kinds)));
  INFO((caching ? "a caching pool" : "the driver's pool")
       << ", " << way.name << ", read on a " << to_string(reads_on) << " stream");
  const std::unique_ptr<pool> source = make_pool(caching);
  stream home(kind::non_blocking), reader(reads_on);
  int wrong = 0, early = 0, reused = 0;
  for (int i = 0; i < repeats; ++i) {
    lending l(*source, home, reader);
    managed_tensor lent = way.lend(l);
    l.read_later();
    lent.reset();
    void* const next = l.reuse();
    reused += next == l.block;
    l.gate.open();
    wrong += !all(read(reader, l.out), good);
    early += !l.gate.held();
    source->give(home, next);
  }
  CHECK(wrong == 0);
  CHECK(early == 0);
  CHECK(lab_take_races() == 0);
  // With the home stream known nothing is kept: the block is back at once, and its next use waits.
  if (way.home_known && caching) CHECK(reused == repeats);
  home.wait();
}

TEST_CASE_METHOD(gpu_case, "Memory that is given back without the hub is overwritten") {
  const bool caching = GENERATE(true, false);
  INFO((caching ? "a caching pool" : "the driver's pool"));
  const std::unique_ptr<pool> source = make_pool(caching);
  stream home(kind::non_blocking), reader(kind::non_blocking);
  lending l(*source, home, reader);
  cuda::order_after(reader.ref(), home.ref());
  l.read_later();
  l.giver().reset();
  void* const next = l.reuse();
  INFO("the pool handed out another block: the test cannot see a race");
  CHECK(next == l.block);
  home.wait();
  CHECK(l.gate.held());
  l.gate.open();
  CHECK(saw_a_race(read(reader, l.out)));
  source->give(home, next);
  home.wait();
  lab_take_races();
}

TEST_CASE_METHOD(gpu_case, "A declared use is waited for, and one that nobody declared is not") {
  const bool declared = GENERATE(true, false);
  INFO((declared ? "declared" : "not declared"));
  caching_pool source;
  stream home(kind::non_blocking), told(kind::non_blocking), other(kind::non_blocking);
  lending l(source, home, told);
  managed_tensor lent = lend_by_exchange(l);
  cuda::order_after(other.ref(), told.ref());
  l.gate.hold(other);
  copy(other, l.out, l.block);
  if (declared) CHECK(cuda::record_use(lent.view(), other.ref()));
  told.wait();
  lent.reset();
  void* const next = l.reuse();
  if (!declared) home.wait();
  CHECK(l.gate.held());
  l.gate.open();
  const std::vector<std::uint32_t> seen = read(other, l.out);
  if (declared) {
    CHECK(all(seen, good));
    CHECK(lab_take_races() == 0);
  } else {
    CHECK(saw_a_race(seen));
  }
  home.wait();
  source.give(home, next);
}

TEST_CASE_METHOD(gpu_case, "Work on the per-thread stream of another thread is waited for") {
  caching_pool source;
  stream home(kind::non_blocking), per_thread(kind::per_thread);
  lending l(source, home, per_thread);
  managed_tensor lent;
  std::promise<void> enqueued, done;
  std::thread other([&, until = done.get_future()] {
    lent = lend_by_exchange(l);
    l.read_later();
    enqueued.set_value();
    until.wait();  // a per-thread stream ends with its thread
  });
  enqueued.get_future().wait();
  lent.reset();
  void* const next = l.reuse();
  if (!on_fake()) home.wait();
  CHECK(l.gate.held());
  l.gate.open();
  stream legacy(kind::legacy);  // ordered with the per-thread streams of all threads
  CHECK(all(read(legacy, l.out), good));
  done.set_value();
  other.join();
  home.wait();
  source.give(home, next);
  CHECK(lab_take_races() == 0);
}

TEST_CASE_METHOD(gpu_case, "Dropping an array does not block, and its release comes by itself") {
  if (on_fake()) SKIP("needs a GPU: nothing takes time here");
  caching_pool source;
  stream home(kind::non_blocking), reader(kind::non_blocking);
  lending l(source, home, reader);
  managed_tensor lent = lend_by_exchange(l);
  l.read_later();
  const std::int64_t before = pending();
  const auto start = std::chrono::steady_clock::now();
  lent.reset();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  CHECK(took.count() < 0.5);
  CHECK(l.gate.held());
  CHECK(pending() == before + 1);
  l.gate.open();
  const auto end = start + std::chrono::seconds(5);
  while (pending() != before && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  CHECK(pending() == before);
  CHECK(source.take(home) == l.block);
  source.give(home, l.block);
}

TEST_CASE_METHOD(gpu_case,
                 "A copy's source is kept until it was read, and its memory until its readers") {
  caching_pool source;
  stream home(kind::non_blocking), reader(kind::non_blocking);
  for (int i = 0; i < 50; ++i) {
    lending l(source, home, reader);
    l.gate.hold(reader);
    managed_tensor copied =
        exchange(tensor_of(l.block, count, home, l.giver()),
                 {.copy = dlpack_bridge::copy_policy::always, .stream = reader.handle()});
    void* const next = l.reuse();
    copy(reader, l.out, copied.view().data());
    copied.reset();
    l.gate.open();
    CHECK(all(read(reader, l.out), good));
    CHECK(l.gate.held());
    source.give(home, next);
  }
  CHECK(lab_take_races() == 0);
  home.wait();
}
