#include <algorithm>
#include <complex>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <catch2/catch_test_macros.hpp>

#include "failing_allocations.hpp"
#include "foreign_tensor.hpp"
#include "printing.hpp"
#include <dlpack_bridge/array.hpp>
#include <dlpack_bridge/exchange.hpp>

using namespace dlpack_bridge;
using why = reason_code;
using versioned = foreign_tensor<DLManagedTensorVersioned>;
using extents = std::vector<extent>;

namespace {

const dtype float4{kDLFloat4_e2m1fn, 4};

/// 0, 1, 2, ... in rows of three, and how often their owner was called.
struct counted_rows {
  managed_tensor shared(const extent_list& shape = {4, 3}, const extent_list& strides = {},
                        dtype type = float32, device where = {}, bool read_only = false) {
    return share(values, shape, strides, type, [this] { ++released; }, where, read_only);
  }
  alignas(64) float values[12] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
  int released = 0;
};

template <class T>
std::vector<T> elements(const tensor_view& view) {
  const auto* first = static_cast<const T*>(view.data());
  return {first, first + view.size()};
}

bool aligned(const void* data, std::int64_t alignment) {
  return reinterpret_cast<std::uintptr_t>(data) % static_cast<std::uintptr_t>(alignment) == 0;
}

const capabilities& to(framework id) { return capabilities_of(id); }

/// The CUDA backend of these tests: host memory that counts. Absent unless a test says otherwise.
struct fake_cuda {
  fake_cuda() {
    use_cuda_backend(backend);
    present = true;
    asked = allocated = copied = 0;
  }
  ~fake_cuda() { present = false; }

  static inline bool present = false;
  static inline int asked = 0, allocated = 0, copied = 0;
  static inline device where;
  static inline const device_backend backend = [] {
    device_backend made = host_backend();
    made.status = []() noexcept {
      ++asked;
      return present ? driver_status() : no_driver;
    };
    made.allocate = [](std::int64_t nbytes, std::int64_t alignment, device wanted,
                       stream_handle stream) {
      ++allocated;
      where = wanted;
      return host_backend().allocate(nbytes, alignment, wanted, stream);
    };
    made.copy = [](const copy_job& job) {
      ++copied;
      return host_backend().copy(job);
    };
    return made;
  }();
};

}  // namespace

// ---- Sharing.

TEST_CASE("a plain array goes through as it is, without a tensor of its own", "[exchange]") {
  counted_rows rows;
  const std::int64_t live = live_managed_tensors();
  managed_tensor t = rows.shared();
  t.set_origin(5);
  t.set_stream(stream_handle::from_native(nullptr));
  const DLManagedTensorVersioned* raw = t.get();
  managed_tensor result = exchange(std::move(t));
  CHECK(result.get() == raw);
  CHECK(result.view().data() == rows.values);
  CHECK(result.origin() == 5);
  CHECK(result.stream().known());
  CHECK(live_managed_tensors() == live + 1);
  CHECK(rows.released == 0);
  result.reset();
  CHECK(rows.released == 1);
}

TEST_CASE("a producer's array becomes one tensor of the hub on its whole road", "[exchange]") {
  deletions heard;
  const std::int64_t live = live_managed_tensors();
  DLManagedTensorVersioned* raw = versioned::make(heard);
  const void* data = raw->dl_tensor.data;
  managed_tensor result = exchange(managed_tensor::adopt(raw), {}, to(framework::numpy));
  CHECK(live_managed_tensors() == live + 1);
  CHECK(result.view().data() == data);
  result.reset();
  CHECK(heard.count == 1);
  CHECK(live_managed_tensors() == live);
}

TEST_CASE("a share keeps address, shape and strides", "[exchange]") {
  counted_rows rows;
  const managed_tensor result = exchange(rows.shared({3, 2}, {1, 6}));
  CHECK(result.view().data() == rows.values);
  CHECK(result.view().shape(0) == 3);
  CHECK(result.view().strides()[1] == 6);
  CHECK_FALSE(result.is_copied());
}

TEST_CASE("bits are shown as unsigned integers at the same address", "[exchange]") {
  counted_rows rows;
  managed_tensor result = exchange(rows.shared(), {.bits = true});
  CHECK(result.view().dtype() == uint32);
  CHECK(result.view().data() == rows.values);
  CHECK(result.view().shape(0) == 4);
  CHECK(elements<std::uint32_t>(result.view())[1] == 0x3f800000);
  result.reset();
  CHECK(rows.released == 1);
}

TEST_CASE("the bits of packed elements are the bytes that hold them", "[exchange]") {
  counted_rows rows;
  const managed_tensor result = exchange(rows.shared({3, 4}, {}, float4), {.bits = true});
  CHECK(result.view().dtype() == uint8);
  CHECK(result.view().data() == rows.values);
  CHECK(result.view().shape(0) == 3);
  CHECK(result.view().shape(1) == 2);
  CHECK(result.view().strides()[0] == 2);
}

TEST_CASE("overlapping elements leave as read-only", "[exchange]") {
  counted_rows rows;
  const managed_tensor broadcast = exchange(rows.shared({5, 3}, {0, 1}));
  CHECK(broadcast.read_only());
  CHECK(broadcast.view().data() == rows.values);
  CHECK(broadcast.view().strides()[0] == 0);
  CHECK(exchange(rows.shared({5, 3}, {1, 1})).read_only());
  CHECK_FALSE(exchange(rows.shared({5, 2}, {2, 1})).read_only());
}

TEST_CASE("read-only memory stays read-only", "[exchange]") {
  counted_rows rows;
  const managed_tensor result = exchange(rows.shared({12}, {}, float32, {}, true));
  CHECK(result.read_only());
  CHECK(result.view().data() == rows.values);
}

TEST_CASE("read-only memory is shared as writable when the caller promises not to write",
          "[exchange]") {
  counted_rows rows;
  const managed_tensor result =
      exchange(rows.shared({12}, {}, float32, {}, true), {.readonly = readonly_policy::share},
               to(framework::torch));
  CHECK(result.view().data() == rows.values);
  CHECK_FALSE(result.read_only());
}

TEST_CASE("a framework that never writes gets read-only memory", "[exchange]") {
  counted_rows rows;
  const managed_tensor result = exchange(rows.shared(), {}, to(framework::jax));
  CHECK(result.view().data() == rows.values);
  CHECK(result.read_only());
}

TEST_CASE("pinned memory is shown as the CPU's to who knows no other", "[exchange]") {
  counted_rows rows;
  const managed_tensor t =
      exchange(rows.shared({12}, {}, float32, device(kDLCUDAHost)), {}, to(framework::numpy));
  CHECK(t.view().device() == device());
  CHECK(t.view().data() == rows.values);
  const managed_tensor kept = exchange(rows.shared({12}, {}, float32, device(kDLCUDAHost)));
  CHECK(kept.view().device() == device(kDLCUDAHost));
}

TEST_CASE("managed memory is shown under the label that was wanted", "[exchange]") {
  const fake_cuda cuda;
  counted_rows rows;
  const device managed(kDLCUDAManaged);
  const managed_tensor on_host =
      exchange(rows.shared({12}, {}, float32, managed), {}, to(framework::numpy));
  CHECK(on_host.view().device() == device());
  CHECK(on_host.view().data() == rows.values);
  const managed_tensor on_gpu =
      exchange(rows.shared({12}, {}, float32, managed), {.device = device(kDLCUDA)});
  CHECK(on_gpu.view().device() == device(kDLCUDA));
  CHECK(on_gpu.view().data() == rows.values);
  CHECK(fake_cuda::copied == 0);
}

TEST_CASE("a tensor under another label keeps its origin and its stream", "[exchange]") {
  const fake_cuda cuda;
  counted_rows rows;
  managed_tensor t = rows.shared({12}, {}, float32, device(kDLCUDAManaged));
  t.set_origin(5);
  t.set_stream(stream_handle::from_native(nullptr));
  const managed_tensor result = exchange(std::move(t), {.device = device(kDLCUDA)});
  CHECK(result.origin() == 5);
  CHECK(result.stream().known());
}

TEST_CASE("a handle goes through with its byte_offset", "[exchange]") {
  deletions heard;
  DLManagedTensorVersioned* raw = versioned::make(heard);
  raw->dl_tensor.device = {kDLMetal, 0};
  raw->dl_tensor.byte_offset = 8;
  raw->flags = DLPACK_FLAG_BITMASK_READ_ONLY;
  const void* data = raw->dl_tensor.data;
  const managed_tensor result = exchange(managed_tensor::adopt(raw), {.bits = true});
  CHECK(result.view().dtype() == uint32);
  CHECK(result.get()->dl_tensor.data == data);
  CHECK(result.get()->dl_tensor.byte_offset == 8);
  CHECK(result.read_only());
}

TEST_CASE("what the producer copied is passed on with its mark", "[exchange]") {
  deletions heard;
  DLManagedTensorVersioned* raw = versioned::make(heard);
  raw->flags = DLPACK_FLAG_BITMASK_IS_COPIED;
  const void* data = raw->dl_tensor.data;
  const managed_tensor result = exchange(managed_tensor::adopt(raw));
  CHECK(result.is_copied());
  CHECK(result.view().data() == data);
}

// ---- Copying.

TEST_CASE("a copy is fresh, dense, writable and the caller's own", "[exchange]") {
  counted_rows rows;
  const std::int64_t live = live_managed_tensors();
  const managed_tensor copy =
      exchange(rows.shared({3, 4}, {1, 3}, float32, {}, true), {.copy = copy_policy::always});
  CHECK(rows.released == 1);  // a copy does not keep its source
  CHECK(live_managed_tensors() == live + 1);
  CHECK_FALSE(copy.is_copied());
  CHECK_FALSE(copy.read_only());
  CHECK(copy.view().is_c_contiguous());
  CHECK(copy.view().strides()[0] == 4);
  CHECK(elements<float>(copy.view()) == std::vector<float>{0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11});
  static_cast<float*>(copy.view().data())[0] = 99;
  CHECK(rows.values[0] == 0);
}

TEST_CASE("a copy is shared and written like any other array", "[exchange]") {
  counted_rows rows;
  managed_tensor copy = exchange(rows.shared(), {.dtype = float64});
  const void* data = copy.view().data();
  const managed_tensor same = exchange(std::move(copy), {.copy = copy_policy::never});
  CHECK(same.view().data() == data);
  const array<double> typed(exchange(rows.shared(), {.dtype = float64}));
  CHECK(typed.data() != nullptr);
}

TEST_CASE("a copy starts at a multiple of what was asked for", "[exchange]") {
  counted_rows rows;
  for (const std::int64_t alignment : {1, 64, 256, 1 << 16}) {
    const managed_tensor copy =
        exchange(rows.shared(), {.copy = copy_policy::always, .alignment = alignment});
    CHECK(aligned(copy.view().data(), std::max(alignment, default_alignment)));
  }
}

TEST_CASE("elements are converted on the way", "[exchange]") {
  counted_rows rows;
  const managed_tensor copy = exchange(rows.shared({2, 3}, {3, 1}), {.dtype = int16});
  CHECK(copy.view().dtype() == int16);
  CHECK(elements<std::int16_t>(copy.view()) == std::vector<std::int16_t>{0, 1, 2, 3, 4, 5});
}

TEST_CASE("a negative stride is resolved for who has none", "[exchange]") {
  counted_rows rows;
  managed_tensor t = share(rows.values + 2, {3}, {-1}, float32, std::make_shared<int>(0));
  const managed_tensor copy = exchange(std::move(t), {}, to(framework::torch));
  CHECK(elements<float>(copy.view()) == std::vector<float>{2, 1, 0});
}

TEST_CASE("an unaligned array is copied to an aligned place", "[exchange]") {
  alignas(8) std::byte bytes[20] = {};
  const std::int32_t values[] = {7, -8, 9};
  std::memcpy(bytes + 1, values, sizeof values);
  const managed_tensor copy = exchange(share(bytes + 1, {3}, {}, int32, std::make_shared<int>(0)));
  CHECK(copy.view().data() != bytes + 1);
  CHECK(elements<std::int32_t>(copy.view()) == std::vector<std::int32_t>{7, -8, 9});
}

TEST_CASE("a copy of no elements is an array of no elements", "[exchange]") {
  counted_rows rows;
  const managed_tensor copy = exchange(rows.shared({0, 3}), {.copy = copy_policy::always});
  CHECK(copy.view().size() == 0);
  CHECK(copy.view().shape(1) == 3);
}

TEST_CASE("a copied scalar is a scalar", "[exchange]") {
  counted_rows rows;
  const managed_tensor copy = exchange(rows.shared({}), {.dtype = float64});
  CHECK(copy.view().ndim() == 0);
  CHECK(elements<double>(copy.view()) == std::vector<double>{0});
}

TEST_CASE("packed elements are copied as they are", "[exchange]") {
  counted_rows rows;
  for (const bool bits : {false, true}) {
    const managed_tensor copy =
        exchange(rows.shared({3, 4}, {}, float4), {.bits = bits, .copy = copy_policy::always});
    CHECK(copy.view().dtype() == (bits ? uint8 : float4));
    CHECK(copy.view().shape(1) == (bits ? 2 : 4));
    CHECK(copy.view().nbytes() == 6);
    CHECK(std::memcmp(copy.view().data(), rows.values, 6) == 0);
  }
}

TEST_CASE("elements padded to bytes are not taken for packed ones", "[exchange]") {
  deletions heard;
  DLManagedTensorVersioned* raw = versioned::make(heard, {4}, {1});
  raw->dl_tensor.dtype = float4;
  raw->flags = DLPACK_FLAG_BITMASK_IS_SUBBYTE_TYPE_PADDED;
  const std::uint8_t values[] = {1, 2, 3, 4};
  std::memcpy(raw->dl_tensor.data, values, 4);
  try {
    const managed_tensor copy = exchange(managed_tensor::adopt(raw), {.copy = copy_policy::always});
    REQUIRE((copy.flags() & DLPACK_FLAG_BITMASK_IS_SUBBYTE_TYPE_PADDED) != 0);
    CHECK(std::memcmp(copy.view().data(), values, 4) == 0);
  } catch (const exchange_error& error) {
    CHECK_FALSE(error.blockers().empty());
  }
}

TEST_CASE("arrays of many axes are copied too", "[exchange]") {
  counted_rows rows;
  extents shape(40, 1), strides(40, 0);
  shape[0] = 3, strides[0] = 1;
  shape[39] = 4, strides[39] = 3;
  const managed_tensor copy =
      exchange(rows.shared(std::span<const extent>(shape), std::span<const extent>(strides)),
               {.copy = copy_policy::always});
  CHECK(copy.view().ndim() == 40);
  CHECK(elements<float>(copy.view()) == std::vector<float>{0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11});
}

TEST_CASE("copies are counted with their bytes, shares are not", "[exchange]") {
  counted_rows rows;
  const std::int64_t copies = active_counters().copies, bytes = active_counters().copied_bytes;
  exchange(rows.shared());
  exchange(rows.shared(), {.bits = true});
  CHECK(active_counters().copies == copies);
  exchange(rows.shared(), {.dtype = float64});
  CHECK(active_counters().copies == copies + 1);
  CHECK(active_counters().copied_bytes == bytes + 96);
}

TEST_CASE("a copy on the host goes to the memory that the taker makes", "[exchange]") {
  static std::int64_t asked_bytes, asked_alignment;
  alignas(64) static std::byte memory[64];
  hand_over_options options{
      .allocate = [](std::int64_t nbytes, std::int64_t alignment) -> backend_memory {
        asked_bytes = nbytes;
        asked_alignment = alignment;
        return {.data = memory};
      }};
  counted_rows rows;
  const managed_tensor t = rows.shared();
  const description source = describe(t.view());
  const decision d = negotiate(source, {.copy = copy_policy::always}, to(framework::cpp));
  const std::int64_t copies = active_counters().copies, all_copies = copies_made();
  extent room[2];
  owner keep;
  options.in_turn = true;
  const handed_over made = hand_over(source, d, keep, std::move(options), room);
  CHECK(made.view.data() == memory);
  CHECK_FALSE(made.keep);
  CHECK(asked_bytes == 48);
  CHECK(asked_alignment == d.alignment);
  CHECK(elements<float>(made.view) == elements<float>(source.view));
  CHECK(copies_made() == all_copies + 1);
  CHECK(active_counters().copies == copies);
}

// ---- The CUDA backend.

TEST_CASE("an array goes to a CUDA device through that backend", "[exchange]") {
  const fake_cuda cuda;
  counted_rows rows;
  const managed_tensor copy = exchange(rows.shared(), {.device = device(kDLCUDA, 1)});
  CHECK(copy.view().device() == device(kDLCUDA, 1));
  CHECK(fake_cuda::where == device(kDLCUDA, 1));
  CHECK(fake_cuda::allocated == 1);
  CHECK(fake_cuda::copied == 1);
  CHECK(rows.released == 1);
}

TEST_CASE("an array comes from a CUDA device through that backend", "[exchange]") {
  const fake_cuda cuda;
  counted_rows rows;
  const managed_tensor copy =
      exchange(rows.shared({12}, {}, float32, device(kDLCUDA)), {}, to(framework::numpy));
  CHECK(copy.view().device() == device());
  CHECK(fake_cuda::copied == 1);
  CHECK(elements<float>(copy.view())[11] == 11);
}

TEST_CASE("a copy of pinned memory is pinned by that backend", "[exchange]") {
  const fake_cuda cuda;
  counted_rows rows;
  const managed_tensor copy =
      exchange(rows.shared({12}, {}, float32, device(kDLCUDAHost)), {.copy = copy_policy::always});
  CHECK(copy.view().device() == device(kDLCUDAHost));
  CHECK(fake_cuda::allocated == 1);
  CHECK(fake_cuda::where == device(kDLCUDAHost));
}

TEST_CASE("an array on the host never meets the CUDA backend", "[exchange]") {
  const fake_cuda cuda;
  counted_rows rows;
  exchange(rows.shared(), {.copy = copy_policy::always});
  CHECK(fake_cuda::allocated == 0);
  CHECK(fake_cuda::copied == 0);
}

TEST_CASE("the driver is asked once, and only where device memory is involved", "[exchange]") {
  const extent shape[] = {1};
  const auto facts = [&](device where, const requirements& wanted) {
    const fake_cuda cuda;
    description d = describe(tensor_view(nullptr, shape, nullptr, 1, float32, where));
    CHECK(fake_cuda::asked == 0);
    find_facts(d, wanted);
    CHECK(fake_cuda::asked == (d.driver.answers() ? 1 : 0));
    return d.driver.answers();
  };
  CHECK_FALSE(facts(device(), {}));
  CHECK_FALSE(facts(device(), {.device = device()}));
  CHECK(facts(device(kDLCUDA), {}));
  CHECK(facts(device(kDLCUDAManaged), {}));
  CHECK(facts(device(), {.device = device(kDLCUDA)}));
  CHECK(facts(device(), {.device = device(kDLCUDAHost)}));
}

TEST_CASE("a CUDA backend without a driver is never called", "[exchange][error]") {
  {
    const fake_cuda here_for_a_moment;
  }
  counted_rows rows;
  CHECK_THROWS_AS(exchange(rows.shared(), {.device = device(kDLCUDA)}), exchange_error);
  try {
    // A copy of pinned memory is no pinned memory where nobody can pin.
    const managed_tensor copy = exchange(rows.shared({12}, {}, float32, device(kDLCUDAHost)),
                                         {.copy = copy_policy::always});
    CHECK(copy.view().device() == device());
  } catch (const exchange_error& error) {
    CHECK(error.blockers().front().code == why::driver);
  }
  CHECK(fake_cuda::allocated == 0);
  CHECK(fake_cuda::copied == 0);
}

// ---- Refusing.

TEST_CASE("a refused exchange names all blockers, and the source is gone", "[exchange][error]") {
  counted_rows rows;
  managed_tensor t = rows.shared({4, 3}, {1, 4}, bfloat16, device(kDLCUDA));
  const std::int64_t live = live_managed_tensors();
  try {
    exchange(std::move(t), {.copy = copy_policy::never, .c_order = true}, to(framework::numpy));
    FAIL_CHECK("exchanged");
  } catch (const exchange_error& error) {
    reason_set codes;
    for (const reason& blocker : error.blockers()) {
      codes.add(blocker.code);
      CHECK(std::string(error.what()).find(blocker.message) != std::string::npos);
    }
    CHECK(codes == reason_set(why::dtype, why::device, why::driver, why::order));
    CHECK(error.blockers().size() == 4);
  }
  CHECK(rows.released == 1);
  CHECK(live_managed_tensors() == live - 1);
}

TEST_CASE("requirements that no array can meet are invalid arguments, and the source is gone",
          "[exchange][error]") {
  counted_rows rows;
  int refused = 0;
  for (const std::int64_t alignment : {3, 48, 0, -8}) {
    CHECK_THROWS_AS(exchange(rows.shared(), {.alignment = alignment}), std::invalid_argument);
    CHECK(rows.released == ++refused);
  }
  CHECK_THROWS_AS(exchange(rows.shared(), {.dtype = float64, .bits = true}), std::invalid_argument);
  CHECK(rows.released == ++refused);
}

TEST_CASE("copy=never refuses what would be copied", "[exchange][error]") {
  counted_rows rows;
  CHECK_THROWS_AS(exchange(rows.shared(), {.dtype = int8, .copy = copy_policy::never}),
                  exchange_error);
  CHECK(rows.released == 1);
  CHECK_NOTHROW(exchange(rows.shared(), {.copy = copy_policy::never}));
  CHECK(rows.released == 2);
}

TEST_CASE("a copy that nobody has memory for is bad_alloc, and the source is gone",
          "[exchange][error]") {
  counted_rows rows;
  const std::int64_t live = live_managed_tensors();
  CHECK_THROWS_AS(exchange(rows.shared({extent{1} << 50}, {0}), {.copy = copy_policy::always}),
                  std::bad_alloc);
  CHECK(rows.released == 1);
  CHECK(live_managed_tensors() == live);
}

TEST_CASE("a conversion to more bytes than there are never writes beyond what it has",
          "[exchange][error]") {
  counted_rows rows;
  CHECK_THROWS(exchange(rows.shared({extent{1} << 59}, {0}, uint8), {.dtype = complex128}));
  CHECK(rows.released == 1);
}

TEST_CASE("carrying out a copy without memory is bad_alloc", "[exchange][error]") {
  counted_rows rows;
  const managed_tensor t = rows.shared();
  const description source = describe(t.view());
  decision d = negotiate(source, {.copy = copy_policy::always}, to(framework::cpp));
  d.nbytes = extent{1} << 50;
  extent room[2];
  const std::int64_t copies = active_counters().copies;
  owner keep;
  CHECK_THROWS_AS(hand_over(source, d, keep, {}, room), std::bad_alloc);
  CHECK(active_counters().copies == copies);
}

#ifdef DLPACK_BRIDGE_FAILING_ALLOCATIONS
TEST_CASE("the source is dropped once, whichever allocation of an exchange fails",
          "[exchange][error]") {
  const requirements asked[] = {{},
                                {.bits = true},
                                {.copy = copy_policy::always},
                                {.dtype = float64, .copy = copy_policy::never}};
  for (const requirements& wanted : asked) {
    for (int number = 0;; ++number) {
      REQUIRE(number < 200);
      counted_rows rows;
      managed_tensor t = rows.shared();
      const std::int64_t live = live_managed_tensors();
      bool happened = true;
      try {
        const allocations::failure no_memory(number);
        const managed_tensor result = exchange(std::move(t), wanted);
        happened = no_memory.happened();
      } catch (const std::bad_alloc&) {
      } catch (const exchange_error&) {
        happened = false;
      }
      REQUIRE(rows.released == 1);
      REQUIRE(live_managed_tensors() == live - 1);
      if (!happened) break;
    }
  }
}

TEST_CASE("describing an array allocates nothing, however many axes it has", "[exchange]") {
  for (const std::int32_t ndim : {2, 16, 17, 64}) {
    extents shape(static_cast<std::size_t>(ndim), 1), strides(shape.size(), 0);
    shape.front() = 3, strides.front() = 1;
    shape.back() = 4, strides.back() = 3;
    float values[12] = {};
    const tensor_view view(values, shape.data(), strides.data(), ndim, float32);
    int made;
    {
      const allocations::failure none(std::numeric_limits<int>::max());
      describe(view);
      made = allocations::made;
    }
    INFO(ndim << " axes");
    CHECK(made == 0);
  }
}
#endif

// ---- Describing.

TEST_CASE("a description tells the facts of a view", "[exchange]") {
  counted_rows rows;
  const managed_tensor t = rows.shared({3, 4}, {1, 3});
  const description d = describe(t.view());
  CHECK(d.view.data() == rows.values);
  CHECK(d.layout.size == 12);
  CHECK_FALSE(d.layout.c_contiguous);
  CHECK_FALSE(d.overlapping);
  CHECK(d.has_layout);
  CHECK(d.has_dtype);
  CHECK(d.has_device);
  CHECK(d.state.empty());
  CHECK_FALSE(d.driver.answers());
}

TEST_CASE("a description knows overlapping elements", "[exchange]") {
  counted_rows rows;
  const auto overlapping = [&](const extent_list& shape, const extent_list& strides) {
    const managed_tensor t = rows.shared(shape, strides);
    return describe(t.view()).overlapping;
  };
  CHECK(overlapping({5, 3}, {0, 1}));
  CHECK(overlapping({4, 3}, {1, 1}));
  CHECK(overlapping({3, 3}, {2, 1}));
  CHECK_FALSE(overlapping({3, 2}, {2, 1}));
  CHECK_FALSE(overlapping({2, 3}, {-3, 1}));
  CHECK_FALSE(overlapping({1, 3}, {0, 1}));
  CHECK_FALSE(overlapping({0, 3}, {0, 0}));
}

TEST_CASE("strides in bytes are judged as such", "[exchange]") {
  alignas(8) std::byte bytes[64] = {};
  const extent shape[] = {3}, strides[] = {5};
  description d;
  d.view = tensor_view(bytes, shape, strides, 1, int32);
  d.byte_strides = true;
  describe_layout(d);
  CHECK_FALSE(d.layout.c_contiguous);
  CHECK_FALSE(d.overlapping);
  const extent closer[] = {3};
  d.view = tensor_view(bytes, shape, closer, 1, int32);
  describe_layout(d);
  CHECK(d.overlapping);
}

TEST_CASE("strides in bytes are copied by their bytes", "[exchange]") {
  std::byte bytes[32] = {};
  const std::int32_t values[] = {7, -8, 9};
  for (std::size_t i = 0; i < 3; ++i) std::memcpy(bytes + 5 * i, &values[i], 4);
  const extent shape[] = {3}, strides[] = {5};
  description source;
  source.view = tensor_view(bytes, shape, strides, 1, int32);
  source.byte_strides = true;
  describe_layout(source);
  const decision d = negotiate(source, {}, to(framework::cpp));
  REQUIRE(d.copies_here);
  extent room[1];
  owner keep;
  const handed_over copy = hand_over(source, d, keep, {}, room);
  CHECK(elements<std::int32_t>(copy.view) == std::vector<std::int32_t>{7, -8, 9});
}

TEST_CASE("lazy bits and byte order are resolved by the copy", "[exchange]") {
  const extent shape[] = {1};
  const auto resolved = [&](why code, auto value, dtype type) {
    description source;
    source.view = tensor_view(&value, shape, nullptr, 1, type);
    source.state.add(code);
    describe_layout(source);
    const decision d = negotiate(source, {}, to(framework::cpp));
    REQUIRE(d.copies_here);
    extent room[1];
    owner keep;
    const handed_over copy = hand_over(source, d, keep, {}, room);
    return *static_cast<const decltype(value)*>(copy.view.data());
  };
  CHECK(resolved(why::byte_order, std::uint16_t{0x0102}, uint16) == 0x0201);
  CHECK(resolved(why::neg, 1.5F, float32) == -1.5F);
  CHECK(resolved(why::conj, std::complex<float>(3, 4), complex64) == std::complex<float>(3, -4));
}

// ---- Shared memory.

TEST_CASE("two arrays share memory when they have a byte in common", "[exchange]") {
  counted_rows rows;
  const auto together = [&](const tensor_view& a, const tensor_view& b) {
    return share_memory(describe(a), describe(b));
  };
  const extent three[] = {3}, six[] = {6}, two[] = {2};
  const tensor_view first(rows.values, six, nullptr, 1, float32);
  const tensor_view second(rows.values + 6, six, nullptr, 1, float32);
  const tensor_view even(rows.values, six, two, 1, float32);
  const tensor_view odd(rows.values + 1, six, two, 1, float32);
  const tensor_view middle(rows.values + 5, three, nullptr, 1, float32);
  CHECK(together(first, first) == answer::yes);
  CHECK(together(first, second) == answer::no);
  CHECK(together(first, middle) == answer::yes);
  CHECK(together(second, middle) == answer::yes);
  CHECK(together(even, odd) == answer::no);
  CHECK(together(even, first) == answer::yes);
}

TEST_CASE("packed elements lie on the bytes that hold them", "[exchange]") {
  std::uint8_t bytes[8] = {};
  const extent shape[] = {4}, one[] = {1}, backward[] = {-2};
  const dtype four(kDLFloat4_e2m1fn, 4);
  const tensor_view dense(bytes + 2, shape, nullptr, 1, four);
  const tensor_view sparse(bytes + 4, shape, backward, 1, four);
  const auto shares = [&](const tensor_view& packed, int byte) {
    return share_memory(describe(packed),
                        describe(tensor_view(bytes + byte, one, nullptr, 1, uint8)));
  };
  const answer of_dense[] = {answer::no, answer::no, answer::yes, answer::yes, answer::no};
  for (int i = 0; i < 5; ++i) CHECK(shares(dense, i) == of_dense[i]);
  CHECK(shares(sparse, 0) == answer::no);
  CHECK(shares(sparse, 2) ==
        answer::unknown);  // how elements lie that are not dense is nobody's rule
  CHECK(shares(sparse, 4) == answer::yes);
  CHECK(shares(sparse, 5) == answer::no);
}

TEST_CASE("arrays on different devices share nothing, host memory is one", "[exchange]") {
  counted_rows rows;
  const extent shape[] = {6};
  const auto on = [&](device where) {
    return describe(tensor_view(rows.values, shape, nullptr, 1, float32, where));
  };
  CHECK(share_memory(on(device(kDLCUDA)), on(device())) == answer::no);
  CHECK(share_memory(on(device(kDLCUDA)), on(device(kDLCUDA, 1))) == answer::no);
  CHECK(share_memory(on(device(kDLCUDA)), on(device(kDLCUDA))) == answer::yes);
  CHECK(share_memory(on(device(kDLCUDAHost)), on(device())) == answer::yes);
}

TEST_CASE("managed memory under another label is still the same memory", "[exchange]") {
  const fake_cuda cuda;
  counted_rows rows;
  const managed_tensor shown =
      exchange(rows.shared({12}, {}, float32, device(kDLCUDAManaged)), {}, to(framework::numpy));
  const managed_tensor original = rows.shared({12}, {}, float32, device(kDLCUDAManaged));
  CHECK(share_memory(describe(original.view()), describe(shown.view())) == answer::yes);
}

TEST_CASE("memory of a device is held to the shapes and alignments of the host's",
          "[exchange][error]") {
  constexpr extent most = std::numeric_limits<extent>::max();
  for (const device where : {device(), device(kDLCUDA), device(kDLCUDAHost)}) {
    const auto refused = [&](const extent_list& shape, std::int64_t alignment) {
      try {
        make_tensor(shape, float32, where, {}, alignment);
      } catch (const std::invalid_argument& error) {
        return std::string(error.what());
      } catch (const std::exception& error) {
        return "another exception: " + std::string(error.what());
      }
      return std::string("nothing");
    };
    INFO(where.name());
    const std::string shape = "make_tensor: the shape is negative or too large";
    CHECK(refused({0, most, most}, 64) == shape);
    CHECK(refused({most / 16}, 64) == shape);
    CHECK(refused({3, -1}, 64) == shape);
    CHECK(refused({3}, 48) == "make_tensor: alignment is not a power of two");
  }
}
