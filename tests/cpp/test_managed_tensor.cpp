#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>

#include "failing_allocations.hpp"
#include "foreign_tensor.hpp"
#include <dlpack_bridge/error.hpp>
#include <dlpack_bridge/managed_tensor.hpp>
#include <dlpack_bridge/version.hpp>

using namespace dlpack_bridge;

namespace {

using versioned = foreign_tensor<DLManagedTensorVersioned>;
using legacy = foreign_tensor<DLManagedTensor>;
using extents = std::vector<extent>;

/// A tensor of the hub whose owner counts.
managed_tensor counting(int& released) {
  static float element;
  return share(&element, {1}, {}, float32, [&released] { ++released; });
}

extents shape_of(const tensor_view& view) { return {view.shape().begin(), view.shape().end()}; }

extents strides_of(const tensor_view& view) {
  return {view.strides(), view.strides() + view.ndim()};
}

bool aligned(const void* data, std::int64_t alignment) {
  return reinterpret_cast<std::uintptr_t>(data) % static_cast<std::uintptr_t>(alignment) == 0;
}

template <class Managed>
void check_malformed(Managed* raw, const deletions& heard) {
  const std::int64_t before = live_managed_tensors();
  try {
    const managed_tensor t = managed_tensor::adopt(raw);
    FAIL_CHECK("adopted");
  } catch (const exchange_error& error) {
    REQUIRE(error.blockers().size() == 1);
    CHECK(error.blockers()[0].code == reason_code::malformed);
    CHECK_FALSE(error.blockers()[0].message.empty());
  }
  CHECK(heard.count == 1);
  CHECK(live_managed_tensors() == before);
}

}  // namespace

static_assert(!std::is_copy_constructible_v<managed_tensor>);
static_assert(!std::is_copy_assignable_v<managed_tensor>);
static_assert(std::is_nothrow_move_constructible_v<managed_tensor>);
static_assert(std::is_nothrow_move_assignable_v<managed_tensor>);
static_assert(std::is_nothrow_destructible_v<managed_tensor>);
// Hand-over goes through named functions only, and a temporary gives no view.
static_assert(!std::is_constructible_v<managed_tensor, DLManagedTensorVersioned*>);
static_assert(!std::is_constructible_v<managed_tensor, DLManagedTensor*>);
static_assert(!std::is_constructible_v<tensor_view, managed_tensor>);
static_assert(std::is_convertible_v<const managed_tensor&, tensor_view>);

// ---- The RAII ladder.

TEST_CASE("a new managed tensor is empty", "[managed_tensor]") {
  managed_tensor none;
  CHECK_FALSE(none);
  CHECK(none.get() == nullptr);
  CHECK(none.flags() == 0);
  CHECK_FALSE(none.read_only());
  CHECK_FALSE(none.is_copied());
  CHECK(none.origin() == 0);
  CHECK_FALSE(none.stream().known());
  CHECK(none.view().data() == nullptr);
  none.reset();
  CHECK(std::move(none).release() == nullptr);
}

TEST_CASE("a managed tensor drops its array once, when it dies", "[managed_tensor]") {
  int released = 0;
  const std::int64_t before = live_managed_tensors();
  {
    const managed_tensor t = counting(released);
    CHECK(t);
    CHECK(live_managed_tensors() == before + 1);
    CHECK(released == 0);
  }
  CHECK(released == 1);
  CHECK(live_managed_tensors() == before);
}

TEST_CASE("a moved managed tensor leaves the old one empty", "[managed_tensor]") {
  int released = 0;
  {
    managed_tensor first = counting(released);
    const DLManagedTensorVersioned* raw = first.get();
    first.set_origin(7);
    first.set_stream(stream_handle::from_native(nullptr));
    const managed_tensor second = std::move(first);
    CHECK_FALSE(first);
    CHECK(second.get() == raw);
    CHECK(second.origin() == 7);
    CHECK(second.stream() == stream_handle::from_native(nullptr));
  }
  CHECK(released == 1);
}

TEST_CASE("an assigned managed tensor takes over, with origin and stream", "[managed_tensor]") {
  int released = 0;
  {
    managed_tensor first = counting(released), second;
    first.set_origin(7);
    first.set_stream(stream_handle::from_native(nullptr));
    second = std::move(first);
    CHECK_FALSE(first);
    CHECK(second);
    CHECK(second.origin() == 7);
    CHECK(second.stream().known());
    CHECK(released == 0);
  }
  CHECK(released == 1);
}

TEST_CASE("assigning drops the array that was there", "[managed_tensor]") {
  int old_released = 0, new_released = 0;
  managed_tensor kept = counting(old_released);
  kept = counting(new_released);
  CHECK(old_released == 1);
  CHECK(new_released == 0);
  kept = managed_tensor();
  CHECK(new_released == 1);
  CHECK_FALSE(kept);
}

TEST_CASE("a managed tensor assigned to itself keeps its array", "[managed_tensor]") {
  int released = 0;
  {
    managed_tensor self = counting(released);
    managed_tensor& same = self;
    self = std::move(same);
    CHECK(self);
    CHECK(released == 0);
  }
  CHECK(released == 1);
}

TEST_CASE("a managed tensor may be replaced by one that its owner holds", "[managed_tensor]") {
  static float element;
  int released = 0;
  auto inner = std::make_shared<managed_tensor>(counting(released));
  managed_tensor& held = *inner;
  managed_tensor head = share(&element, {1}, {}, float32, std::move(inner));
  head = std::move(held);
  CHECK(released == 0);
  head.reset();
  CHECK(released == 1);
}

TEST_CASE("reset drops the array now and only once", "[managed_tensor]") {
  int released = 0;
  managed_tensor t = counting(released);
  t.reset();
  CHECK(released == 1);
  CHECK_FALSE(t);
  t.reset();
  CHECK(released == 1);
}

TEST_CASE("a released tensor belongs to who calls its deleter", "[managed_tensor]") {
  int released = 0;
  DLManagedTensorVersioned* raw;
  {
    managed_tensor t = counting(released);
    raw = std::move(t).release();
    CHECK_FALSE(t);
  }
  CHECK(released == 0);
  raw->deleter(raw);
  CHECK(released == 1);
}

TEST_CASE("an array is dropped on the thread that lets it go", "[managed_tensor]") {
  static float element;
  std::thread::id released_on;
  managed_tensor t = share(&element, {1}, {}, float32,
                           [&released_on] { released_on = std::this_thread::get_id(); });
  std::thread dropping([moved = std::move(t)]() mutable { moved.reset(); });
  const std::thread::id expected = dropping.get_id();
  dropping.join();
  CHECK(released_on == expected);
}

TEST_CASE("a released tensor may be deleted on another thread", "[managed_tensor]") {
  deletions heard;
  managed_tensor t = managed_tensor::adopt(versioned::make(heard));
  std::thread deleting([raw = std::move(t).release()] { raw->deleter(raw); });
  const std::thread::id expected = deleting.get_id();
  deleting.join();
  CHECK(heard.count == 1);
  CHECK(heard.thread == expected);
}

// ---- Adopting.

TEMPLATE_TEST_CASE("an adopted array is deleted once, with the tensor", "[managed_tensor]",
                   DLManagedTensorVersioned, DLManagedTensor) {
  deletions heard;
  {
    const managed_tensor t = managed_tensor::adopt(foreign_tensor<TestType>::make(heard));
    CHECK(t);
    CHECK(heard.count == 0);
  }
  CHECK(heard.count == 1);
}

TEMPLATE_TEST_CASE("an adopted array looks as its producer says", "[managed_tensor]",
                   DLManagedTensorVersioned, DLManagedTensor) {
  deletions heard;
  TestType* raw = foreign_tensor<TestType>::make(heard, {2, 3}, {1, 2});
  raw->dl_tensor.dtype = int32;
  const void* data = raw->dl_tensor.data;
  const managed_tensor t = managed_tensor::adopt(raw);
  const tensor_view view = t.view();
  CHECK(view.data() == data);
  CHECK(shape_of(view) == extents{2, 3});
  CHECK(strides_of(view) == extents{1, 2});
  CHECK(view.dtype() == int32);
  CHECK(view.device() == device());
  CHECK(t.flags() == 0);
  CHECK(t.origin() == 0);
  CHECK_FALSE(t.stream().known());
}

TEMPLATE_TEST_CASE("a producer may have no deleter", "[managed_tensor]", DLManagedTensorVersioned,
                   DLManagedTensor) {
  deletions heard;
  TestType* raw = foreign_tensor<TestType>::make(heard);
  raw->deleter = nullptr;
  {
    const managed_tensor t = managed_tensor::adopt(raw);
    CHECK(t);
  }
  raw->dl_tensor.ndim = -1;
  CHECK_THROWS_AS(managed_tensor::adopt(raw), exchange_error);
  CHECK(heard.count == 0);
  delete static_cast<foreign_tensor<TestType>*>(raw->manager_ctx);
}

TEMPLATE_TEST_CASE("nothing to adopt is malformed", "[managed_tensor][error]",
                   DLManagedTensorVersioned, DLManagedTensor) {
  try {
    const managed_tensor t = managed_tensor::adopt(static_cast<TestType*>(nullptr));
    FAIL_CHECK("adopted");
  } catch (const exchange_error& error) {
    REQUIRE(error.blockers().size() == 1);
    CHECK(error.blockers()[0].code == reason_code::malformed);
  }
}

TEST_CASE("another major version is refused before any other field is read",
          "[managed_tensor][error]") {
  static int deleted;
  for (const std::uint32_t major : {0U, 2U, 99U, 255U, ~0U}) {
    deleted = 0;
    // Nothing lies behind the fields that every version has: ASan finds whoever reads on.
    auto* raw = static_cast<DLManagedTensorVersioned*>(
        std::malloc(offsetof(DLManagedTensorVersioned, dl_tensor)));
    raw->version = {major, 42};
    raw->manager_ctx = nullptr;
    raw->flags = ~std::uint64_t{0};
    raw->deleter = [](DLManagedTensorVersioned* self) {
      ++deleted;
      std::free(self);
    };
    try {
      const managed_tensor t = managed_tensor::adopt(raw);
      FAIL_CHECK("adopted");
    } catch (const version_error& error) {
      CHECK(error.found().major == major);
      CHECK(error.found().minor == 42);
    }
    CHECK(deleted == 1);
  }
}

TEST_CASE("another major version without a deleter is refused too", "[managed_tensor][error]") {
  DLManagedTensorVersioned raw{};
  raw.version = {2, 0};
  CHECK_THROWS_AS(managed_tensor::adopt(&raw), version_error);
}

TEST_CASE("a later minor version is read", "[managed_tensor]") {
  deletions heard;
  DLManagedTensorVersioned* raw = versioned::make(heard);
  raw->version.minor = 200;
  const managed_tensor t = managed_tensor::adopt(raw);
  CHECK(t.get()->version.major == 1);
  CHECK(t.get()->version.minor == exported_dlpack_version.minor);
}

TEMPLATE_TEST_CASE("a malformed array is refused and deleted", "[managed_tensor][error]",
                   DLManagedTensorVersioned, DLManagedTensor) {
  constexpr extent most = std::numeric_limits<extent>::max();
  deletions heard;
  TestType* raw = foreign_tensor<TestType>::make(heard);
  DLTensor& tensor = raw->dl_tensor;
  extent* const shape = tensor.shape;
  extent* const strides = tensor.strides;

  SECTION("ndim below 0") { tensor.ndim = -1; }
  SECTION("ndim far below 0") { tensor.ndim = std::numeric_limits<std::int32_t>::min(); }
  SECTION("a missing shape") { tensor.shape = nullptr; }
  SECTION("many axes and no shape") {
    tensor.ndim = std::numeric_limits<std::int32_t>::max();
    tensor.shape = nullptr;
  }
  SECTION("more axes than anyone has, whose shape is not read") {
    tensor.ndim = std::numeric_limits<std::int32_t>::max();
  }
  SECTION("a negative extent") { shape[1] = -3; }
  SECTION("a negative extent beside an empty axis") {
    shape[0] = 0;
    shape[1] = -1;
  }
  SECTION("the lowest extent") { shape[0] = std::numeric_limits<extent>::min(); }
  SECTION("more elements than 63 bits") {
    shape[0] = shape[1] = most;
    tensor.strides = nullptr;
  }
  SECTION("more bytes than 63 bits") {
    shape[0] = most / 8;
    shape[1] = 1;
  }
  SECTION("an empty array whose other axes overflow") {
    shape[0] = 0;
    shape[1] = most;
  }
  SECTION("a stride that leaves the address space") { strides[0] = most; }
  SECTION("a negative stride that leaves the address space") {
    strides[0] = std::numeric_limits<extent>::min();
  }
  SECTION("strides that leave it together") { strides[0] = strides[1] = most / 8; }
  SECTION("no data with elements") { tensor.data = nullptr; }
  check_malformed(raw, heard);
}

TEST_CASE("a byte_offset beyond the address space is refused", "[managed_tensor][error]") {
  deletions heard;
  DLManagedTensorVersioned* raw = versioned::make(heard);
  raw->dl_tensor.byte_offset = std::numeric_limits<std::uint64_t>::max() - 3;
  check_malformed(raw, heard);
}

TEMPLATE_TEST_CASE("missing strides are completed in the hub's block, never in the producer's",
                   "[managed_tensor]", DLManagedTensorVersioned, DLManagedTensor) {
  deletions heard;
  TestType* raw = foreign_tensor<TestType>::make(heard, {2, 3, 4}, {});
  const managed_tensor t = managed_tensor::adopt(raw);
  CHECK(raw->dl_tensor.strides == nullptr);
  CHECK(raw->dl_tensor.shape != t.view().shape().data());
  CHECK(strides_of(t.view()) == extents{12, 4, 1});
}

TEST_CASE("strides that mean nothing are rewritten in the hub's block only", "[managed_tensor]") {
  deletions heard;
  const auto strides_after = [&](extents shape, extents strides) {
    DLManagedTensorVersioned* raw = versioned::make(heard, std::move(shape), strides);
    const managed_tensor t = managed_tensor::adopt(raw);
    CHECK(extents(raw->dl_tensor.strides, raw->dl_tensor.strides + raw->dl_tensor.ndim) == strides);
    return strides_of(t.view());
  };
  CHECK(strides_after({2, 1, 3}, {3, -77, 1}) == extents{3, 3, 1});
  CHECK(strides_after({2, 1}, {1, INT64_MIN}) == extents{1, 1});
  CHECK(strides_after({2, 0, 3}, {9, 9, 9}) == extents{3, 3, 1});
}

TEST_CASE("a scalar has neither shape nor strides", "[managed_tensor]") {
  deletions heard;
  const managed_tensor t = managed_tensor::adopt(versioned::make(heard, {}, {}));
  CHECK(t.view().ndim() == 0);
  CHECK(t.view().size() == 1);
  CHECK(t.get()->dl_tensor.shape == nullptr);
  CHECK(t.get()->dl_tensor.strides == nullptr);
}

TEST_CASE("an empty array may have no data, and keeps the address it has", "[managed_tensor]") {
  deletions heard;
  DLManagedTensorVersioned* raw = versioned::make(heard, {0, 3}, {});
  const void* data = raw->dl_tensor.data;
  CHECK(managed_tensor::adopt(raw).get()->dl_tensor.data == data);
  raw = versioned::make(heard, {0, 3}, {});
  raw->dl_tensor.data = nullptr;
  CHECK(managed_tensor::adopt(raw).get()->dl_tensor.data == nullptr);
  CHECK(heard.count == 2);
}

TEMPLATE_TEST_CASE("byte_offset becomes part of the address", "[managed_tensor]",
                   DLManagedTensorVersioned, DLManagedTensor) {
  deletions heard;
  TestType* raw = foreign_tensor<TestType>::make(heard);
  raw->dl_tensor.byte_offset = 8;
  const std::byte* data = static_cast<std::byte*>(raw->dl_tensor.data);
  const managed_tensor t = managed_tensor::adopt(raw);
  CHECK(t.get()->dl_tensor.data == data + 8);
  CHECK(t.get()->dl_tensor.byte_offset == 0);
  CHECK(t.view().data() == data + 8);
}

TEST_CASE("devices whose data is a handle keep their byte_offset", "[managed_tensor]") {
  deletions heard;
  DLManagedTensorVersioned* raw = versioned::make(heard);
  raw->dl_tensor.device = {kDLMetal, 0};
  raw->dl_tensor.byte_offset = 8;
  const void* data = raw->dl_tensor.data;
  const managed_tensor t = managed_tensor::adopt(raw);
  CHECK(t.get()->dl_tensor.data == data);
  CHECK(t.get()->dl_tensor.byte_offset == 8);
}

TEST_CASE("an element type nobody knows is carried", "[managed_tensor]") {
  deletions heard;
  for (const DLDataType type :
       {DLDataType{42, 24, 1}, DLDataType{kDLFloat, 32, 4}, DLDataType{kDLInt, 1, 1},
        DLDataType{kDLFloat, 32, 0}, DLDataType{kDLOpaqueHandle, 64, 1}}) {
    DLManagedTensorVersioned* raw = versioned::make(heard, {1}, {1});
    raw->dl_tensor.dtype = type;
    CHECK(dtype(managed_tensor::adopt(raw).get()->dl_tensor.dtype) == dtype(type));
  }
}

TEST_CASE("the flags of a producer stay", "[managed_tensor]") {
  deletions heard;
  const auto adopted = [&](std::uint64_t flags) {
    DLManagedTensorVersioned* raw = versioned::make(heard);
    raw->flags = flags;
    return managed_tensor::adopt(raw);
  };
  const managed_tensor read_only = adopted(DLPACK_FLAG_BITMASK_READ_ONLY);
  CHECK(read_only.read_only());
  CHECK(read_only.view().read_only());
  CHECK_FALSE(read_only.is_copied());
  const managed_tensor copied = adopted(DLPACK_FLAG_BITMASK_IS_COPIED);
  CHECK(copied.is_copied());
  CHECK_FALSE(copied.read_only());
  CHECK(adopted(DLPACK_FLAG_BITMASK_IS_SUBBYTE_TYPE_PADDED).flags() ==
        DLPACK_FLAG_BITMASK_IS_SUBBYTE_TYPE_PADDED);
}

TEST_CASE("the hub takes its own tensor back without a second one", "[managed_tensor]") {
  int released = 0;
  managed_tensor t = counting(released);
  t.set_origin(3);
  const std::int64_t live = live_managed_tensors();
  DLManagedTensorVersioned* raw = std::move(t).release();
  managed_tensor again = managed_tensor::adopt(raw);
  CHECK(again.get() == raw);
  CHECK(live_managed_tensors() == live);
  again.reset();
  CHECK(released == 1);
}

TEST_CASE("what is given away is DLPack 1.3 with strides", "[managed_tensor]") {
  deletions heard;
  DLManagedTensorVersioned* raw =
      managed_tensor::adopt(foreign_tensor<DLManagedTensor>::make(heard, {2, 3}, {})).release();
  CHECK(raw->version.major == 1);
  CHECK(raw->version.minor == 3);
  REQUIRE(raw->dl_tensor.strides != nullptr);
  CHECK(raw->dl_tensor.strides[0] == 3);
  CHECK(raw->dl_tensor.strides[1] == 1);
  raw->deleter(raw);
  CHECK(heard.count == 1);
}

TEST_CASE("a tensor given away as DLPack 0.x is dropped by that deleter", "[managed_tensor]") {
  deletions heard;
  const std::int64_t before = live_managed_tensors();
  managed_tensor t = managed_tensor::adopt(versioned::make(heard, {2, 3}, {1, 2}));
  const void* data = t.view().data();
  DLManagedTensor* raw = std::move(t).release_legacy();
  CHECK_FALSE(t);
  CHECK(live_managed_tensors() == before + 1);
  CHECK(raw->dl_tensor.data == data);
  CHECK(raw->dl_tensor.ndim == 2);
  CHECK(raw->dl_tensor.shape[1] == 3);
  CHECK(raw->dl_tensor.strides[1] == 2);
  CHECK(heard.count == 0);
  raw->deleter(raw);
  CHECK(heard.count == 1);
  CHECK(live_managed_tensors() == before);
}

TEST_CASE("a tensor of DLPack 0.x goes through the hub and out again", "[managed_tensor]") {
  deletions heard;
  DLManagedTensor* given = managed_tensor::adopt(legacy::make(heard)).release_legacy();
  managed_tensor back = managed_tensor::adopt(given);
  CHECK_FALSE(back.read_only());
  CHECK(heard.count == 0);
  back.reset();
  CHECK(heard.count == 1);
}

// ---- Wrapping.

TEST_CASE("a wrapped view is written out in the hub's own block", "[managed_tensor]") {
  float elements[6] = {};
  extent shape[] = {2, 3}, strides[] = {-3, 1};
  int released = 0;
  const tensor_view view(elements + 3, shape, strides, 2, float32, device(kDLCUDA, 1), true);
  const managed_tensor t = managed_tensor::wrap(view, owner::of([&released] { ++released; }),
                                                DLPACK_FLAG_BITMASK_IS_COPIED);
  shape[0] = strides[0] = 99;
  CHECK(shape_of(t.view()) == extents{2, 3});
  CHECK(strides_of(t.view()) == extents{-3, 1});
  CHECK(t.view().data() == elements + 3);
  CHECK(t.view().device() == device(kDLCUDA, 1));
  CHECK(t.flags() == (DLPACK_FLAG_BITMASK_READ_ONLY | DLPACK_FLAG_BITMASK_IS_COPIED));
  CHECK(released == 0);
}

TEST_CASE("memory may be wrapped without an owner by who says so", "[managed_tensor]") {
  float element = 0;
  const managed_tensor t =
      managed_tensor::wrap(tensor_view(&element, nullptr, nullptr, 0, float32), owner());
  CHECK(t.view().data() == &element);
}

#ifdef DLPACK_BRIDGE_FAILING_ALLOCATIONS
TEST_CASE("the owner is released when wrapping fails", "[managed_tensor][error]") {
  float element = 0;
  int released = 0;
  bool thrown = false;
  owner keep(&released, [](void* count) noexcept { ++*static_cast<int*>(count); });
  try {
    const allocations::failure no_memory(0);
    managed_tensor::wrap(tensor_view(&element, nullptr, nullptr, 0, float32), std::move(keep));
  } catch (const std::bad_alloc&) {
    thrown = true;
  }
  CHECK(thrown);
  CHECK(released == 1);
}

TEMPLATE_TEST_CASE("adopting deletes once, whichever allocation fails", "[managed_tensor][error]",
                   DLManagedTensorVersioned, DLManagedTensor) {
  for (int number = 0;; ++number) {
    REQUIRE(number < 100);
    deletions heard;
    TestType* raw = foreign_tensor<TestType>::make(heard, {2, 3}, {});
    bool happened = true;
    try {
      const allocations::failure no_memory(number);
      const managed_tensor t = managed_tensor::adopt(raw);
      happened = no_memory.happened();
    } catch (const std::bad_alloc&) {
    }
    REQUIRE(heard.count == 1);
    if (!happened) break;
  }
}

TEST_CASE("an owner is called once, whichever allocation of share fails",
          "[managed_tensor][error]") {
  float element = 0;
  const extent_list one = {1}, none;
  for (int number = 0;; ++number) {
    REQUIRE(number < 100);
    int released = 0;
    bool happened = true;
    try {
      const allocations::failure no_memory(number);
      const managed_tensor t = share(&element, one, none, float32, [&released] { ++released; });
      happened = no_memory.happened();
    } catch (const std::bad_alloc&) {
    }
    CHECK(released == 1);
    if (!happened) break;
  }
}

TEST_CASE("what was moved into a share is gone, whichever allocation fails",
          "[managed_tensor][error]") {
  float element = 0;
  const extent_list six = {6}, one = {1}, none;
  const auto fails = [](int number, const auto& make) {
    try {
      const allocations::failure no_memory(number);
      const managed_tensor t = make();
      return no_memory.happened();
    } catch (const std::bad_alloc&) {
      return true;
    }
  };
  for (int number = 0;; ++number) {
    REQUIRE(number < 100);
    std::vector<float> values(6), shaped(6);
    auto object = std::make_unique<float>(0.0F);
    bool happened = fails(number, [&] { return share(std::move(values)); });
    happened |= fails(number, [&] { return share(std::move(shaped), six); });
    happened |=
        fails(number, [&] { return share(&element, one, none, float32, std::move(object)); });
    CHECK(values.empty());
    CHECK(shaped.empty());
    CHECK(object == nullptr);
    if (!happened) break;
  }
}
#endif

// ---- Making.

TEST_CASE("a made tensor is dense, writable and large enough", "[managed_tensor]") {
  const managed_tensor t = make_tensor({3, 4}, float32);
  CHECK(shape_of(t.view()) == extents{3, 4});
  CHECK(strides_of(t.view()) == extents{4, 1});
  CHECK(t.view().dtype() == float32);
  CHECK(t.view().device() == device());
  CHECK(t.flags() == 0);
  std::ranges::fill_n(static_cast<float*>(t.view().data()), 12, 1.5F);
}

TEST_CASE("a made tensor starts at a multiple of what was asked for", "[managed_tensor]") {
  for (std::int64_t alignment = 1; alignment <= 1 << 20; alignment *= 2) {
    for (const extent n : {0, 1, 1000}) {
      const managed_tensor t = make_tensor({n, 1, 1}, uint8, alignment);
      CHECK(aligned(t.view().data(), std::max(alignment, default_alignment)));
      std::ranges::fill_n(static_cast<std::uint8_t*>(t.view().data()), n, std::uint8_t{1});
    }
  }
}

TEST_CASE("a made tensor may be a scalar, empty or packed", "[managed_tensor]") {
  const managed_tensor scalar = make_tensor({}, complex128);
  CHECK(scalar.view().nbytes() == 16);
  std::ranges::fill_n(static_cast<double*>(scalar.view().data()), 2, 0.5);
  const managed_tensor empty = make_tensor({3, 0, 2}, int64);
  CHECK(empty.view().size() == 0);
  CHECK(strides_of(empty.view()) == extents{2, 2, 1});
  const managed_tensor packed = make_tensor({5}, dtype(kDLFloat4_e2m1fn, 4));
  CHECK(packed.view().nbytes() == 3);
  std::ranges::fill_n(static_cast<std::uint8_t*>(packed.view().data()), 3, std::uint8_t{7});
}

TEST_CASE("a tensor of many axes holds them all", "[managed_tensor]") {
  const extents shape(100, 1);
  const managed_tensor t = make_tensor(std::span<const extent>(shape), int8);
  CHECK(shape_of(t.view()) == shape);
  CHECK(strides_of(t.view()) == shape);
}

TEST_CASE("an impossible shape is an invalid argument", "[managed_tensor][error]") {
  constexpr extent most = std::numeric_limits<extent>::max();
  for (const extents& shape : {extents{-1}, extents{3, -1}, extents{0, -1}, extents{most, 2},
                               extents{most}, extents{most / 4}, extents{1LL << 32, 1LL << 32}}) {
    CHECK_THROWS_AS(make_tensor(std::span<const extent>(shape), float32), std::invalid_argument);
  }
}

TEST_CASE("an empty shape whose other axes overflow cannot be made", "[managed_tensor][error]") {
  // adopt refuses such an array of others.
  constexpr extent most = std::numeric_limits<extent>::max();
  CHECK_THROWS_AS(make_tensor({0, most, most}, float32), std::invalid_argument);
  CHECK_NOTHROW(make_tensor({0, most / 64}, float32));
}

TEST_CASE("an alignment that is no power of two is an invalid argument",
          "[managed_tensor][error]") {
  for (const std::int64_t alignment : {std::int64_t{0}, std::int64_t{-64}, std::int64_t{3},
                                       std::int64_t{48}, INT64_MAX, INT64_MIN}) {
    CHECK_THROWS_AS(make_tensor({3}, float32, alignment), std::invalid_argument);
  }
}

TEST_CASE("memory that nobody has is bad_alloc", "[managed_tensor][error]") {
  CHECK_THROWS_AS(make_tensor({std::int64_t{1} << 50}, uint8), std::bad_alloc);
  CHECK_THROWS_AS(make_tensor({1}, uint8, std::int64_t{1} << 60), std::bad_alloc);
}

// ---- Sharing.

TEST_CASE("shared memory has the address, shape, strides and label that were given",
          "[managed_tensor]") {
  float elements[12] = {};
  int released = 0;
  {
    const managed_tensor t = share(
        elements, {2, 3}, {6, 2}, float32, [&released] { ++released; }, device(kDLCUDA, 2), true);
    CHECK(t.view().data() == elements);
    CHECK(shape_of(t.view()) == extents{2, 3});
    CHECK(strides_of(t.view()) == extents{6, 2});
    CHECK(t.view().device() == device(kDLCUDA, 2));
    CHECK(t.read_only());
    CHECK(released == 0);
  }
  CHECK(released == 1);
}

TEST_CASE("strides may be left out", "[managed_tensor]") {
  float elements[6] = {};
  int released = 0;
  const managed_tensor t = share(elements, {2, 3}, {}, float32, [&released] { ++released; });
  CHECK(strides_of(t.view()) == extents{3, 1});
  CHECK_FALSE(t.read_only());
}

TEST_CASE("a shared_ptr keeps memory alive as one more user", "[managed_tensor]") {
  const auto table = std::make_shared<std::vector<float>>(6, 1.0F);
  const std::weak_ptr<std::vector<float>> watched = table;
  managed_tensor t = share(table->data(), {2, 3}, {}, float32, table);
  CHECK(table.use_count() == 2);
  t.reset();
  CHECK(table.use_count() == 1);
  CHECK_FALSE(watched.expired());
}

TEST_CASE("a unique_ptr moves into the tensor", "[managed_tensor]") {
  auto elements = std::make_unique<float[]>(6);
  float* const data = elements.get();
  const managed_tensor t = share(data, {6}, {}, float32, std::move(elements));
  CHECK(elements == nullptr);
  static_cast<float*>(t.view().data())[5] = 1;
}

TEST_CASE("an owner is gone after a failed share", "[managed_tensor][error]") {
  float element = 0;
  int released = 0;
  CHECK_THROWS_AS(share(&element, {1, 1}, {1}, float32, [&released] { ++released; }),
                  std::invalid_argument);
  CHECK(released == 1);

  auto shared = std::make_shared<float>(0.0F);
  const std::weak_ptr<float> watched = shared;
  CHECK_THROWS_AS(share(&element, {1}, {1, 1}, float32, std::move(shared)), std::invalid_argument);
  CHECK(watched.expired());
}

TEST_CASE("an owner is gone when a list of extents is what fails", "[managed_tensor][error]") {
  float element = 0;
  int released = 0;
  const auto release = [&released] { ++released; };
  CHECK_THROWS_AS(share(&element, {UINT64_MAX}, {}, float32, release), std::out_of_range);
  CHECK(released == 1);
  CHECK_THROWS_AS(share(&element, {1}, {UINT64_MAX}, float32, release), std::out_of_range);
  CHECK(released == 2);
  CHECK_THROWS_AS(share(&element, {UINT64_MAX}, release), std::out_of_range);
  CHECK(released == 3);
}

TEST_CASE("what is reached through a pointer to const is read-only", "[managed_tensor]") {
  const auto numbers = std::make_shared<const std::vector<float>>(6, 1.0F);
  CHECK(share(numbers->data(), {6}, {}, float32, numbers).read_only());
  CHECK(share(numbers->data(), {6}, numbers).read_only());
  const void* const plain = numbers->data();
  CHECK(share(plain, {6}, {}, float32, numbers).read_only());
  float element = 0;
  void* const writable = &element;
  CHECK_FALSE(share(writable, {1}, {}, float32, [] {}).read_only());
  CHECK_FALSE(share(nullptr, {0}, {}, float32, [] {}).read_only());
}

TEST_CASE("a pointer tells the element type", "[managed_tensor]") {
  auto table = std::make_shared<std::vector<double>>(6);
  const std::size_t count = 2;
  const managed_tensor t = share(table->data(), {count, 3}, table);
  CHECK(t.view().data() == table->data());
  CHECK(shape_of(t.view()) == extents{2, 3});
  CHECK(strides_of(t.view()) == extents{3, 1});
  CHECK(t.view().dtype() == float64);
  CHECK_FALSE(t.read_only());
  CHECK(table.use_count() == 2);
}

TEST_CASE("a shape that no array has cannot be shared", "[managed_tensor][error]") {
  constexpr extent most = std::numeric_limits<extent>::max();
  float element = 0;
  const auto keep = std::make_shared<float>(0.0F);
  CHECK_THROWS_AS(share(&element, {-1}, {}, float32, keep), std::invalid_argument);
  CHECK_THROWS_AS(share(&element, {most, most}, {}, float32, keep), std::invalid_argument);
  CHECK_THROWS_AS(share(&element, {2}, {most}, float32, keep), std::invalid_argument);
}

TEST_CASE("a vector is shared without a copy and destroyed once", "[managed_tensor]") {
  std::vector<float> values = {1, 2, 3, 4, 5, 6};
  const float* data = values.data();
  managed_tensor t = share(std::move(values));
  CHECK(values.empty());
  CHECK(t.view().data() == data);
  CHECK(shape_of(t.view()) == extents{6});
  CHECK(t.view().dtype() == float32);
  CHECK_FALSE(t.read_only());
  t.reset();
}

TEST_CASE("a vector takes another shape of as many elements", "[managed_tensor]") {
  const managed_tensor t = share(std::vector<std::int64_t>(6), {2, 3});
  CHECK(shape_of(t.view()) == extents{2, 3});
  CHECK(strides_of(t.view()) == extents{3, 1});
  CHECK(t.view().dtype() == int64);
}

TEST_CASE("a vector of one element may be a scalar", "[managed_tensor]") {
  const managed_tensor t = share(std::vector<float>{7}, {});
  CHECK(t.view().ndim() == 0);
  CHECK(*static_cast<const float*>(t.view().data()) == 7);
  const managed_tensor same = share(std::vector<float>{7}, std::array<extent, 0>());
  CHECK(same.view().ndim() == 0);
  CHECK_THROWS_AS(share(std::vector<float>{7, 8}, {}), std::invalid_argument);
}

TEST_CASE("an empty vector is an empty array", "[managed_tensor]") {
  CHECK(share(std::vector<float>()).get()->dl_tensor.shape[0] == 0);
  const managed_tensor t = share(std::vector<float>(), {0, 4});
  CHECK(t.view().size() == 0);
}

TEST_CASE("a shape that does not fit the vector is an invalid argument",
          "[managed_tensor][error]") {
  constexpr extent most = std::numeric_limits<extent>::max();
  for (const extents& shape : {extents{5}, extents{2, 4}, extents{-2, -3}, extents{-6},
                               extents{6, 0}, extents{most, most}}) {
    std::vector<float> values(6);
    CHECK_THROWS_AS(share(std::move(values), std::span<const extent>(shape)),
                    std::invalid_argument);
    CHECK(values.empty());
  }
}

TEST_CASE("C++ numbers have their element type", "[managed_tensor]") {
  CHECK(dtype_for<bool> == boolean);
  CHECK(dtype_for<std::int8_t> == int8);
  CHECK(dtype_for<std::uint16_t> == uint16);
  CHECK(dtype_for<int> == int32);
  CHECK(dtype_for<std::uint64_t> == uint64);
  CHECK(dtype_for<float> == float32);
  CHECK(dtype_for<double> == float64);
}
