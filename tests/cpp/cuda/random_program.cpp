#include <algorithm>
#include <exception>
#include <span>
#include <utility>
#include <vector>

#include "random_program.hpp"
#include <dlpack_bridge/cuda/release.hpp>
#include <dlpack_bridge/error.hpp>
#include <dlpack_bridge/exchange.hpp>

namespace db = dlpack_bridge;
using fake_cuda::machine;

namespace {

constexpr db::extent elements = 16;

db::device cuda_device(int id) { return db::device(kDLCUDA, id); }
db::stream_handle number_of(CUstream s) { return db::stream_handle::from_native(s); }

std::span<float> values_of(const db::managed_tensor& t) {
  return {static_cast<float*>(t.view().data()), elements};
}

/// Host memory whose owner writes to it as soon as it has it back.
struct host_source {
  std::vector<float> values;
  void operator()() const {
    fake_cuda_host_access(values.data(), values.size() * sizeof(float), 1);
  }
};

}  // namespace

// ---- choices ---------------------------------------------------------------------------------------

std::size_t random_program::below(std::size_t bound) { return random_() % bound; }

bool random_program::captures(const machine::lane& at) const {
  return std::ranges::any_of(captures_, [&at](const graph_capture& c) {
    return c.origin == &at || std::ranges::find(c.forks, &at) != c.forks.end();
  });
}

const machine::lane& random_program::any_lane(std::optional<int> device) {
  for (;;) {
    const machine::lane& lane = machine_.lanes()[below(machine_.lanes().size())];
    if (!device || lane.device == *device) return lane;
  }
}

const machine::lane& random_program::idle_lane(std::optional<int> device) {
  for (;;) {
    const machine::lane& lane = any_lane(device);
    if (!captures(lane)) return lane;
  }
}

const machine::lane& random_program::lane_of(const array& a) const {
  const auto here = [&](const machine::lane& lane) {
    return lane.device == a.device && number_of(lane.stream) == a.tensor.stream();
  };
  return *std::ranges::find_if(machine_.lanes(), here);
}

// ---- work ------------------------------------------------------------------------------------------

void random_program::complain(const char* what) {
  if (complaint_.empty()) complaint_ = what;
}

// A kernel that reads the array, or writes its next value. False when it went into a graph.
bool random_program::touch(const machine::lane& at, const array& a, bool writes) {
  const fake_cuda_access access{a.tensor.view().data(), elements * sizeof(float), writes};
  if (fake_cuda_work(at.device, at.stream, &access, 1) != CUDA_SUCCESS) complain("work failed");
  if (std::ranges::find(used_, &at) == used_.end()) used_.push_back(&at);
  if (!captures(at)) return true;
  ++uses_in_graphs_;
  return false;
}

void random_program::produce() {
  const machine::lane& home = idle_lane();
  const machine::lane& writer = idle_lane(home.device);
  auto block = machine_.pool.take(home.device, home.stream);
  const float stamp = ++last_stamp_;
  const std::size_t exports = 1 + below(2);
  for (std::size_t i = 0; i < exports; ++i) {
    array a{db::share(block->values.data(), {elements}, {}, db::float32, block,
                      cuda_device(home.device)),
            home.device, stamp, exports == 1, false};
    a.tensor.set_stream(number_of(writer.stream));
    arrays_.push_back(std::move(a));
  }
  machine_.order(writer, home);
  touch(writer, arrays_.back(), true);
  block->values.fill(stamp);
  machine_.order(home, writer);  // the allocator knows of the framework's own work
}

void random_program::produce_in_hub() {
  const machine::lane& at = idle_lane();
  array a{db::make_tensor({elements}, db::float32, cuda_device(at.device), number_of(at.stream)),
          at.device, ++last_stamp_, true, true};
  touch(at, a, true);
  std::ranges::fill(values_of(a.tensor), a.stamp);
  arrays_.push_back(std::move(a));
}

void random_program::import_from_host() {
  const machine::lane& at = idle_lane();
  const float stamp = ++last_stamp_;
  host_source source{std::vector<float>(elements, stamp)};
  const float* data = source.values.data();
  array a{db::share(data, {elements}, {}, db::float32, std::move(source)), at.device, stamp, true,
          true};
  db::requirements wanted;
  wanted.device = cuda_device(at.device);
  wanted.stream = number_of(at.stream);
  arrays_.push_back(std::move(a));
  exchange(arrays_.size() - 1, wanted, true);
}

// The array goes through the hub. A refusal has dropped it.
void random_program::exchange(std::size_t index, const db::requirements& wanted, bool fresh) {
  array& a = arrays_[index];
  try {
    a.tensor = db::exchange(std::move(a.tensor), wanted);
    a.lent = true;
    a.alone |= fresh;
    copies_ += fresh;
  } catch (const db::exchange_error& refused) {
    if (captures_.empty()) complain(refused.what());
    ++releases_;
    ++refusals_;
    arrays_.erase(arrays_.begin() + static_cast<std::ptrdiff_t>(index));
  }
}

void random_program::hand_on(std::size_t index, const machine::lane& to) {
  db::requirements wanted;
  wanted.stream = number_of(to.stream);
  exchange(index, wanted, false);
}

void random_program::copy() {
  const std::size_t index = below(arrays_.size());
  db::requirements wanted;
  wanted.copy = db::copy_policy::always;
  wanted.stream = number_of(any_lane(arrays_[index].device).stream);
  exchange(index, wanted, true);
}

void random_program::copy_to_other_device() {
  const std::size_t index = below(arrays_.size());
  const int device = 1 - arrays_[index].device;
  db::requirements wanted;
  wanted.device = cuda_device(device);
  wanted.stream = number_of(any_lane(device).stream);
  arrays_[index].device = device;
  exchange(index, wanted, true);
}

void random_program::copy_to_host() {
  const std::size_t index = below(arrays_.size());
  db::requirements wanted;
  wanted.device = db::device();
  const std::size_t before = arrays_.size();
  exchange(index, wanted, true);
  if (arrays_.size() != before) return;
  const array& a = arrays_[index];
  fake_cuda_host_access(a.tensor.view().data(), elements * sizeof(float), 0);
  const auto right = [&](float value) { return value == a.stamp; };
  if (!std::ranges::all_of(values_of(a.tensor), right)) complain("a copy on the host is wrong");
  ++releases_;
  arrays_.erase(arrays_.begin() + static_cast<std::ptrdiff_t>(index));
}

void random_program::use() {
  array& a = arrays_[below(arrays_.size())];
  if (!a.lent) return;  // a framework would tell its own allocator
  const machine::lane& at = lane_of(a);
  const bool writes = a.alone && below(2) == 0;
  const auto right = [&](float value) { return value == a.stamp; };
  if (!std::ranges::all_of(values_of(a.tensor), right)) complain("an array has wrong values");
  if (!touch(at, a, writes) || !writes) return;
  a.stamp = ++last_stamp_;
  std::ranges::fill(values_of(a.tensor), a.stamp);
}

// On a stream that the hub was not told of, until it is.
void random_program::use_elsewhere() {
  array& a = arrays_[below(arrays_.size())];
  const machine::lane& at = lane_of(a);
  const machine::lane& elsewhere = idle_lane(a.device);
  if (!a.lent || captures(at)) return;
  machine_.order(elsewhere, at);
  touch(elsewhere, a, false);
  a.alone = false;
  const bool known = db::cuda::record_use(cuda_device(a.device), a.tensor.view().data(),
                                          number_of(elsewhere.stream), db::owner());
  if (!known) complain("the hub does not know an array that went through it");
}

void random_program::drop() {
  arrays_.erase(arrays_.begin() + static_cast<std::ptrdiff_t>(below(arrays_.size())));
  ++releases_;
}

void random_program::let_devices_run() {
  if (below(2) == 0) fake_cuda_run(static_cast<int>(below(2)));
  db::cuda::collect(false);
}

// Mostly of a stream that has an array.
void random_program::begin_capture() {
  const bool used = below(4) != 0;
  const machine::lane& lane = used ? lane_of(arrays_[below(arrays_.size())]) : any_lane();
  if (!lane.may_capture || captures(lane)) return;
  constexpr CUstreamCaptureMode modes[] = {CU_STREAM_CAPTURE_MODE_GLOBAL,
                                           CU_STREAM_CAPTURE_MODE_THREAD_LOCAL,
                                           CU_STREAM_CAPTURE_MODE_RELAXED};
  if (machine_.begin_capture(lane, modes[below(3)]) != CUDA_SUCCESS) complain("no capture");
  captures_.push_back({&lane, {}});
}

// Another stream joins the last capture.
void random_program::fork_capture() {
  const machine::lane& lane = idle_lane();
  if (captures_.empty() || !lane.may_capture) return;
  machine_.order(lane, *captures_.back().origin);
  captures_.back().forks.push_back(&lane);
}

// A stream of the same device that captures for the same graph; null when there is none.
const machine::lane* random_program::fork_of(const machine::lane& origin) const {
  for (const graph_capture& c : captures_) {
    for (const machine::lane* fork : c.forks) {
      if (c.origin == &origin && fork->device == origin.device) return fork;
    }
  }
  return nullptr;
}

void random_program::end_capture() {
  if (captures_.empty()) return;
  const graph_capture ended = std::move(captures_.back());
  captures_.pop_back();
  for (const machine::lane* fork : ended.forks) machine_.order(*ended.origin, *fork);
  if (machine_.end_capture(*ended.origin) != CUDA_SUCCESS) complain("a capture was broken");
  // An edge of a graph orders nothing outside of it: that is for whoever goes on there.
  for (const machine::lane* fork : ended.forks) machine_.order(*ended.origin, *fork);
  for (const machine::lane* fork : ended.forks) machine_.order(*fork, *ended.origin);
}

// ---- the program -----------------------------------------------------------------------------------

void random_program::step() {
  if (arrays_.empty()) {
    produce();
    return;
  }
  switch (below(24)) {
    case 0:
    case 1:
    case 2: produce(); break;
    case 3: produce_in_hub(); break;
    case 4: import_from_host(); break;
    case 5:
    case 6:
    case 7:
    case 8: {
      const std::size_t index = below(arrays_.size());
      const machine::lane* fork = fork_of(lane_of(arrays_[index]));
      hand_on(index, fork != nullptr ? *fork : any_lane(arrays_[index].device));
      break;
    }
    case 9: copy(); break;
    case 10: copy_to_other_device(); break;
    case 11: copy_to_host(); break;
    case 12:
    case 13:
    case 14: use(); break;
    case 15: use_elsewhere(); break;
    case 16:
    case 17: drop(); break;
    case 18: let_devices_run(); break;
    case 19:
    case 20: begin_capture(); break;
    case 21:
    case 22: fork_capture(); break;
    default: end_capture();
  }
}

void random_program::run(int steps) {
  try {
    for (int i = 0; i < steps; ++i) step();
    // At least one array is handed from stream to stream, used, and dropped.
    while (!captures_.empty()) end_capture();
    produce();
    const machine::lane& from = lane_of(arrays_.back());
    const machine::lane* to = &from;
    while (to == &from) to = &any_lane(from.device);
    hand_on(arrays_.size() - 1, *to);
    touch(lane_of(arrays_.back()), arrays_.back(), false);
  } catch (const std::exception& error) {
    complain(error.what());
  }
  finish();
}

void random_program::finish() {
  while (!captures_.empty()) end_capture();
  releases_ += static_cast<int>(arrays_.size());
  arrays_.clear();
  machine_.pool.reuse_all();
  for (int device : {0, 1}) fake_cuda_run(device);
  db::cuda::collect(true);
  machine_.pool.reuse_all();
  if (machine_.pool.taken() != taken_before_) complain("memory did not go back");
}
