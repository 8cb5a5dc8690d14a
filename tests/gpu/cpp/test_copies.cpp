// Copies: every layout and every pair of element types gives the bytes that the core's `copy` gives on
// the host, whatever carries it out: the driver's copies, the gather kernels, staging.
#include <cstring>
#include <random>

#include <catch2/generators/catch_generators.hpp>
#include <catch2/generators/catch_generators_range.hpp>

#include "gpu.hpp"
#include <dlpack_bridge/copy.hpp>

using namespace gpu;
using dlpack_bridge::device;
using dlpack_bridge::dtype;
using dlpack_bridge::extent;

namespace {

using bytes = std::vector<std::byte>;

bytes noise(std::size_t size) {
  static std::mt19937_64 random(20260701);
  bytes made(size);
  for (std::size_t i = 0; i < size; i += 8) {
    const std::uint64_t bits = random();
    std::memcpy(&made[i], &bits, std::min<std::size_t>(8, size - i));
  }
  return made;
}

/// Memory of a kind, with bytes in it.
class memory {
 public:
  memory(device where, const bytes& content) : where_(where), host_(content) {
    if (where.type == kDLCPU) return;
    const lab_memory kind = where.type == kDLCUDA          ? LAB_DEVICE
                            : where.type == kDLCUDAManaged ? LAB_MANAGED
                                                           : LAB_PINNED;
    kind_ = kind;
    MUST(lab_alloc(where.id, kind, content.size(), nullptr, &data_));
    move(data_, host_.data());
  }
  memory(const memory&) = delete;
  memory& operator=(const memory&) = delete;
  ~memory() {
    if (data_ != nullptr) lab_free(where_.id, kind_, data_, nullptr);
  }

  std::byte* data() { return data_ == nullptr ? host_.data() : static_cast<std::byte*>(data_); }
  bytes content() {
    if (data_ != nullptr) move(host_.data(), data_);
    return host_;
  }

 private:
  void move(void* to, const void* from) {
    const int on = where_.type == kDLCUDA ? where_.id : 0;
    MUST(lab_move(on, CU_STREAM_LEGACY, to, from, host_.size()));
    MUST(lab_wait(on, CU_STREAM_LEGACY, patience));
  }

  device where_;
  bytes host_;
  lab_memory kind_ = LAB_DEVICE;
  void* data_ = nullptr;
};

/// A side of a copy: strides in elements, the first element so many elements into the memory.
struct side {
  std::vector<extent> strides;
  extent first = 0;

  extent reach(const std::vector<extent>& shape) const {  // elements of the memory
    extent last = first;
    for (std::size_t i = 0; i < shape.size(); ++i) {
      if (strides[i] > 0) last += strides[i] * (shape[i] - 1);
    }
    return last + 1;
  }
};

struct layout {
  const char* name;
  std::vector<extent> shape;
  side from, to;
};

const layout layouts[] = {
    {"one element", {1}, {{1}}, {{1}}},
    {"contiguous", {60, 70}, {{70, 1}}, {{70, 1}}},
    {"rows with a pitch", {50, 33}, {{40, 1}}, {{33, 1}}},
    {"rows into a pitch", {50, 33}, {{33, 1}}, {{64, 1}, 5}},
    {"planes of rows with pitches", {7, 9, 11}, {{400, 20, 1}}, {{99, 11, 1}}},
    {"planes whose pitch is no multiple of the rows'", {7, 9, 11}, {{401, 20, 1}}, {{99, 11, 1}}},
    {"four axes of blocks", {3, 4, 5, 6}, {{1000, 200, 10, 1}}, {{120, 30, 6, 1}}},
    {"transposed", {129, 67}, {{1, 129}}, {{67, 1}}},
    {"transposed, large", {1031, 517}, {{1, 1031}}, {{517, 1}}},
    {"axes rotated", {13, 17, 19}, {{1, 247, 13}}, {{323, 19, 1}}},
    {"every second element", {999}, {{2}}, {{1}}},
    {"into every third element", {999}, {{1}}, {{3}}},
    {"reversed", {999}, {{-1}, 998}, {{1}}},
    {"rows reversed", {31, 65}, {{-65, 1}, 30 * 65}, {{65, 1}}},
    {"columns reversed, not aligned", {31, 65}, {{67, -1}, 66}, {{65, 1}, 1}},
    {"broadcast along rows", {20, 30}, {{0, 1}}, {{30, 1}}},
    {"broadcast along columns", {20, 30}, {{1, 0}}, {{30, 1}}},
    {"nine axes",
     {2, 3, 2, 3, 2, 3, 2, 3, 2},
     {{1, 2, 6, 12, 36, 72, 216, 432, 1296}},
     {{1296, 432, 216, 72, 36, 12, 6, 2, 1}}},
};

void check_copy(const layout& l, dtype from_type, dtype to_type, device from, device to,
                const stream& s, dlpack_bridge::element_change change = {}) {
  INFO(l.name << ", " << from_type.name() << " on " << from.name() << " to " << to_type.name()
              << " on " << to.name());
  const auto strides_of = [](const side& one, extent itemsize) {
    std::vector<extent> strides;
    for (const extent step : one.strides) strides.push_back(step * itemsize);
    return strides;
  };
  const auto ndim = static_cast<std::int32_t>(l.shape.size());
  const std::vector<extent> from_strides = strides_of(l.from, from_type.itemsize());
  const std::vector<extent> to_strides = strides_of(l.to, to_type.itemsize());
  const bytes source =
      noise(static_cast<std::size_t>(l.from.reach(l.shape) * from_type.itemsize()));
  bytes expected(static_cast<std::size_t>(l.to.reach(l.shape) * to_type.itemsize()),
                 std::byte{0xab});
  memory in(from, source), out(to, expected);

  const extent from_first = l.from.first * from_type.itemsize();
  const extent to_first = l.to.first * to_type.itemsize();
  bytes readable = source;
  dlpack_bridge::copy(l.shape.data(), ndim,
                      {readable.data() + from_first, from_strides.data(), from_type},
                      {expected.data() + to_first, to_strides.data(), to_type}, change);
  const bool running = cuda::backend().copy({
      .shape = l.shape.data(),
      .ndim = ndim,
      .from = {in.data() + from_first, from_strides.data(), from_type},
      .to = {out.data() + to_first, to_strides.data(), to_type},
      .from_device = from,
      .to_device = to,
      .change = change,
      .stream = s.handle(),
  });
  if (running) s.wait();
  const bytes result = out.content();
  const auto [wrong, right] = std::ranges::mismatch(result, expected);
  INFO("byte " << wrong - result.begin() << " of " << result.size());
  CHECK(wrong == result.end());
}

std::vector<dtype> types() {
  std::vector<dtype> known;
  for (int i = 0; i < dlpack_bridge::known_dtypes; ++i) {
    const dtype type = dlpack_bridge::dtype_of(static_cast<dlpack_bridge::dtype_id>(i));
    if (!type.is_packed() && dlpack_bridge::can_copy(type, type)) known.push_back(type);
  }
  return known;
}

constexpr device cpu{kDLCPU, 0}, pinned{kDLCUDAHost, 0}, managed{kDLCUDAManaged, 0};

}  // namespace

TEST_CASE_METHOD(gpu_case,
                 "Every layout is copied on a device as on the host, in elements of any size") {
  const layout& l = GENERATE(from_range(std::begin(layouts), std::end(layouts)));
  stream s(kind::non_blocking);
  for (const dtype type : {dlpack_bridge::uint8, dlpack_bridge::bfloat16, dlpack_bridge::float32,
                           dlpack_bridge::float64, dlpack_bridge::complex128}) {
    check_copy(l, type, type, gpu0, gpu0, s);
  }
  check_copy(l, dlpack_bridge::float64, dlpack_bridge::float32, gpu0, gpu0, s);
  check_copy(l, dlpack_bridge::int16, dlpack_bridge::float64, gpu0, gpu0, s);
}

TEST_CASE_METHOD(gpu_case, "Every layout is copied between the host and a device") {
  const layout& l = GENERATE(from_range(std::begin(layouts), std::end(layouts)));
  const device host = GENERATE(cpu, pinned, managed);
  stream s(kind::non_blocking);
  check_copy(l, dlpack_bridge::float32, dlpack_bridge::float32, host, gpu0, s);
  check_copy(l, dlpack_bridge::float32, dlpack_bridge::float32, gpu0, host, s);
  check_copy(l, dlpack_bridge::int32, dlpack_bridge::float16, host, gpu0, s);
  check_copy(l, dlpack_bridge::int32, dlpack_bridge::float16, gpu0, host, s);
}

TEST_CASE_METHOD(gpu_case, "Every pair of element types is converted as on the host, bit for bit") {
  const dtype from = GENERATE(from_range(types()));
  stream s(kind::non_blocking);
  const layout line{"a line", {5003}, {{1}}, {{1}}}, steps{"with steps", {5003}, {{2}}, {{1}, 3}};
  for (const dtype to : types()) {
    if (!dlpack_bridge::can_copy(from, to)) continue;
    check_copy(line, from, to, gpu0, gpu0, s);
    check_copy(steps, from, to, gpu0, gpu0, s);
  }
}

TEST_CASE_METHOD(gpu_case, "Byte order, conjugation and negation are applied on the way") {
  stream s(kind::non_blocking);
  const layout line{"a line", {5003}, {{1}}, {{1}}};
  for (const dtype type : {dlpack_bridge::complex64, dlpack_bridge::complex128}) {
    check_copy(line, type, type, gpu0, gpu0, s, {.conjugate = true});
    check_copy(line, type, type, gpu0, gpu0, s,
               {.swap_bytes = true, .conjugate = true, .negate = true});
  }
  check_copy(line, dlpack_bridge::float32, dlpack_bridge::float64, gpu0, gpu0, s,
             {.swap_bytes = true});
  check_copy(line, dlpack_bridge::int32, dlpack_bridge::int32, gpu0, gpu0, s, {.negate = true});
}

TEST_CASE_METHOD(gpu_case, "Large pageable memory is staged in both directions") {
  stream s(kind::non_blocking);
  const layout large{"24 MiB", {6 << 20}, {{1}}, {{1}}};
  check_copy(large, dlpack_bridge::float32, dlpack_bridge::float32, cpu, gpu0, s);
  check_copy(large, dlpack_bridge::float32, dlpack_bridge::float32, gpu0, cpu, s);
}

TEST_CASE_METHOD(gpu_case, "Copies go between two devices") {
  if (lab_device_count() < 2) SKIP("needs two GPUs");
  const layout& l = GENERATE(from_range(std::begin(layouts), std::end(layouts)));
  const device gpu1{kDLCUDA, 1};
  stream s(kind::non_blocking);  // of device 0
  check_copy(l, dlpack_bridge::float32, dlpack_bridge::float32, gpu1, gpu0, s);
  check_copy(l, dlpack_bridge::int32, dlpack_bridge::float64, gpu1, gpu0, s);
}
