#include <array>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include <catch2/catch_test_macros.hpp>

#include "fake_cuda/two_devices.hpp"

using namespace fake_cuda;

// The fake's vector clocks against a graph: every operation is a node, every rule of the driver an
// edge, and one operation is ordered before another when a path leads there.

namespace {

constexpr int most_nodes = 128;
using ancestors = std::bitset<most_nodes>;

enum class kind { legacy, per_thread, blocking, non_blocking };

/// The order of a program, kept as sets of ancestors: no clock, no shortcut.
class order_graph {
 public:
  struct stream {
    kind what;
    int device;
    std::vector<int> nodes;  ///< in order
    ancestors waits;         ///< joined into its next node
  };

  int add_stream(kind what, int device) {
    streams_.push_back({what, device, {}, {}});
    return static_cast<int>(streams_.size()) - 1;
  }

  /// An operation on a stream; its number.
  int work(int s) {
    const int node = static_cast<int>(before_.size());
    ancestors set = all_before_next(s);
    before_.push_back(set);
    stream& on = streams_[static_cast<std::size_t>(s)];
    on.nodes.push_back(node);
    return node;
  }

  /// What an event recorded now stands for.
  ancestors record(int s) {
    stream& on = streams_[static_cast<std::size_t>(s)];
    on.waits |= all_before_next(s);  // the record is an operation, which waited for this
    return all_before_next(s);
  }
  void wait(int s, const ancestors& event) {
    stream& on = streams_[static_cast<std::size_t>(s)];
    on.waits |= all_before_next(s) | event;
  }
  void host_waits(int s) { host_ |= own(streams_[static_cast<std::size_t>(s)]); }

  bool ordered(int first, int second) const {
    return before_[static_cast<std::size_t>(second)][static_cast<std::size_t>(first)];
  }

 private:
  /// A stream's nodes with all that is before them, and what it waits for.
  ancestors own(const stream& s) const {
    ancestors set = s.waits;
    if (!s.nodes.empty()) {
      const auto last = static_cast<std::size_t>(s.nodes.back());
      set |= before_[last];
      set.set(last);
    }
    return set;
  }
  ancestors all_before_next(int index) const {
    const stream& s = streams_[static_cast<std::size_t>(index)];
    ancestors set = own(s) | host_;
    for (const stream& other : streams_) {
      if (other.device != s.device || &other == &s) continue;
      const bool other_blocks = other.what == kind::blocking || other.what == kind::per_thread;
      const bool blocks = s.what == kind::blocking || s.what == kind::per_thread;
      if ((s.what == kind::legacy && other_blocks) || (blocks && other.what == kind::legacy)) {
        set |= own(other);
      }
    }
    return set;
  }

  std::vector<stream> streams_;
  std::vector<ancestors> before_;
  ancestors host_;
};

/// One random program, run on both; counts comparisons.
class random_program {
 public:
  explicit random_program(std::uint32_t seed) : random_(seed) {
    add(kind::legacy, 0, CU_STREAM_LEGACY);
    add(kind::per_thread, 0, CU_STREAM_PER_THREAD);
    add(kind::legacy, 1, CU_STREAM_LEGACY);
    for (int device : {0, 1}) {
      add(kind::blocking, device, devices_.blocking_stream(device));
      add(kind::non_blocking, device, devices_.stream(device));
    }
    add(kind::non_blocking, 0, devices_.stream());
    for (std::size_t device : {0U, 1U}) {
      cuCtxPushCurrent(devices_.contexts[device]);
      for (auto& e : events_[device]) e.handle = devices_.event();
      cuCtxPopCurrent(nullptr);
    }
  }

  void run(int steps) {
    for (int i = 0; i < steps; ++i) step();
  }

  long comparisons = 0;
  long differences = 0;
  long ordered = 0;

 private:
  struct stream {
    CUstream handle;
    int device;
  };
  struct event {
    CUevent handle = nullptr;
    bool recorded = false;
    ancestors state;
  };

  void add(kind what, int device, CUstream handle) {
    graph_.add_stream(what, device);
    streams_.push_back({handle, device});
  }
  std::size_t below(std::size_t bound) {
    return std::uniform_int_distribution<std::size_t>(0, bound - 1)(random_);
  }

  void step() {
    const std::size_t index = below(streams_.size());
    const stream& s = streams_[index];
    const auto on = static_cast<int>(index);
    const auto device = static_cast<std::size_t>(s.device);
    cuCtxPushCurrent(devices_.contexts[device]);
    switch (below(8)) {
      case 0:
      case 1: {
        event& e = events_[device][below(events_[device].size())];
        cuEventRecord(e.handle, s.handle);
        e.state = graph_.record(on);
        e.recorded = true;
        break;
      }
      case 2:
      case 3:
      case 4: {
        event& e = events_[below(2)][below(events_[0].size())];
        cuStreamWaitEvent(s.handle, e.handle, 0);
        if (e.recorded) graph_.wait(on, e.state);
        break;
      }
      case 5:
        if (below(6) == 0) {
          cuStreamSynchronize(s.handle);
          graph_.host_waits(on);
        }
        break;
      default: compare(on, s);
    }
    cuCtxPopCurrent(nullptr);
  }

  // A new operation writes a byte of its own and reads those of all before it: what races is not
  // ordered. Each read is a node, and they are many, so each goes to a copy of the graph.
  void compare(int on, const stream& s) {
    const auto count = writes_.size();
    if (count == bytes_.size()) return;
    for (std::size_t i = 0; i < count; ++i) {
      order_graph with_read = graph_;
      const int node = with_read.work(on);
      const bool expected = with_read.ordered(writes_[i], node);
      const bool found = devices_.found_by([&] { read(s.handle, &bytes_[i], 1, s.device); }) == 0;
      ++comparisons;
      differences += expected != found;
      ordered += expected;
    }
    write(s.handle, &bytes_[count], 1, s.device);
    writes_.push_back(graph_.work(on));
  }

  two_devices devices_;
  order_graph graph_;
  std::mt19937 random_;
  std::vector<stream> streams_;
  std::array<std::array<event, 3>, 2> events_;
  std::array<std::byte, 64> bytes_{};
  std::vector<int> writes_;
};

}  // namespace

TEST_CASE("the clocks order what a graph of the operations orders, and nothing else", "[fake]") {
  long comparisons = 0, differences = 0, ordered = 0;
  for (std::uint32_t seed = 0; seed < 300; ++seed) {
    random_program program(seed);
    program.run(160);
    comparisons += program.comparisons;
    differences += program.differences;
    ordered += program.ordered;
  }
  CAPTURE(comparisons, ordered);
  CHECK(differences == 0);
  CHECK(comparisons >= 30000);
  CHECK(ordered >= comparisons / 10);  // programs that order everything or nothing say little
  CHECK(ordered <= comparisons - comparisons / 10);
}
