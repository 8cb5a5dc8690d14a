#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <catch2/catch_test_macros.hpp>

#include "alone.hpp"
#include "calls.hpp"
#include "fake_world.hpp"
#include "layouts.hpp"
#include <dlpack_bridge/counters.hpp>
#include <dlpack_bridge/cuda/copy.hpp>
#include <dlpack_bridge/cuda/copy_engine.hpp>
#include <dlpack_bridge/cuda/device_copy.hpp>
#include <dlpack_bridge/cuda/error.hpp>
#include <dlpack_bridge/cuda/memory.hpp>
#include <dlpack_bridge/cuda/stream.hpp>

using namespace dlpack_bridge;
using cuda::cuda_error;

namespace {

using extents = std::vector<extent>;

enum class kind { pageable, pinned, registered, managed, device0, device1 };

const std::vector<kind> all_kinds{kind::pageable, kind::pinned,  kind::registered,
                                  kind::managed,  kind::device0, kind::device1};

std::string name_of(kind k) {
  const char* const names[] = {"pageable", "pinned",   "registered",
                               "managed",  "device 0", "device 1"};
  return names[static_cast<int>(k)];
}

bool is_host(kind k) { return k <= kind::registered; }

/// Memory of one kind, filled with a pattern, at a multiple of 64.
class memory {
 public:
  memory(kind k, std::size_t bytes) : kind_(k), bytes_(std::max<std::size_t>(bytes, 1)) {
    const quiet own;
    static const bool awake = make_stream(0) != nullptr && make_stream(1) != nullptr;
    REQUIRE(awake);
    const current_device current(k == kind::device1 ? 1 : 0);
    if (k == kind::pinned) {
      void* address = nullptr;
      REQUIRE(cuMemHostAlloc(&address, bytes_, CU_MEMHOSTALLOC_PORTABLE) == CUDA_SUCCESS);
      data_ = static_cast<std::byte*>(address);
    } else if (k == kind::managed) {
      CUdeviceptr address = 0;
      REQUIRE(cuMemAllocManaged(&address, bytes_, CU_MEM_ATTACH_GLOBAL) == CUDA_SUCCESS);
      data_ = reinterpret_cast<std::byte*>(address);
    } else {
      data_ = static_cast<std::byte*>(std::aligned_alloc(64, (bytes_ + 63) / 64 * 64));
    }
    if (k == kind::registered) REQUIRE(cuMemHostRegister(data_, bytes_, 0) == CUDA_SUCCESS);
    if (k >= kind::device0) REQUIRE(fake_cuda_adopt(where().id, data_, bytes_) == CUDA_SUCCESS);
    std::memset(data_, 0x5a, bytes_);
  }
  memory(const memory&) = delete;
  memory& operator=(const memory&) = delete;
  ~memory() {
    const quiet own;
    fake_cuda_settle();
    const current_device current(0);
    if (kind_ == kind::registered) cuMemHostUnregister(data_);
    if (kind_ >= kind::device0) fake_cuda_disown(data_);
    if (kind_ == kind::pinned) cuMemFreeHost(data_);
    else if (kind_ == kind::managed) cuMemFree(reinterpret_cast<CUdeviceptr>(data_));
    else std::free(data_);
  }

  /// Registered memory looks like any memory of the host's to those who do not ask the driver.
  device where() const {
    switch (kind_) {
      case kind::pinned: return device(kDLCUDAHost);
      case kind::managed: return device(kDLCUDAManaged, 0);
      case kind::device0: return device(kDLCUDA, 0);
      case kind::device1: return device(kDLCUDA, 1);
      default: return {};
    }
  }
  std::byte* data() const { return data_; }
  std::size_t size() const { return bytes_; }

  /// Somebody uses all of it, on a stream or, for what only the host reaches, on the host.
  void use(int device, CUstream stream, int writes) const {
    const quiet own;
    if (kind_ == kind::pageable) return fake_cuda_host_access(data_, bytes_, writes);
    const fake_cuda_access access{data_, bytes_, writes};
    REQUIRE(fake_cuda_work(device, stream, &access, 1) == CUDA_SUCCESS);
  }
  void use_on_host(int writes) const { fake_cuda_host_access(data_, bytes_, writes); }

 private:
  kind kind_;
  std::size_t bytes_;
  std::byte* data_ = nullptr;
};

/// One copy between two kinds of memory, and what core `copy` makes of the same bytes.
class trial {
 public:
  trial(kind from, const layout& from_layout, dtype from_type, kind to, const layout& to_layout,
        dtype to_type, element_change changes = {})
      : change_(changes), shape_(from_layout.shape), from_kind_(from), to_kind_(to),
        from_type_(from_type), to_type_(to_type),
        from_strides_(from_layout.byte_strides(from_type.itemsize())),
        to_strides_(to_layout.byte_strides(to_type.itemsize())),
        from_low_(from_layout.skew - from_layout.span(from_type.itemsize()).first),
        to_low_(to_layout.skew - to_layout.span(to_type.itemsize()).first),
        from_(from,
              static_cast<std::size_t>(from_low_ + from_layout.span(from_type.itemsize()).second)),
        to_(to, static_cast<std::size_t>(to_low_ + to_layout.span(to_type.itemsize()).second)),
        expected_(to_.size(), std::byte{0x5a}) {
    std::mt19937 random(static_cast<unsigned>(from_.size()));
    for (std::size_t i = 0; i < from_.size(); ++i)
      from_.data()[i] = static_cast<std::byte>(random());
    dlpack_bridge::copy(shape_.data(), ndim(), source(), target(expected_.data()), change_);
  }

  int device() const {
    return to_kind_ == kind::device1 || (is_host(to_kind_) && from_kind_ == kind::device1) ? 1 : 0;
  }
  const memory& from() const { return from_; }
  const memory& to() const { return to_; }

  bool run(CUstream stream) {
    return cuda::copy({shape_.data(), ndim(), source(), target(to_.data()), from_.where(),
                       to_.where(), change_, handle_of(stream)});
  }

  /// With everybody else doing what the order of the stream allows.
  bool run_among_others(CUstream stream) {
    from_.use(device(), stream, 1);
    to_.use(device(), stream, 1);
    const bool running = run(stream);
    if (from_kind_ == kind::pageable) from_.use_on_host(1);
    else from_.use(device(), stream, 1);
    // An empty copy orders nothing.
    const bool empty = std::ranges::count(shape_, 0) != 0;
    if (running || empty) to_.use(device(), stream, 0);
    else to_.use_on_host(0);
    return running;
  }

  bool is_right() const { return std::memcmp(expected_.data(), to_.data(), expected_.size()) == 0; }

 private:
  std::int32_t ndim() const { return static_cast<std::int32_t>(shape_.size()); }
  strided_memory source() const {
    return {from_.data() + from_low_, from_strides_.data(), from_type_};
  }
  strided_memory target(std::byte* data) const {
    return {data + to_low_, to_strides_.data(), to_type_};
  }

  element_change change_;
  extents shape_;
  kind from_kind_, to_kind_;
  dtype from_type_, to_type_;
  extents from_strides_, to_strides_;
  extent from_low_, to_low_;
  memory from_, to_;
  std::vector<std::byte> expected_;
};

CUstream stream_of(const trial& t) {
  static const CUstream streams[] = {make_stream(0), make_stream(1)};
  return streams[t.device()];
}

bool blocks_the_host(kind from, kind to) { return from == kind::pageable || to == kind::pageable; }

struct pair_of_types {
  dtype from, to;
};
const std::vector<pair_of_types> type_pairs{
    {float32, float32}, {uint8, uint8},       {complex128, complex128}, {int16, float64},
    {float64, float16}, {complex64, float32}, {bfloat16, uint8},        {boolean, complex64}};

/// Every source layout and target layout, between two kinds of memory.
void check_layouts(kind from, kind to, bool with_kernels) {
  if (is_host(from) && is_host(to)) return;
  for (const layout& source : source_layouts()) {
    for (const layout& target : target_layouts(source.shape)) {
      for (const pair_of_types& types : type_pairs) {
        INFO(name_of(from) << " " << source.name << " " << types.from.name() << " to "
                           << name_of(to) << " " << target.name << " " << types.to.name());
        trial t(from, source, types.from, to, target, types.to);
        const CUstream stream = stream_of(t);
        fake_cuda_reset_calls();
        t.run_among_others(stream);
        REQUIRE(t.is_right());
        REQUIRE(first_race() == "");
        if (with_kernels && !blocks_the_host(from, to)) REQUIRE(fake_cuda_host_waits() == 0);
      }
    }
  }
}

void check_all_layouts(bool with_kernels) {
  for (const kind from : all_kinds) {
    for (const kind to : all_kinds) check_layouts(from, to, with_kernels);
  }
}

long blocks_alive() { return fake_cuda_live("device") + fake_cuda_live("host"); }
long leaked() { return static_cast<long>(active_counters().leaked.load()); }

void pop_contexts() {
  const quiet own;
  while (cuCtxPopCurrent(nullptr) == CUDA_SUCCESS) continue;
}

layout gaps(extents shape, extents strides) {
  return {"gaps", std::move(shape), std::move(strides)};
}

/// The copies that one trial makes, by the name of the driver's function.
std::map<std::string, int> copies_of(trial& t) {
  t.run(stream_of(t));  // what is made once is made
  fake_cuda_reset_calls();
  t.run(stream_of(t));
  std::map<std::string, int> copies;
  for (const auto& [name, times] : calls_by_name()) {
    if (name.starts_with("cuMemcpy") || name == "cuLaunchKernel") copies[name] = times;
  }
  REQUIRE(t.is_right());
  return copies;
}

using copies = std::map<std::string, int>;

constexpr extent many = 3 << 20;

/// For what is only planned.
std::byte* const far_away = reinterpret_cast<std::byte*>(std::uintptr_t{1} << 44);

}  // namespace

// ---- which road: arithmetic only ----------------------------------------------------------------

TEST_CASE("a plan that the copy engines can take is told by its numbers", "[copy]") {
  struct expected_block {
    layout source;
    extents target;  // strides; none: dense
    extent width, rows, planes, blocks;
    cuda::device_road with_kernels, without;
  };
  using enum cuda::device_road;
  const expected_block table[] = {
      {dense({1000}), {}, 4000, 1, 1, 1, block, block},
      {dense({10, 20, 30}), {}, 24000, 1, 1, 1, block, block},
      {{"", {}, {}}, {}, 4, 1, 1, 1, block, block},
      {gaps({20, 50}, {64, 1}), {}, 200, 20, 1, 1, block, block},
      {dense({20, 50}), {64, 1}, 200, 20, 1, 1, block, block},
      {gaps({20, 15}, {64, 1}), {}, 60, 20, 1, 1, gather, block},
      {gaps({20, 16}, {64, 1}), {}, 64, 20, 1, 1, block, block},
      {gaps({4, 5, 50}, {1280, 64, 1}), {}, 200, 5, 4, 1, block, block},
      // Planes that do not begin where a row could.
      {gaps({4, 5, 50}, {1300, 64, 1}), {}, 200, 5, 1, 4, gather, blocks},
      // Planes that begin before the one before them ends.
      {gaps({4, 5, 50}, {64, 256, 1}), {}, 200, 5, 1, 4, gather, blocks},
      {gaps({3, 4, 5, 50}, {9999, 1280, 64, 1}), {}, 200, 5, 4, 3, gather, blocks},
      {{"", {500}, {2}}, {}, 4, 500, 1, 1, gather, block},
      {{"", {50, 40}, {1, 50}}, {}, 4, 40, 1, 50, gather, blocks},
      {{"", {300}, {-1}}, {}, 4, 1, 1, 300, gather, none},
      {{"", {20, 50}, {0, 1}}, {}, 200, 1, 1, 20, gather, blocks},
      {{"", {90, 8}, {1, 1}}, {}, 32, 1, 1, 90, gather, blocks},
      // A row that is longer than the engines' pitch can say.
      {gaps({3, 16}, {extent{1} << 30, 1}), {}, 64, 1, 1, 3, gather, blocks},
  };
  for (const expected_block& e : table) {
    INFO(e.width << " " << e.rows << " " << e.planes << " " << e.blocks);
    const extents from = e.source.byte_strides(4);
    const extents to =
        layout{"", e.source.shape, e.target.empty() ? dense(e.source.shape).strides : e.target}
            .byte_strides(4);
    const cuda::planned_copy copy =
        cuda::plan_copy(e.source.shape.data(), static_cast<std::int32_t>(e.source.shape.size()),
                        {far_away, from.data(), float32}, {far_away, to.data(), float32}, {});
    const cuda::block_plan plan = cuda::blocks_of(copy.plan, copy.from_size(), cuda::most_row);
    CHECK(plan.block.width == e.width);
    CHECK(plan.block.rows == e.rows);
    CHECK(plan.block.planes == e.planes);
    CHECK(plan.blocks() == e.blocks);
    CHECK(cuda::road_of(copy, true) == e.with_kernels);
    CHECK(cuda::road_of(copy, false) == e.without);
  }
  const extent shape = 100, four = 4, two = 2;
  const cuda::planned_copy converts =
      cuda::plan_copy(&shape, 1, {far_away, &four, float32}, {far_away, &two, float16}, {});
  CHECK(cuda::road_of(converts, true) == gather);
  CHECK(cuda::road_of(converts, false) == none);
}

TEST_CASE("a plan is cut into parts that cover it once", "[copy]") {
  for (const layout& source : source_layouts()) {
    const extents from = source.byte_strides(1), to = dense(source.shape).byte_strides(1);
    const detail::copy_plan plan =
        detail::make_plan(source.shape.data(), static_cast<std::int32_t>(source.shape.size()),
                          {far_away, from.data(), 1, 1}, {far_away, to.data(), 1, 1});
    for (const extent most : {1, 2, 7, 50, 64, 999, 100000}) {
      std::vector<int> seen(static_cast<std::size_t>(plan.elements()));
      cuda::for_each_piece(plan, most, [&](const detail::copy_plan& piece) {
        CHECK(piece.elements() <= most);
        for (extent n = 0; n < piece.elements(); ++n) {
          extent rest = n, at = piece.to - plan.to;
          for (int i = piece.size; i-- > 0;) {
            at += rest % piece.axes[i].count * piece.axes[i].to;
            rest /= piece.axes[i].count;
          }
          ++seen[static_cast<std::size_t>(at)];
        }
      });
      CHECK(std::ranges::all_of(seen, [](int times) { return times == 1; }));
    }
  }
}

// ---- on the fake driver -------------------------------------------------------------------------

TEST_CASE("every layout between every two places is as copy makes it", "[copy]") {
  const fake_world world;
  check_all_layouts(true);
}

TEST_CASE("without gather kernels every copy is right as well", "[copy]") {
  CHECK(run_alone("copies without kernels").code == 0);
}
TEST_CASE("copies without kernels", "[.alone]") {
  fake_cuda_fail("cuLibraryLoadData", 1, CUDA_ERROR_NO_BINARY_FOR_GPU, 0);
  check_all_layouts(false);
  CHECK(fake_cuda_calls("cuLaunchKernel") == 0);
  // The CPU touches pinned memory only when nothing on the stream does.
  for (const auto& [from, to] :
       {std::pair{kind::pinned, kind::device0}, {kind::device0, kind::pinned}}) {
    trial t(from, {"", {300}, {-1}}, float32, to, dense({300}), float64);
    fake_cuda_settle();  // no chunk is busy
    fake_cuda_reset_calls();
    t.run_among_others(stream_of(t));
    CHECK(fake_cuda_host_waits() == (from == kind::pinned ? 1 : 2));
    CHECK(t.is_right());
  }
}

TEST_CASE("a chip that the kernels are not for gets its copies all the same", "[copy]") {
  CHECK(run_alone("copies on a chip without kernels").code == 0);
}
TEST_CASE("copies on a chip without kernels", "[.alone]") {
  fake_cuda_fail("cuKernelGetFunction", 1, CUDA_ERROR_NO_BINARY_FOR_GPU, 0);
  trial t(kind::device0, {"", {50, 40}, {1, 50}}, float32, kind::device0, dense({50, 40}), float32);
  t.run(stream_of(t));
  CHECK(t.is_right());
  CHECK(fake_cuda_calls("cuLaunchKernel") == 0);
}

TEST_CASE("a driver that refuses the image when a kernel is looked for is asked once", "[copy]") {
  CHECK(run_alone("copies on a driver without kernels").code == 0);
}
TEST_CASE("copies on a driver without kernels", "[.alone]") {
  fake_cuda_fail("cuLibraryGetKernel", 1, CUDA_ERROR_UNSUPPORTED_PTX_VERSION, 0);
  for (int turn = 0; turn < 2; ++turn) {
    trial t(kind::device0, {"", {50, 40}, {1, 50}}, float32, kind::device0, dense({50, 40}),
            float32);
    t.run(stream_of(t));
    CHECK(t.is_right());
  }
  CHECK(fake_cuda_calls("cuLibraryGetKernel") == 1);
  CHECK(fake_cuda_calls("cuLaunchKernel") == 0);
}

TEST_CASE("kernels are loaded when the first copy needs them, and not before", "[copy]") {
  CHECK(run_alone("copies that need no kernels").code == 0);
}
TEST_CASE("copies that need no kernels", "[.alone]") {
  const layout large = dense({3 << 17}), rows{"", {600, 700}, {1024, 1}};
  const layout turned{"", {600, 700}, {1, 600}};
  for (const kind from : all_kinds) {
    for (const kind to : all_kinds) {
      INFO(name_of(from) << " to " << name_of(to));
      for (const layout& lies : {large, rows}) {
        trial t(from, lies, float32, to, dense(lies.shape), float32);
        t.run(stream_of(t));
        CHECK(t.is_right());
      }
    }
  }
  // The CPU puts the elements in order, and in the narrower type, on their way.
  trial gathered(kind::pageable, turned, float64, kind::device0, dense({600, 700}), float32);
  gathered.run(stream_of(gathered));
  CHECK(gathered.is_right());
  CHECK(fake_cuda_calls("cuLibraryLoadData") == 0);
  CHECK(fake_cuda_calls("cuKernelGetFunction") == 0);
  trial widened(kind::pageable, large, float32, kind::device0, large, float64);
  widened.run(stream_of(widened));
  CHECK(widened.is_right());
  CHECK(fake_cuda_calls("cuLibraryLoadData") == 1);
}

TEST_CASE("a dense copy is one call of the driver", "[copy]") {
  const fake_world world;
  const layout row = dense({100});
  const auto between = [&](kind from, kind to) {
    trial t(from, row, float32, to, row, float32);
    return copies_of(t);
  };
  const copies one{{"cuMemcpyAsync", 1}};
  CHECK(between(kind::device0, kind::device0) == one);
  CHECK(between(kind::device0, kind::managed) == one);
  CHECK(between(kind::device0, kind::pinned) == one);
  CHECK(between(kind::pinned, kind::device0) == one);
  CHECK(between(kind::device0, kind::pageable) == one);
  CHECK(between(kind::pageable, kind::device0) == one);
  CHECK(between(kind::device0, kind::device1) == copies{{"cuMemcpyPeerAsync", 1}});
}

TEST_CASE("axes that lie side by side are one call, however they are written", "[copy]") {
  const fake_world world;
  trial t(kind::device0, {"", {5, 1, 4, 3}, {12, 99, 3, 1}}, float32, kind::device0,
          dense({5, 1, 4, 3}), float32);
  CHECK(copies_of(t) == copies{{"cuMemcpyAsync", 1}});
  trial turned(kind::device0, {"", {4, 5}, {1, 4}}, float32, kind::device0, {"", {4, 5}, {1, 4}},
               float32);
  CHECK(copies_of(turned) == copies{{"cuMemcpyAsync", 1}});
}

TEST_CASE("rows and planes with gaps are one call of the copy engines", "[copy]") {
  const fake_world world;
  const layout rows = gaps({20, 50}, {64, 1}), planes = gaps({4, 5, 50}, {1280, 64, 1});
  for (const kind other : {kind::device0, kind::pinned, kind::pageable}) {
    trial from(kind::device0, rows, float32, other, dense({20, 50}), float32);
    CHECK(copies_of(from) == copies{{"cuMemcpy2DAsync", 1}});
    trial to(other, dense({4, 5, 50}), float32, kind::device0, planes, float32);
    CHECK(copies_of(to) == copies{{"cuMemcpy3DAsync", 1}});
  }
  trial peer(kind::device0, rows, float32, kind::device1, dense({20, 50}), float32);
  CHECK(copies_of(peer) == copies{{"cuMemcpy3DPeerAsync", 1}});
}

TEST_CASE("what the copy engines cannot do, or do slowly, is one launch", "[copy]") {
  const fake_world world;
  const auto launches = [](const layout& source, dtype from, dtype to) {
    trial t(kind::device0, source, from, kind::device0, dense(source.shape), to);
    return copies_of(t);
  };
  const copies one{{"cuLaunchKernel", 1}};
  CHECK(launches({"", {50, 40}, {1, 50}}, float32, float32) == one);
  CHECK(launches({"", {500}, {2}}, float32, float32) == one);
  CHECK(launches({"", {300}, {-1}}, int8, int8) == one);
  CHECK(launches(gaps({1000, 3}, {4, 1}), float32, float32) == one);
  CHECK(launches(dense({500}), float32, float16) == one);
  CHECK(launches({"", {20, 50}, {0, 1}}, float32, float32) == one);
}

TEST_CASE("no copy enters the null stream or leaves a context behind", "[copy]") {
  const fake_world world;
  for (const kind from : all_kinds) {
    for (const kind to : all_kinds) {
      trial t(from, {"", {50, 40}, {1, 50}}, float32, to, dense({50, 40}), float64);
      REQUIRE(current_context() == nullptr);
      t.run(stream_of(t));
      CHECK(current_context() == nullptr);
      const current_device other(1 - t.device());
      t.run(stream_of(t));
      CHECK(current_context() == context_of(1 - t.device()));
    }
  }
  CHECK(first_race() == "");
}

TEST_CASE("bytes are swapped and signs changed on the way", "[copy]") {
  const fake_world world;
  for (int bits = 1; bits < 8; ++bits) {
    const element_change change{(bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0};
    for (const kind from : all_kinds) {
      for (const kind to : all_kinds) {
        if (is_host(from) && is_host(to)) continue;
        INFO(name_of(from) << " to " << name_of(to) << ", changes " << bits);
        trial same(from, dense({300}), complex64, to, dense({300}), complex64, change);
        same.run_among_others(stream_of(same));
        CHECK(same.is_right());
        trial real(from, dense({300}), complex128, to, dense({300}), float16, change);
        real.run_among_others(stream_of(real));
        CHECK(real.is_right());
      }
    }
  }
  CHECK(first_race() == "");
}

TEST_CASE("packed elements move as the bytes that hold them", "[copy]") {
  const fake_world world;
  const dtype float4{kDLFloat4_e2m1fn, 4};
  memory from(kind::device0, 50), to(kind::device0, 51);
  for (std::size_t i = 0; i < from.size(); ++i) from.data()[i] = static_cast<std::byte>(i);
  const extent shape = 99, step = 1, gap = 2;
  const stream_handle stream = handle_of(make_stream());
  copy_job job{&shape,
               1,
               {from.data(), &step, float4},
               {to.data(), &step, float4},
               cuda_device(0),
               cuda_device(0),
               {},
               stream};
  CHECK(cuda::copy(job));
  CHECK(std::memcmp(from.data(), to.data(), 50) == 0);
  CHECK(to.data()[50] == std::byte{0x5a});
  job.from.byte_strides = &gap;
  CHECK_THROWS_AS(cuda::copy(job), std::invalid_argument);
  job.from.byte_strides = &step;
  job.to.type = float32;
  CHECK_THROWS_AS(cuda::copy(job), std::invalid_argument);
}

// ---- pageable memory ----------------------------------------------------------------------------

TEST_CASE("the driver never gets pageable memory, however little", "[copy]") {
  const fake_world world;
  const layout row = dense({100});
  trial up(kind::pageable, row, float32, kind::device0, row, float32);
  CHECK(up.run(stream_of(up)));
  CHECK(fake_cuda_host_waits() == 0);
  up.from().use_on_host(1);
  trial down(kind::device0, row, float32, kind::pageable, row, float32);
  CHECK_FALSE(down.run(stream_of(down)));
  down.to().use_on_host(1);
  CHECK(down.is_right());
  CHECK(first_race() == "");
}

TEST_CASE("a buffer that is registered in part counts as pageable", "[copy]") {
  const fake_world world;
  for (const layout& l : {dense({300}), layout{"", {300}, {2}}, layout{"", {300}, {-1}}}) {
    for (const bool first_part : {true, false}) {
      INFO(l.name << " " << l.strides[0] << (first_part ? " first part" : " last part"));
      trial up(kind::pageable, l, float32, kind::device0, dense({300}), float64);
      trial down(kind::device0, dense({300}), float64, kind::pageable, l, float32);
      const auto part_of = [&](const memory& m) {
        return m.data() + (first_part ? 0 : m.size() / 2);
      };
      const current_device current(0);
      {
        const quiet own;
        must(cuMemHostRegister(part_of(up.from()), up.from().size() / 2, 0));
        must(cuMemHostRegister(part_of(down.to()), down.to().size() / 2, 0));
      }
      CHECK(up.run(stream_of(up)));
      up.from().use_on_host(1);
      CHECK_FALSE(down.run(stream_of(down)));
      down.to().use_on_host(0);
      CHECK(up.is_right());
      CHECK(down.is_right());
      CHECK(first_race() == "");
      const quiet own;
      fake_cuda_settle();
      cuMemHostUnregister(part_of(up.from()));
      cuMemHostUnregister(part_of(down.to()));
    }
  }
}

TEST_CASE("large pageable arrays pass through pinned chunks", "[copy]") {
  const fake_world world;
  const layout row = dense({many}), turned{"turned", {2048, 1536}, {1, 2048}},
               matrix = dense({2048, 1536}), repeated{"repeated", {2048, 1536}, {0, 1}};
  struct large {
    layout from, to;
    pair_of_types types;
  };
  for (const large& l :
       {large{row, row, {float32, float32}}, large{turned, matrix, {int16, int16}},
        large{row, row, {float16, float64}}, large{row, row, {float64, uint8}},
        large{repeated, matrix, {float32, float32}}, large{matrix, turned, {uint8, float32}}}) {
    INFO(l.from.name << " " << l.types.from.name() << " to " << l.types.to.name());
    trial up(kind::pageable, l.from, l.types.from, kind::device0, l.to, l.types.to);
    CHECK(up.run_among_others(stream_of(up)));
    CHECK(up.is_right());
    trial down(kind::device0, l.from, l.types.from, kind::pageable, l.to, l.types.to);
    CHECK_FALSE(down.run_among_others(stream_of(down)));
    CHECK(down.is_right());
  }
  CHECK(first_race() == "");
}

TEST_CASE("what is sent is the narrower of the two types, and what repeats once", "[copy]") {
  const fake_world world;
  const auto chunks = [](kind from, const layout& source, dtype from_type, kind to, dtype to_type) {
    trial t(from, source, from_type, to, dense(source.shape), to_type);
    const copies made = copies_of(t);
    int calls = 0;
    for (const auto& [name, times] : made) calls += times;
    return calls;
  };
  const layout row = dense({many});  // 6 MiB of float16, 24 MiB of float64
  CHECK(chunks(kind::pageable, row, float16, kind::device0, float64) == 2);
  CHECK(chunks(kind::pageable, row, float64, kind::device0, float16) == 2);
  CHECK(chunks(kind::device0, row, float16, kind::pageable, float64) == 2);
  CHECK(chunks(kind::device0, row, float64, kind::pageable, float16) == 2);
}

TEST_CASE("the pinned memory for staging is bounded and used again", "[copy]") {
  const fake_world world;
  cuda::trim();
  trial t(kind::pageable, dense({many}), float32, kind::device0, dense({many}), float32);
  const long before = fake_cuda_live("host");
  for (int i = 0; i < 10; ++i) t.run(stream_of(t));
  CHECK(fake_cuda_live("host") - before <= 8);
  fake_cuda_reset_calls();
  fake_cuda_run(0);
  t.run(stream_of(t));
  CHECK(fake_cuda_calls("cuMemHostAlloc") == 0);
  CHECK(fake_cuda_calls("cuMemFreeHost") == 0);
  cuda::trim();
  CHECK(fake_cuda_live("host") == before);
}

TEST_CASE("a chunk is not filled again before the device has read it", "[copy]") {
  const fake_world world;
  trial t(kind::pageable, dense({4 * many}), float32, kind::device0, dense({4 * many}), float32);
  fake_cuda_reset_calls();
  t.run(stream_of(t));
  CHECK(first_race() == "");
  CHECK(fake_cuda_host_waits() > 0);
  CHECK(t.is_right());
}

// ---- captures and failures ----------------------------------------------------------------------

TEST_CASE("copies on the device become part of a capture", "[copy]") {
  const fake_world world;
  const layout turned{"", {50, 40}, {1, 50}};
  for (const kind from : {kind::device0, kind::pinned, kind::managed, kind::device1}) {
    trial plain(from, dense({50, 40}), float32, kind::device0, dense({50, 40}), float32);
    trial gathered(from, turned, float32, kind::device0, dense({50, 40}), float64);
    const CUstream stream = make_stream(0);
    capture c(0, stream);
    CHECK(plain.run(stream));
    // The other device's stream would have to join the capture.
    if (from == kind::device1) CHECK_THROWS_AS(gathered.run(stream), exchange_error);
    else CHECK(gathered.run(stream));
    CHECK(c.end() == CUDA_SUCCESS);
  }
  CHECK(fake_cuda_live("captures") == 0);
}

TEST_CASE("a copy disturbs no capture of another thread", "[copy]") {
  const fake_world world;
  for (const kind from : all_kinds) {
    for (const kind to : all_kinds) {
      INFO(name_of(from) << " to " << name_of(to));
      trial t(from, {"", {50, 40}, {1, 50}}, float32, to, dense({50, 40}), float64);
      const CUstream stream = stream_of(t);
      capture c(t.device(), make_stream(t.device()), CU_STREAM_CAPTURE_MODE_GLOBAL);
      std::thread([&] { t.run(stream); }).join();
      CHECK(t.is_right());
      CHECK(c.end() == CUDA_SUCCESS);
    }
  }
}

TEST_CASE("a copy that fails leaves nothing behind and the context as it was", "[copy]") {
  const fake_world world;
  for (const kind from : all_kinds) {
    for (const kind to : all_kinds) {
      for (const auto& [layout_from, type] :
           {std::pair{dense({50, 40}), float32}, {layout{"", {50, 40}, {1, 50}}, float64}}) {
        trial t(from, layout_from, float32, to, dense({50, 40}), type);
        const CUstream stream = stream_of(t);
        t.run(stream);
        cuda::trim();
        const long before = blocks_alive() - leaked(), events = fake_cuda_live("events");
        long lost = leaked();
        int failed = 0;
        with_each_call_failing(
            CUDA_ERROR_INVALID_VALUE,
            [&] {
              try {
                t.run(stream);
              } catch (const cuda_error& e) {
                CHECK(e.status() == CUDA_ERROR_INVALID_VALUE);
                ++failed;
              }
            },
            [&](const std::string& call) {
              INFO(name_of(from) << " to " << name_of(to) << ": " << call);
              fake_cuda_settle();
              // Nothing is left to try when the driver does not take a context back.
              if (call.starts_with("cuCtxPopCurrent")) pop_contexts();
              CHECK(current_context() == nullptr);
              cuda::trim();
              CHECK(blocks_alive() - leaked() == before);
              if (blocks_the_host(from, to)) CHECK(leaked() == lost);
              lost = leaked();
              CHECK(fake_cuda_live("events") <= events + 2);
            });
        if (!is_host(from) || !is_host(to)) CHECK(failed > 0);
        t.run(stream);
        CHECK(t.is_right());
      }
    }
  }
  CHECK(first_race() == "");
}
