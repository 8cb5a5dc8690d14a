#include <cstddef>
#include <cstdlib>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include <catch2/catch_test_macros.hpp>

#include "alone.hpp"
#include "fake_cuda/fake_device.hpp"
#include "fake_cuda/machine.hpp"
#include <dlpack_bridge/cuda/backend.hpp>
#include <dlpack_bridge/cuda/release.hpp>
#include <dlpack_bridge/error.hpp>
#include <dlpack_bridge/exchange.hpp>

// Each record, wait and query of the hub is needed: when the driver ignores one, a scenario notices.

namespace db = dlpack_bridge;
using fake_cuda::caching_pool;
using fake_cuda::machine;

namespace {

constexpr db::extent elements = 16;
constexpr std::size_t bytes = elements * sizeof(float);

/// The streams of a scenario.
struct stage {
  machine m;
  const machine::lane& legacy = m.lanes()[0];
  const machine::lane& blocking = m.lanes()[1];
  const machine::lane& writer = m.lanes()[2];
  const machine::lane& reader = m.lanes()[3];
  const machine::lane& far_reader = m.lanes()[6];
};

stage& the_stage() {
  static stage* const only = [] {
    db::cuda::use();
    return new stage;
  }();
  return *only;
}

db::device cuda_device(int id) { return db::device(kDLCUDA, id); }
db::stream_handle number_of(const machine::lane& at) {
  return db::stream_handle::from_native(at.stream);
}

void work(const machine::lane& at, const void* data, bool writes) {
  const fake_cuda_access access{data, bytes, writes};
  fake_cuda_work(at.device, at.stream, &access, 1);
}

/// A block that was allocated on the blocking stream, its home, and written on the writer's.
std::shared_ptr<caching_pool::block> written_block() {
  const stage& s = the_stage();
  auto block = the_stage().m.pool.take(s.blocking.device, s.blocking.stream);
  s.m.order(s.writer, s.blocking);
  work(s.writer, block->values.data(), true);
  block->values.fill(1);
  s.m.order(s.blocking, s.writer);
  return block;
}

/// In place, as its producer does.
void write_again(caching_pool::block& block) {
  const stage& s = the_stage();
  work(s.writer, block.values.data(), true);
  s.m.order(s.blocking, s.writer);
}

db::managed_tensor tensor_of(std::shared_ptr<caching_pool::block> block, const machine::lane& at) {
  const float* data = block->values.data();
  auto t = db::share(data, {elements}, {}, db::float32, std::move(block), cuda_device(at.device));
  t.set_stream(number_of(at));
  return t;
}

db::managed_tensor written() { return tensor_of(written_block(), the_stage().writer); }

db::managed_tensor hand_to(db::managed_tensor t, const machine::lane& to,
                           db::copy_policy copy = db::copy_policy::if_needed) {
  db::requirements wanted;
  wanted.copy = copy;
  wanted.stream = number_of(to);
  wanted.device = cuda_device(to.device);
  return db::exchange(std::move(t), wanted);
}

db::managed_tensor to_host(db::managed_tensor t) {
  db::requirements wanted;
  wanted.device = db::device();
  return db::exchange(std::move(t), wanted);
}

void use(const db::managed_tensor& t, const machine::lane& at, bool writes = false) {
  work(at, t.view().data(), writes);
}

/// Whatever was dropped goes back, now or when the devices have run, and is used again at once.
void reuse() {
  the_stage().m.pool.reuse_all();
  for (int device : {0, 1}) fake_cuda_run(device);
  db::cuda::collect(true);
  the_stage().m.pool.reuse_all();
}

/// Throws what a scenario finds wrong beside races and broken captures.
void expect(bool good, const char* what) {
  if (!good) throw std::runtime_error(what);
}

/// While a stream captures, `action` has to be refused.
template <class Action>
void refused_while_capturing(const machine::lane& at, Action action) {
  stage& s = the_stage();
  // The hub itself must not be what the mode protects from.
  s.m.begin_capture(at, CU_STREAM_CAPTURE_MODE_RELAXED);
  bool refused = false;
  try {
    action();
  } catch (const db::exchange_error&) {
    refused = true;
  } catch (const db::device_error&) {
    // The driver refused what the hub should have: too late for the capture.
  }
  const CUresult ended = s.m.end_capture(at);
  expect(ended == CUDA_SUCCESS, "a capture was broken");
  expect(refused, "nothing was refused");
}

struct scenario {
  const char* name;
  void (*run)();
  void (*run_differently)() = nullptr;  ///< the same calls of the hub, another user
  /// The last record is of an event that the pool has just got back, recorded at the same place: to
  /// leave it out changes nothing here.
  bool last_record_repeats = false;
};

// Every record and wait that the hub makes in these is needed by one of the two ways they go on.
const scenario ordering[] = {
    {"shared with another stream",
     [] {
       auto& s = the_stage();
       const auto t = hand_to(written(), s.reader);
       use(t, s.reader, true);
     }},
    {"used on a second stream, which was declared",
     [] {
       auto& s = the_stage();
       const auto t = hand_to(written(), s.reader);
       s.m.order(s.writer, s.reader);
       use(t, s.writer);
       use(t, s.reader);
       expect(db::cuda::record_use(cuda_device(0), t.view().data(), number_of(s.writer), {}),
              "a loan is not known");
     }},
    {"dropped where the home of the memory is known",
     [] {
       auto& s = the_stage();
       auto block = written_block();
       const void* data = block->values.data();
       s.m.order(s.reader, s.writer);
       db::owner lent =
           db::cuda::lend(db::owner::of(std::move(block)), {.where = cuda_device(0),
                                                            .begin = data,
                                                            .nbytes = bytes,
                                                            .user = number_of(s.reader),
                                                            .home = number_of(s.blocking)});
       work(s.reader, data, false);
       lent.reset();
       expect(s.m.pool.taken() == 0, "the release waited");
     }},
    {"copied on the user's stream",
     [] {
       auto& s = the_stage();
       const auto block = written_block();
       const auto t = hand_to(tensor_of(block, s.writer), s.reader, db::copy_policy::always);
       write_again(*block);
       use(t, s.reader);
     },
     [] { hand_to(written(), the_stage().reader, db::copy_policy::always); }, true},
    {"copied from a producer that is done",
     [] {
       auto& s = the_stage();
       auto source = written();
       s.m.order(s.reader, s.writer);
       source.set_stream(*db::stream_handle::from_protocol(kDLCUDA, -1));
       hand_to(std::move(source), s.reader, db::copy_policy::always);
     }},
    {"copied to another device",
     [] {
       auto& s = the_stage();
       const auto block = written_block();
       const auto t = hand_to(tensor_of(block, s.writer), s.far_reader);
       write_again(*block);
       use(t, s.far_reader, true);
     },
     [] { hand_to(written(), the_stage().far_reader); }, true},
    {"copied to the host",
     [] {
       const auto t = to_host(written());
       fake_cuda_host_access(t.view().data(), bytes, 1);
     }},
    {"shared inside one graph",
     [] {
       auto& s = the_stage();
       const auto block = written_block();
       s.m.begin_capture(s.writer, CU_STREAM_CAPTURE_MODE_RELAXED);
       s.m.order(s.reader, s.writer);
       work(s.writer, block->values.data(), true);
       const auto t = hand_to(tensor_of(block, s.writer), s.reader);
       use(t, s.reader);
       s.m.order(s.writer, s.reader);
       expect(s.m.end_capture(s.writer) == CUDA_SUCCESS, "a capture was broken");
       s.m.order(s.reader, s.writer);
       use(t, s.reader);
     }},
};

// Without the queries of capture states each of these breaks a capture, or is not refused.
const scenario capturing[] = {
    {"the consumer captures",
     [] {
       auto& s = the_stage();
       auto t = written();
       refused_while_capturing(s.reader, [&] { t = hand_to(std::move(t), s.reader); });
     }},
    {"the producer captures",
     [] {
       auto& s = the_stage();
       auto t = written();
       refused_while_capturing(s.writer, [&] { t = hand_to(std::move(t), s.reader); });
     }},
    {"a blocking stream captures and the legacy stream is the consumer",
     [] {
       auto& s = the_stage();
       auto t = written();
       refused_while_capturing(s.blocking, [&] { t = hand_to(std::move(t), s.legacy); });
     }},
    {"a copy on a stream that captures",
     [] {
       auto& s = the_stage();
       auto t = written();
       refused_while_capturing(
           s.writer, [&] { t = hand_to(std::move(t), s.writer, db::copy_policy::always); });
     }},
    {"a copy to the host from a stream that captures",
     [] {
       auto t = written();
       refused_while_capturing(the_stage().writer, [&] { t = to_host(std::move(t)); });
     }},
    {"the host waits for a stream that captures",
     [] {
       auto& s = the_stage();
       refused_while_capturing(
           s.writer, [&] { db::cuda::backend().wait(cuda_device(0), number_of(s.writer)); });
     }},
    {"producer and consumer capture into two graphs",
     [] {
       auto& s = the_stage();
       auto t = written();
       s.m.begin_capture(s.writer, CU_STREAM_CAPTURE_MODE_RELAXED);
       try {
         refused_while_capturing(s.reader, [&] { t = hand_to(std::move(t), s.reader); });
       } catch (...) {
         s.m.end_capture(s.writer);
         throw;
       }
       expect(s.m.end_capture(s.writer) == CUDA_SUCCESS, "a capture was broken");
     }},
};

const scenario& two_graphs = std::end(capturing)[-1];

// What goes wrong in a scenario; empty when nothing does.
std::string outcome_of(void (*run)()) {
  std::string wrong;
  const long broken = fake_cuda_live("captures");
  try {
    run();
    reuse();
  } catch (const std::exception& error) {
    wrong = std::string(error.what()) + "\n";
  }
  if (fake_cuda_live("captures") != broken) wrong += "a capture was broken\n";
  return wrong + fake_cuda::findings();
}

void clean() {
  fake_cuda_heal();
  fake_cuda_settle();
  db::cuda::collect(true);
  fake_cuda_clear_races();
  fake_cuda_reset_calls();
}

bool goes_wrong_without(const char* function, int nth, void (*run)()) {
  if (run == nullptr) return false;
  clean();
  fake_cuda_ignore(function, nth);
  return !outcome_of(run).empty();
}

constexpr int noticed = 42;

// What a broken capture leaves behind stays in the process of the hidden case.
bool notices_ignored_queries(const scenario& one, const char* function) {
  const auto number = std::to_string(&one - capturing);
  return run_alone("one scenario without capture queries",
                   {{"SCENARIO", number.c_str()}, {"FUNCTION", function}})
             .code == noticed;
}

}  // namespace

TEST_CASE("every event that the hub records or waits for is needed", "[mutation]") {
  the_stage();
  long checked = 0;
  for (const scenario& one : ordering) {
    INFO(one.name);
    for (const auto run : {one.run, one.run_differently}) {
      clean();
      if (run != nullptr) CHECK(outcome_of(run) == "");
    }
    for (const std::string function :
         {"cuEventRecord", "cuStreamWaitEvent", "cuEventSynchronize"}) {
      clean();
      outcome_of(one.run);
      const bool repeats = one.last_record_repeats && function == "cuEventRecord";
      const long calls = fake_cuda_calls(function.c_str()) - repeats;
      for (int nth = 1; nth <= calls; ++nth, ++checked) {
        INFO("without " << function << " " << nth << " of " << calls);
        CHECK((goes_wrong_without(function.c_str(), nth, one.run) ||
               goes_wrong_without(function.c_str(), nth, one.run_differently)));
      }
    }
  }
  clean();
  CHECK(checked >= 20);
}

TEST_CASE("captures survive because the hub asks who captures", "[mutation]") {
  the_stage();
  for (const scenario& one : capturing) {
    INFO(one.name);
    clean();
    CHECK(outcome_of(one.run) == "");
    CHECK(notices_ignored_queries(one, "cuStreamIsCapturing"));
  }
  clean();
  CHECK(notices_ignored_queries(two_graphs, "cuStreamGetCaptureInfo"));
}

namespace {

// A pool is made once in a process. Nothing where all goes well.
std::string wrong_with_pools() {
  auto& s = the_stage();
  clean();
  if (const char* function = std::getenv("FUNCTION")) {
    fake_cuda_ignore(function, std::atoi(std::getenv("NTH")));
  }
  std::string wrong;
  const auto held = [] { return fake_cuda_live("pooled"); };
  for (const machine::lane* at : {&s.writer, &s.far_reader}) {
    const machine::lane& other = at == &s.writer ? s.far_reader : s.writer;
    auto memory = db::cuda::backend().allocate(bytes, 64, cuda_device(at->device), number_of(*at));
    s.m.order(other, *at);
    work(other, memory.data, true);
    s.m.order(*at, other);
    const long before = held();
    memory.keep.reset();
    db::cuda::backend().wait(cuda_device(at->device), number_of(*at));
    if (held() != before) wrong += "the next copy has to map memory anew\n";
  }
  db::cuda::collect(true);
  if (held() != 0) wrong += "nobody else gets the memory any more\n";
  if (fake_cuda_calls("cuMemAllocFromPoolAsync") != 2) wrong += "there are no pools\n";
  return wrong + fake_cuda::findings();
}

}  // namespace

TEST_CASE("every call that makes the pools, or empties them, is needed", "[mutation]") {
  CHECK(run_alone("pools without a call").code == 0);
  for (const char* function : {"cuMemPoolCreate", "cuMemPoolSetAttribute", "cuDeviceCanAccessPeer",
                               "cuMemPoolSetAccess", "cuMemPoolTrimTo"}) {
    for (const char* nth : {"1", "2"}) {
      INFO("without " << function << " " << nth);
      CHECK(run_alone("pools without a call", {{"FUNCTION", function}, {"NTH", nth}}).code ==
            noticed);
    }
  }
}

TEST_CASE("pools without a call", "[.][mutation]") {
  the_stage();
  std::string wrong;
  try {
    wrong = wrong_with_pools();
  } catch (const std::exception& error) {
    wrong = error.what();
  }
  std::_Exit(wrong.empty() ? 0 : noticed);
}

TEST_CASE("one scenario without capture queries", "[.][mutation]") {
  the_stage();
  clean();
  fake_cuda_ignore(std::getenv("FUNCTION"), 0);
  const bool wrong = !outcome_of(capturing[std::atoi(std::getenv("SCENARIO"))].run).empty();
  std::_Exit(wrong ? noticed : 0);
}
