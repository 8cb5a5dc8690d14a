#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include <catch2/catch_test_macros.hpp>

#include <dlpack_bridge/tensor_view.hpp>

using namespace dlpack_bridge;
using extents = std::vector<extent>;

namespace {

/// A DLTensor with memory for its shape and strides.
struct tensor {
  explicit tensor(extents s, extents st = {}) : shape(std::move(s)), strides(std::move(st)) {
    raw.data = bytes;
    raw.device = {kDLCPU, 0};
    raw.ndim = static_cast<std::int32_t>(shape.size());
    raw.dtype = float32;
    raw.shape = shape.data();
    raw.strides = strides.empty() ? nullptr : strides.data();
    raw.byte_offset = 0;
  }

  alignas(16) std::byte bytes[64] = {};
  extents shape, strides;
  DLTensor raw{};
};

defect defect_of(extents shape, extents strides = {}) {
  const tensor t(std::move(shape), std::move(strides));
  return validate(t.raw);
}

}  // namespace

static_assert(std::is_trivially_copyable_v<tensor_view>);
static_assert(!std::is_constructible_v<tensor_view, managed_tensor&&>);

TEST_CASE("a view shows what the tensor says", "[tensor_view]") {
  const tensor t({2, 3}, {3, 1});
  const tensor_view view(t.raw);
  CHECK(view.data() == t.bytes);
  CHECK(view.ndim() == 2);
  CHECK(view.shape(0) == 2);
  CHECK(view.shape().size() == 2);
  CHECK(view.shape().data() == t.raw.shape);
  CHECK(view.strides() == t.raw.strides);
  CHECK(view.dtype() == float32);
  CHECK(view.device() == device());
  CHECK_FALSE(view.read_only());
  CHECK(view.size() == 6);
  CHECK(view.nbytes() == 24);
  CHECK(view.is_c_contiguous());
}

TEST_CASE("a view may be read-only", "[tensor_view]") {
  const tensor t({1});
  CHECK(tensor_view(t.raw, true).read_only());
}

TEST_CASE("byte_offset is part of the address", "[tensor_view]") {
  tensor t({2});
  t.raw.byte_offset = 8;
  const tensor_view view(t.raw);
  CHECK(view.data() == t.bytes + 8);
  CHECK(view.byte_offset() == 0);
}

TEST_CASE("byte_offset stays beside a handle", "[tensor_view]") {
  tensor t({2});
  t.raw.byte_offset = 8;
  t.raw.device = {kDLMetal, 0};
  const tensor_view view(t.raw);
  CHECK(view.data() == t.bytes);
  CHECK(view.byte_offset() == 8);
}

TEST_CASE("a NULL address stays NULL whatever the offset is", "[tensor_view]") {
  tensor t({0});
  t.raw.data = nullptr;
  t.raw.byte_offset = 8;
  CHECK(tensor_view(t.raw).data() == nullptr);
}

TEST_CASE("a view without axes has one element", "[tensor_view]") {
  tensor t({});
  t.raw.shape = nullptr;
  const tensor_view view(t.raw);
  CHECK(view.size() == 1);
  CHECK(view.nbytes() == 4);
  CHECK(view.is_c_contiguous());
}

TEST_CASE("a view of nothing is empty of meaning but safe", "[tensor_view]") {
  const tensor_view view;
  CHECK(view.data() == nullptr);
  CHECK(view.ndim() == 0);
}

TEST_CASE("plain memory can be looked at", "[tensor_view]") {
  float values[6] = {};
  const extent shape[] = {3, 2}, strides[] = {1, 3};
  const tensor_view view(values, shape, strides, 2, float32, {}, true);
  CHECK(view.data() == values);
  CHECK(view.size() == 6);
  CHECK(view.read_only());
  CHECK_FALSE(view.is_c_contiguous());
  CHECK(tensor_view(values, shape, nullptr, 2, float32).is_c_contiguous());
}

TEST_CASE("a view under another label is of the same memory", "[tensor_view]") {
  float memory[6];
  const extent shape[] = {2, 3}, strides[] = {1, 2};
  const tensor_view view(memory, shape, strides, 2, float32);
  const tensor_view other = view.relabelled(nullptr, uint32, device(kDLCUDA, 1), true);
  CHECK(other.data() == memory);
  CHECK(other.shape().data() == shape);
  CHECK(other.strides() == nullptr);
  CHECK(other.dtype() == uint32);
  CHECK(other.device() == device(kDLCUDA, 1));
  CHECK(other.read_only());
  CHECK_FALSE(view.read_only());
}

TEST_CASE("packed elements are counted in bits", "[tensor_view]") {
  CHECK(dense_bytes(3, dtype(kDLFloat4_e2m1fn, 4)) == 2);
  CHECK(dense_bytes(4, dtype(kDLFloat6_e2m3fn, 6)) == 3);
  CHECK(dense_bytes(3, dtype(kDLFloat4_e2m1fn, 4, 2)) == 3);
  CHECK(dense_bytes(3, complex128) == 48);
  CHECK(dense_bytes(0, dtype(kDLFloat4_e2m1fn, 4)) == 0);
}

TEST_CASE("a sound tensor has no defect", "[tensor_view]") {
  CHECK(defect_of({2, 3}) == defect::none);
  CHECK(defect_of({2, 3}, {-3, 0}) == defect::none);
  CHECK(defect_of({}) == defect::none);
}

TEST_CASE("a negative number of axes is a defect", "[tensor_view]") {
  tensor t({1});
  for (const std::int32_t ndim : {-1, INT32_MIN}) {
    t.raw.ndim = ndim;
    CHECK(validate(t.raw) == defect::negative_ndim);
  }
}

TEST_CASE("axes without a shape are a defect", "[tensor_view]") {
  tensor t({1});
  t.raw.shape = nullptr;
  CHECK(validate(t.raw) == defect::null_shape);
  t.raw.ndim = 0;
  CHECK(validate(t.raw) == defect::none);
}

TEST_CASE("a negative extent is a defect, also beside an extent of 0", "[tensor_view]") {
  CHECK(defect_of({2, -1}) == defect::negative_extent);
  CHECK(defect_of({0, -1}) == defect::negative_extent);
}

TEST_CASE("more bytes than an address can reach are a defect", "[tensor_view]") {
  CHECK(defect_of({INT64_MAX, 2}) == defect::size_overflow);
  CHECK(defect_of({INT64_MAX / 32}) == defect::none);
  CHECK(defect_of({INT64_MAX / 32 + 1}) == defect::size_overflow);
  // The strides of the other axes would overflow although there are no elements.
  CHECK(defect_of({INT64_MAX, 0, INT64_MAX}) == defect::size_overflow);
  CHECK(defect_of({INT64_MAX / 64, 0}) == defect::none);
}

TEST_CASE("elements are counted where the type has no bits", "[tensor_view]") {
  tensor t({INT64_MAX, 2});
  t.raw.dtype = {kDLInt, 0, 1};
  CHECK(validate(t.raw) == defect::size_overflow);
}

TEST_CASE("strides that leave the address space are a defect", "[tensor_view]") {
  CHECK(defect_of({2}, {INT64_MAX}) == defect::span_overflow);
  CHECK(defect_of({2}, {INT64_MIN}) == defect::span_overflow);
  CHECK(defect_of({3}, {INT64_MAX / 2 + 1}) == defect::span_overflow);
  CHECK(defect_of({2, 2}, {INT64_MAX / 4, INT64_MAX / 4}) == defect::span_overflow);
}

TEST_CASE("the stride of an axis of extent 1 means nothing", "[tensor_view]") {
  CHECK(defect_of({1, 2}, {INT64_MIN, 1}) == defect::none);
}

TEST_CASE("an empty tensor needs neither data nor sensible strides", "[tensor_view]") {
  tensor t({0, 3}, {INT64_MAX, INT64_MAX});
  t.raw.data = nullptr;
  CHECK(validate(t.raw) == defect::none);
}

TEST_CASE("elements without data are a defect", "[tensor_view]") {
  tensor t({2});
  t.raw.data = nullptr;
  CHECK(validate(t.raw) == defect::null_data);
}

TEST_CASE("bytes are counted as long as they are fewer than an address can reach",
          "[tensor_view]") {
  const auto bytes = [](const std::vector<extent>& shape, dtype type) {
    return checked_bytes(shape, type);
  };
  constexpr dtype float4(kDLFloat4_e2m1fn, 4);
  CHECK(bytes({}, complex128) == 16);
  CHECK(bytes({3, 4}, float32) == 48);
  CHECK(bytes({3, 3}, float4) == 5);
  CHECK(bytes({3, 0, 4}, float32) == 0);
  CHECK(bytes({INT64_MAX / 32}, float32) == INT64_MAX / 32 * 4);
  CHECK_FALSE(bytes({INT64_MAX / 32 + 1}, float32));
  CHECK_FALSE(bytes({INT64_MAX, 0, INT64_MAX}, float32));
  CHECK_FALSE(bytes({0, INT64_MAX, INT64_MAX}, float32));
  CHECK_FALSE(bytes({-1}, float32));
  CHECK_FALSE(bytes({0, -1}, float32));
}

TEST_CASE("an alignment is a power of two", "[tensor_view]") {
  for (int bit = 0; bit < 63; ++bit) CHECK(is_alignment(std::int64_t{1} << bit));
  for (const std::int64_t other : {INT64_MIN, INT64_MAX, INT64_C(-64), INT64_C(0), INT64_C(48)}) {
    CHECK_FALSE(is_alignment(other));
  }
}

TEST_CASE("every defect has a sentence of its own", "[tensor_view]") {
  const defect all[] = {
      defect::none,          defect::negative_ndim, defect::null_shape, defect::negative_extent,
      defect::size_overflow, defect::span_overflow, defect::null_data};
  std::vector<std::string> seen;
  for (const defect d : all) {
    const std::string text = to_string(d);
    CHECK(text != "unknown");
    CHECK(text.back() != '.');
    for (const std::string& other : seen) CHECK(text != other);
    seen.push_back(text);
  }
}
