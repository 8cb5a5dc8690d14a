#include <algorithm>
#include <bit>
#include <functional>
#include <random>
#include <string>
#include <type_traits>
#include <vector>

#include <catch2/catch_test_macros.hpp>

#include "printing.hpp"
#include <dlpack_bridge/exchange.hpp>
#include <dlpack_bridge/negotiation.hpp>

using namespace dlpack_bridge;
using why = reason_code;
using extents = std::vector<extent>;

namespace {

alignas(4096) std::byte memory[4096];

const dtype float8{kDLFloat8_e4m3fn, 8}, float4{kDLFloat4_e2m1fn, 4}, float6{kDLFloat6_e2m3fn, 6},
    float4_x2{kDLFloat4_e2m1fn, 4, 2};

/// All that `negotiate` is told: a plain array, nothing asked, a target that takes everything.
struct setup {
  extents shape = {4, 3}, strides;
  dtype type = float32;
  device where;
  std::size_t offset = 0;  // of the first element from a page
  bool read_only = false;
  description source;
  requirements wanted;
  capabilities target = capabilities_of(framework::cpp);

  void to(framework id) { target = capabilities_of(id); }

  description described() const {
    description d = source;
    d.view = tensor_view(memory + offset, shape.data(), strides.empty() ? nullptr : strides.data(),
                         static_cast<std::int32_t>(shape.size()), type, where, read_only);
    if (d.has_layout) describe_layout(d);
    return d;
  }
  decision decided() const { return negotiate(described(), wanted, target); }
  decision decided(copy_policy policy) const {
    requirements other = wanted;
    other.copy = policy;
    return negotiate(described(), other, target);
  }
  std::string said(why code) const { return explain(code, described(), wanted, target); }
};

using change = std::function<void(setup&)>;

setup changed(const change& apply) {
  setup s;
  apply(s);
  return s;
}

reason_set none() { return {}; }

template <class... Codes>
reason_set are(Codes... codes) {
  return reason_set(codes...);
}

struct row {
  const char* name;
  reason_set reasons, blockers;
  change apply;
};

change state(why code) {
  return [code](setup& s) { s.source.state.add(code); };
}

/// Without layout, dtype and device, as a source reports what it cannot read.
change unreadable(why code) {
  return [code](setup& s) {
    s.source.state.add(code);
    s.source.has_layout = s.source.has_dtype = s.source.has_device = false;
  };
}

const row rows[] = {
    // What is shared.
    {"a plain array", none(), none(), [](setup&) {}},
    {"column-major", none(), none(), [](setup& s) { s.strides = {1, 4}; }},
    {"a slice with steps", none(), none(), [](setup& s) { s.strides = {12, 2}; }},
    {"a scalar", none(), none(), [](setup& s) { s.shape = {}; }},
    {"no elements, wherever they are", none(), none(),
     [](setup& s) { s.to(framework::jax), s.shape = {0, 3}, s.strides = {-7, 5}, s.offset = 1; }},
    {"axes of one element with any stride", none(), none(),
     [](setup& s) { s.to(framework::jax), s.shape = {1, 3}, s.strides = {-7, 1}; }},
    {"a negative stride where there are some", none(), none(),
     [](setup& s) { s.to(framework::numpy), s.strides = {-3, 1}, s.offset = 64; }},
    {"read-only where that can be said", none(), none(),
     [](setup& s) { s.to(framework::numpy), s.read_only = true; }},
    {"read-only where nobody writes", none(), none(),
     [](setup& s) { s.to(framework::jax), s.read_only = true; }},
    {"broadcast where read-only can be said", none(), none(),
     [](setup& s) { s.to(framework::numpy), s.strides = {0, 1}; }},
    {"read-only shared on request", none(), none(),
     [](setup& s) {
       s.to(framework::torch), s.read_only = true, s.wanted.readonly = readonly_policy::share;
     }},
    {"requires_grad with detach", none(), none(),
     [](setup& s) { s.source.state.add(why::requires_grad), s.wanted.detach = true; }},
    {"detach for what needs none", none(), none(), [](setup& s) { s.wanted.detach = true; }},
    {"the dtype that it has", none(), none(), [](setup& s) { s.wanted.dtype = float32; }},
    {"the bits of a known type", none(), none(),
     [](setup& s) { s.to(framework::numpy), s.type = bfloat16, s.wanted.bits = true; }},
    {"the bits of a dense packed type", none(), none(),
     [](setup& s) {
       s.to(framework::numpy), s.type = float4, s.shape = {3, 4}, s.wanted.bits = true;
     }},
    {"a packed type for who knows it", none(), none(), [](setup& s) { s.type = float6; }},
    {"a packed type with strides for who knows it", none(), none(),
     [](setup& s) { s.type = float4, s.strides = {1, 4}; }},
    {"the device where it is", none(), none(), [](setup& s) { s.wanted.device = device(); }},
    {"a CUDA array for who holds CUDA", none(), none(),
     [](setup& s) {
       s.to(framework::cupy), s.where = device(kDLCUDA, 1), s.source.driver = {};
     }},
    {"a CUDA array for who carries its order, without a driver", none(), none(),
     [](setup& s) { s.to(framework::array), s.where = device(kDLCUDA, 1); }},
    {"a CUDA array for another, without a driver to order it", none(), reason_set(why::driver),
     [](setup& s) { s.to(framework::cupy), s.where = device(kDLCUDA, 1); }},
    {"pinned memory for who knows the host only", none(), none(),
     [](setup& s) { s.to(framework::numpy), s.where = device(kDLCUDAHost); }},
    {"pinned memory wanted on the CPU", none(), none(),
     [](setup& s) { s.where = device(kDLCUDAHost), s.wanted.device = device(); }},
    {"managed memory for who knows the host only", none(), none(),
     [](setup& s) {
       s.to(framework::numpy), s.where = device(kDLCUDAManaged), s.source.driver = {};
     }},
    {"managed memory wanted on a CUDA device", none(), none(),
     [](setup& s) {
       s.where = device(kDLCUDAManaged), s.wanted.device = device(kDLCUDA),
       s.source.driver = {};
     }},
    {"a handle for who holds it", none(), none(), [](setup& s) { s.where = device(kDLMetal); }},
    {"an address of a handle says nothing", none(), none(),
     [](setup& s) { s.where = device(kDLMetal), s.offset = 1, s.wanted.alignment = 64; }},
    {"an aligned address", none(), none(),
     [](setup& s) { s.to(framework::jax), s.wanted.alignment = 4096; }},
    {"a complex number at a multiple of its part", none(), none(),
     [](setup& s) { s.type = complex128, s.offset = 8; }},
    {"packed elements at any byte", none(), none(),
     [](setup& s) { s.type = float4, s.shape = {2, 2}, s.offset = 3; }},
    {"as many axes as there can be", none(), none(), [](setup& s) { s.shape = extents(64, 1); }},
    {"C order that it has", none(), none(), [](setup& s) { s.wanted.c_order = true; }},

    // What is copied, with each reason.
    {"a CUDA array for the host", are(why::device), none(),
     [](setup& s) {
       s.to(framework::numpy), s.where = device(kDLCUDA), s.source.driver = {};
     }},
    {"a host array wanted on a CUDA device", are(why::device), none(),
     [](setup& s) { s.wanted.device = device(kDLCUDA), s.source.driver = {}; }},
    {"a CUDA array wanted on another", are(why::device), none(),
     [](setup& s) {
       s.where = device(kDLCUDA), s.wanted.device = device(kDLCUDA, 1), s.source.driver = {};
     }},
    {"another dtype", are(why::dtype), none(), [](setup& s) { s.wanted.dtype = int8; }},
    {"float8 widened", are(why::dtype), none(),
     [](setup& s) { s.to(framework::numpy), s.type = float8, s.wanted.dtype = float32; }},
    {"the other byte order", are(why::byte_order), none(), state(why::byte_order)},
    {"the conjugate bit", are(why::conj), none(), state(why::conj)},
    {"the negative bit", are(why::neg), none(), state(why::neg)},
    {"a negative stride where there are none", are(why::negative_stride), none(),
     [](setup& s) { s.to(framework::torch), s.strides = {-3, 1}, s.offset = 64; }},
    {"a negative stride for who wants dense arrays", are(why::negative_stride), none(),
     [](setup& s) { s.to(framework::jax), s.strides = {-3, 1}, s.offset = 64; }},
    {"column-major for who wants dense arrays", are(why::layout), none(),
     [](setup& s) { s.to(framework::jax), s.strides = {1, 4}; }},
    {"strides in bytes", are(why::layout), none(),
     [](setup& s) { s.source.byte_strides = true, s.strides = {21, 5}; }},
    {"column-major and C order wanted", are(why::order), none(),
     [](setup& s) { s.strides = {1, 4}, s.wanted.c_order = true; }},
    {"an address between elements", are(why::alignment), none(), [](setup& s) { s.offset = 2; }},
    {"a complex number between its parts", are(why::alignment), none(),
     [](setup& s) { s.type = complex128, s.offset = 4; }},
    {"an address that the target cannot take", are(why::alignment), none(),
     [](setup& s) { s.to(framework::jax), s.offset = 32; }},
    {"an address below what is wanted", are(why::alignment), none(),
     [](setup& s) { s.offset = 128, s.wanted.alignment = 256; }},
    {"read-only where that cannot be said", are(why::readonly), none(),
     [](setup& s) { s.to(framework::torch), s.read_only = true; }},
    {"broadcast where read-only cannot be said", are(why::readonly), none(),
     [](setup& s) { s.to(framework::torch), s.strides = {0, 1}; }},
    {"overlapping windows where read-only cannot be said", are(why::readonly), none(),
     [](setup& s) { s.to(framework::torch), s.strides = {1, 1}; }},
    {"what the producer copied", are(why::framework), none(),
     [](setup& s) { s.source.is_copied = true; }},
    {"every reason at once",
     are(why::dtype, why::byte_order, why::conj, why::neg, why::negative_stride, why::order,
         why::alignment, why::readonly, why::framework),
     none(),
     [](setup& s) {
       s.to(framework::torch), s.strides = {-3, 1}, s.offset = 66, s.read_only = true;
       s.source.state = are(why::byte_order, why::conj, why::neg), s.source.is_copied = true;
       s.wanted.dtype = float64, s.wanted.c_order = true;
     }},
    {"an error policy with a copy that happens anyway", are(why::negative_stride), none(),
     [](setup& s) {
       s.to(framework::torch), s.strides = {-3, 1}, s.offset = 64, s.read_only = true;
       s.wanted.readonly = readonly_policy::error;
     }},

    // What is refused, with each blocker.
    {"requires_grad", none(), are(why::requires_grad), state(why::requires_grad)},
    {"sparse", none(), are(why::sparse), unreadable(why::sparse)},
    {"meta", none(), are(why::meta), unreadable(why::meta)},
    {"fake", none(), are(why::fake), unreadable(why::fake)},
    {"quantized", none(), are(why::quantized), unreadable(why::quantized)},
    {"subclass", none(), are(why::subclass), unreadable(why::subclass)},
    {"nested", none(), are(why::nested), unreadable(why::nested)},
    {"functional", none(), are(why::functional), unreadable(why::functional)},
    {"version", none(), are(why::version), unreadable(why::version)},
    {"capsule", none(), are(why::capsule), unreadable(why::capsule)},
    {"malformed", none(), are(why::malformed), unreadable(why::malformed)},
    {"producer", none(), are(why::producer), unreadable(why::producer)},
    {"capture", none(), are(why::capture), state(why::capture)},
    {"a stream of the source", none(), are(why::stream), state(why::stream)},
    {"a stream number that does not exist", none(), are(why::stream),
     [](setup& s) { s.wanted.refused_stream = 0; }},
    {"vector elements", none(), are(why::lanes),
     [](setup& s) { s.type = dtype(kDLFloat, 32, 4); }},
    {"an element type without a number", none(), are(why::dtype),
     [](setup& s) { s.type = DLDataType{42, 24, 1}; }},
    {"an integer of three bits", none(), are(why::dtype),
     [](setup& s) { s.type = dtype(kDLInt, 3); }},
    {"an element type that DLPack lacks", none(), are(why::dtype),
     [](setup& s) { s.source.has_dtype = false, s.source.dtype_name = "<M8[ns]"; }},
    {"an element type that the target lacks", none(), are(why::dtype),
     [](setup& s) { s.to(framework::numpy), s.type = bfloat16; }},
    {"a wanted type that the target lacks", are(why::dtype), are(why::dtype),
     [](setup& s) { s.to(framework::numpy), s.wanted.dtype = bfloat16; }},
    {"packed elements as numbers", none(), are(why::dtype),
     [](setup& s) { s.type = float4, s.wanted.dtype = float32; }},
    {"numbers as packed elements", none(), are(why::dtype),
     [](setup& s) { s.wanted.dtype = float4_x2; }},
    {"the bits of 128", none(), are(why::dtype),
     [](setup& s) { s.type = complex128, s.wanted.bits = true; }},
    {"the bits of a packed type whose rows end inside a byte", none(), are(why::layout),
     [](setup& s) { s.type = float4, s.shape = {4, 3}, s.wanted.bits = true; }},
    {"the bits of one packed element", none(), are(why::layout),
     [](setup& s) { s.type = float4, s.shape = {}, s.wanted.bits = true; }},
    {"the bits of a packed type with strides", none(), are(why::layout),
     [](setup& s) {
       s.type = float4, s.shape = {4, 4}, s.strides = {8, 1}, s.wanted.bits = true;
     }},
    {"a packed type with strides copied", are(why::copy_requested), are(why::layout),
     [](setup& s) {
       s.type = float4, s.strides = {1, 4}, s.wanted.copy = copy_policy::always;
     }},
    {"an unknown device", none(), are(why::device), [](setup& s) { s.source.has_device = false; }},
    {"a device that the target lacks", are(why::device), are(why::device),
     [](setup& s) {
       s.to(framework::numpy), s.wanted.device = device(kDLCUDA), s.source.driver = {};
     }},
    {"a device type without an adapter", are(why::device), are(why::device),
     [](setup& s) { s.to(framework::numpy), s.where = device(kDLROCM); }},
    {"a device type without a name", are(why::device), are(why::device),
     [](setup& s) { s.where = device(static_cast<DLDeviceType>(42)); }},
    {"a handle that would be copied", are(why::copy_requested), are(why::device),
     [](setup& s) { s.where = device(kDLMetal), s.wanted.copy = copy_policy::always; }},
    {"a handle wanted on the CPU", are(why::device), are(why::device),
     [](setup& s) { s.where = device(kDLVulkan), s.wanted.device = device(); }},
    {"a CUDA array for the host without a driver", are(why::device), are(why::driver),
     [](setup& s) { s.to(framework::numpy), s.where = device(kDLCUDA); }},
    {"a host array for CUDA without a driver", are(why::device), are(why::driver),
     [](setup& s) { s.wanted.device = device(kDLCUDA); }},
    {"a host array for pinned memory without a driver", are(why::device), are(why::driver),
     [](setup& s) { s.wanted.device = device(kDLCUDAHost); }},
    {"managed memory under another label without a driver", none(), are(why::driver),
     [](setup& s) { s.to(framework::numpy), s.where = device(kDLCUDAManaged); }},
    {"more axes than the target has", none(), are(why::layout),
     [](setup& s) { s.shape = extents(65, 1); }},
    {"more axes than a small target has", none(), are(why::layout),
     [](setup& s) { s.target.max_ndim = 1; }},
    {"read-only and an error policy", none(), are(why::readonly),
     [](setup& s) {
       s.to(framework::torch), s.read_only = true, s.wanted.readonly = readonly_policy::error;
     }},
    {"overlapping and an error policy", none(), are(why::readonly),
     [](setup& s) {
       s.to(framework::torch), s.strides = {0, 1}, s.wanted.readonly = readonly_policy::error;
     }},
    {"every blocker at once", are(why::device, why::alignment),
     are(why::requires_grad, why::stream, why::capture, why::dtype, why::driver, why::layout),
     [](setup& s) {
       s.to(framework::numpy), s.where = device(kDLCUDA), s.type = bfloat16, s.offset = 1;
       s.shape = extents(65, 1), s.wanted.refused_stream = -2;
       s.source.state = are(why::requires_grad, why::capture);
     }},
};

action expected_action(const row& r) {
  if (!r.blockers.empty()) return action::refuse;
  return r.reasons.empty() ? action::share : action::copy;
}

/// The same decision, field by field.
bool same(const decision& a, const decision& b) {
  return a.action == b.action && a.identity == b.identity && a.read_only == b.read_only &&
         a.copies_here == b.copies_here && a.keeps_bits == b.keeps_bits &&
         a.only_copy_forbidden == b.only_copy_forbidden && a.reasons == b.reasons &&
         a.blockers == b.blockers && a.dtype == b.dtype && a.device == b.device &&
         a.alignment == b.alignment && a.nbytes == b.nbytes;
}

}  // namespace

static_assert(std::is_trivially_destructible_v<decision>);
static_assert(std::is_trivially_copyable_v<description>);
static_assert(noexcept(negotiate(description{}, requirements{}, capabilities{})));

TEST_CASE("each case is decided with all its reasons and blockers", "[negotiation]") {
  for (const row& r : rows) {
    INFO(r.name);
    const decision d = changed(r.apply).decided();
    CHECK(d.action == expected_action(r));
    CHECK(d.reasons == r.reasons);
    CHECK(d.blockers == r.blockers);
    CHECK_FALSE(d.identity);
    CHECK_FALSE(d.only_copy_forbidden);
  }
}

TEST_CASE("copy=never turns reasons into blockers and nothing else", "[negotiation]") {
  for (const row& r : rows) {
    INFO(r.name);
    const setup s = changed(r.apply);
    if (s.wanted.copy != copy_policy::if_needed) continue;
    const decision d = s.decided(copy_policy::never);
    // Whoever mends the reasons for a copy meets readonly="error" next.
    const bool met_next = s.wanted.readonly == readonly_policy::error && s.read_only &&
                          !s.target.read_only && !s.target.immutable && !r.reasons.empty();
    CHECK(d.blockers ==
          (r.blockers | r.reasons | (met_next ? reason_set(why::readonly) : reason_set())));
    CHECK(d.reasons == r.reasons);
    CHECK(d.only_copy_forbidden == (expected_action(r) == action::copy));
    CHECK((d.action == action::share) == (expected_action(r) == action::share));
  }
}

TEST_CASE("every code is a reason or a blocker of some case", "[negotiation]") {
  reason_set seen(why::copy_requested);  // below
  for (const row& r : rows) seen = seen | r.reasons | r.blockers;
  for (int i = 0; i < reason_codes; ++i) {
    INFO(to_string(static_cast<why>(i)));
    CHECK(seen.contains(static_cast<why>(i)));
  }
}

TEST_CASE("copy=always copies a plain array for that reason alone", "[negotiation]") {
  setup s;
  s.wanted.copy = copy_policy::always;
  const decision d = s.decided();
  CHECK(d.action == action::copy);
  CHECK(d.reasons == are(why::copy_requested));
  CHECK(d.copies_here);
  CHECK(d.nbytes == 48);
  CHECK(d.alignment == default_alignment);
}

TEST_CASE("copy=always is writable, whatever the source may be", "[negotiation]") {
  setup s;
  s.wanted.copy = copy_policy::always;
  s.read_only = true;
  s.strides = {0, 1};
  s.source.is_copied = true;
  for (const framework id : {framework::cpp, framework::numpy, framework::torch}) {
    s.to(id);
    CHECK(s.decided().reasons == are(why::copy_requested));
    CHECK_FALSE(s.decided().read_only);
  }
  s.to(framework::jax);
  CHECK(s.decided().read_only);
}

TEST_CASE("what the producer copied is shared with its memory", "[negotiation]") {
  setup s;
  s.source.is_copied = true;
  const decision d = s.decided();
  CHECK(d.action == action::copy);
  CHECK_FALSE(d.copies_here);
  CHECK(d.nbytes == 48);
  s.wanted.dtype = float64;
  CHECK(s.decided().copies_here);
  CHECK(s.decided().reasons == are(why::dtype, why::framework));
}

// ---- Identity.

TEST_CASE("an array of the target is the result, whatever its state", "[negotiation]") {
  for (int i = 0; i < reason_codes; ++i) {
    for (const bool readable : {true, false}) {
      setup s;
      s.to(framework::torch);
      s.strides = {0, -1};
      s.read_only = true;
      s.source.same_framework = true;
      s.source.state.add(static_cast<why>(i));
      s.source.has_layout = s.source.has_dtype = s.source.has_device = readable;
      for (const copy_policy policy : {copy_policy::if_needed, copy_policy::never}) {
        const decision d = s.decided(policy);
        CHECK(d.identity);
        CHECK(d.action == action::share);
        CHECK(d.reasons.empty());
        CHECK(d.blockers.empty());
        CHECK(d.nbytes == 0);
      }
      CHECK_FALSE(s.decided(copy_policy::always).identity);
    }
  }
}

TEST_CASE("identity asks whether the array already is what was wanted", "[negotiation]") {
  struct identity_row {
    const char* name;
    bool identity;
    change apply;
  };
  const identity_row table[] = {
      {"its dtype", true, [](setup& s) { s.wanted.dtype = float32; }},
      {"another dtype", false, [](setup& s) { s.wanted.dtype = int32; }},
      {"its dtype in the other byte order", false,
       [](setup& s) { s.wanted.dtype = float32, s.source.state.add(why::byte_order); }},
      {"a dtype that DLPack lacks", false,
       [](setup& s) { s.wanted.dtype = float32, s.source.has_dtype = false; }},
      {"bits of bits", true, [](setup& s) { s.type = uint32, s.wanted.bits = true; }},
      {"bits of numbers", false, [](setup& s) { s.wanted.bits = true; }},
      {"bits in the other byte order", false,
       [](setup& s) {
         s.type = uint32, s.wanted.bits = true, s.source.state.add(why::byte_order);
       }},
      {"its device", true, [](setup& s) { s.wanted.device = device(); }},
      {"another device", false, [](setup& s) { s.wanted.device = device(kDLCUDA); }},
      {"an unknown device", false,
       [](setup& s) { s.wanted.device = device(), s.source.has_device = false; }},
      {"pinned memory that counts as the CPU's", true,
       [](setup& s) {
         s.to(framework::torch), s.where = device(kDLCUDAHost), s.wanted.device = device();
       }},
      {"C order that it has", true, [](setup& s) { s.wanted.c_order = true; }},
      {"C order that it has not", false,
       [](setup& s) { s.wanted.c_order = true, s.strides = {1, 4}; }},
      {"C order of what has no strides", false,
       [](setup& s) { s.wanted.c_order = true, s.source.has_layout = false; }},
      {"C order of what has no strides and says so", true,
       [](setup& s) {
         s.wanted.c_order = true, s.source.has_layout = false, s.source.says_contiguous = true;
       }},
      {"C order of strides against what it says", false,
       [](setup& s) {
         s.wanted.c_order = true, s.strides = {1, 4}, s.source.says_contiguous = true;
       }},
      {"an alignment of an address without strides", true,
       [](setup& s) { s.wanted.alignment = 64, s.source.has_layout = false; }},
      {"another alignment of an address without strides", false,
       [](setup& s) { s.wanted.alignment = 64, s.offset = 32, s.source.has_layout = false; }},
      {"an alignment that it has", true, [](setup& s) { s.wanted.alignment = 64; }},
      {"an alignment that it has not", false,
       [](setup& s) { s.wanted.alignment = 64, s.offset = 32; }},
      {"an alignment of no elements", true,
       [](setup& s) { s.wanted.alignment = 64, s.offset = 32, s.shape = {0}; }},
      {"a read-only policy", true,
       [](setup& s) { s.wanted.readonly = readonly_policy::error, s.read_only = true; }},
  };
  for (const identity_row& r : table) {
    INFO(r.name);
    setup s = changed(r.apply);
    s.source.same_framework = true;
    CHECK(s.decided().identity == r.identity);
    s.source.same_framework = false;
    CHECK_FALSE(s.decided().identity);
  }
}

// ---- What the decision says of the result.

TEST_CASE("the result has the dtype that was wanted", "[negotiation]") {
  CHECK(setup().decided().dtype == float32);
  CHECK(changed([](setup& s) { s.wanted.dtype = int8; }).decided().dtype == int8);
  const decision bits =
      changed([](setup& s) { s.type = bfloat16, s.wanted.bits = true; }).decided();
  CHECK(bits.dtype == uint16);
  CHECK(bits.keeps_bits);
  for (const dtype packed : {float4, float6, float4_x2}) {
    CHECK(changed([&](setup& s) { s.type = packed, s.shape = {4}, s.wanted.bits = true; })
              .decided()
              .dtype == uint8);
  }
}

TEST_CASE("memory is shown under a device that the target knows", "[negotiation]") {
  struct device_row {
    device from;
    device_set holds;
    device shown;
  };
  const device pinned(kDLCUDAHost), managed(kDLCUDAManaged), rocm_pinned(kDLROCMHost);
  const device_row table[] = {
      {device(), {kDLCPU}, device()},
      {pinned, {kDLCPU}, device()},
      {pinned, {kDLCPU, kDLCUDAHost}, pinned},
      {pinned, {kDLCPU, kDLCUDA}, device()},
      {rocm_pinned, {kDLCPU}, device()},
      {managed, {kDLCPU}, device()},
      {managed, {kDLCPU, kDLCUDA}, device(kDLCUDA)},
      {managed, {kDLCUDA, kDLCUDAManaged}, managed},
      {device(kDLCUDA, 3), {kDLCPU, kDLCUDA}, device(kDLCUDA, 3)},
      {device(kDLMetal, 1), {kDLMetal}, device(kDLMetal, 1)},
  };
  for (const device_row& r : table) {
    setup s;
    s.where = r.from;
    s.target.devices = r.holds;
    s.source.driver = {};
    INFO(r.from.name() << " as " << r.shown.name());
    CHECK(s.decided().action == action::share);
    CHECK(s.decided().device == r.shown);
  }
}

TEST_CASE("what the target cannot hold where it is goes where the target lives", "[negotiation]") {
  setup s;
  s.where = device(kDLCUDA, 1);
  s.to(framework::numpy);
  s.source.driver = {};
  CHECK(s.decided().device == device());
  // CuPy has no host arrays: there is no CPU to go to.
  s.where = device();
  s.to(framework::cupy);
  const decision d = s.decided();
  CHECK((d.action == action::refuse || d.device.type == kDLCUDA));
}

TEST_CASE("a shared array is read-only when its memory is or its elements overlap",
          "[negotiation]") {
  setup s;
  CHECK_FALSE(s.decided().read_only);
  s.strides = {0, 1};
  CHECK(s.decided().read_only);
  s.strides = {1, 1};
  CHECK(s.decided().read_only);
  s.strides = {};
  s.read_only = true;
  CHECK(s.decided().read_only);
  s.to(framework::numpy);
  CHECK(s.decided().read_only);
  s.to(framework::torch);
  CHECK_FALSE(s.decided().read_only);  // a copy
  s.wanted.readonly = readonly_policy::share;
  CHECK_FALSE(s.decided().read_only);
}

TEST_CASE("a result in a framework that never writes is read-only", "[negotiation]") {
  setup s;
  s.to(framework::jax);
  CHECK(s.decided().action == action::share);
  CHECK(s.decided().read_only);
  s.strides = {1, 4};
  CHECK(s.decided().action == action::copy);
  CHECK(s.decided().read_only);
}

TEST_CASE("a copy is as large as its elements and as aligned as anyone asks", "[negotiation]") {
  setup s;
  s.wanted.copy = copy_policy::always;
  s.strides = {24, 2};
  CHECK(s.decided().nbytes == 48);
  s.wanted.dtype = complex128;
  CHECK(s.decided().nbytes == 192);
  CHECK(s.decided().alignment == 64);
  s.wanted.alignment = 1024;
  CHECK(s.decided().alignment == 1024);
  s.wanted.alignment = 1;
  s.target.alignment = 256;
  CHECK(s.decided().alignment == 256);

  setup packed;
  packed.wanted.copy = copy_policy::always;
  packed.type = float4;
  packed.shape = {3, 3};
  CHECK(packed.decided().nbytes == 5);
  packed.shape = {2, 4};
  packed.wanted.bits = true;
  CHECK(packed.decided().nbytes == 4);
}

TEST_CASE("a copy whose bytes leave 63 bits is not promised", "[negotiation]") {
  // One byte shown 2^59 times: a valid array whose conversion is none.
  setup s;
  s.type = uint8;
  s.shape = {extent{1} << 59};
  s.strides = {0};
  s.wanted.dtype = complex128;
  const decision d = s.decided();
  CHECK((d.action == action::refuse || d.nbytes > 0));
}

TEST_CASE("nothing wanted keeps the form", "[negotiation]") {
  CHECK(requirements().keeps_form());
  CHECK(requirements{.copy = copy_policy::never, .detach = true}.keeps_form());
  CHECK_FALSE(requirements{.dtype = float32}.keeps_form());
  CHECK_FALSE(requirements{.bits = true}.keeps_form());
  CHECK_FALSE(requirements{.device = device()}.keeps_form());
  CHECK_FALSE(requirements{.c_order = true}.keeps_form());
  CHECK_FALSE(requirements{.alignment = 64}.keeps_form());
}

// ---- Properties.

namespace {

class random_setups {
 public:
  setup next() {
    setup s;
    s.shape.resize(below(5));
    for (extent& n : s.shape) n = pick<extent>({0, 1, 1, 2, 3, 4, 5});
    if (below(3) != 0) {
      s.strides.resize(s.shape.size());
      for (extent& stride : s.strides) stride = pick<extent>({-12, -3, -1, 0, 1, 2, 3, 4, 12, 20});
    }
    s.type = below(12) == 0 ? dtype(DLDataType{static_cast<std::uint8_t>(below(20)), 24, 3})
                            : any_dtype();
    s.where = any_device();
    s.offset = pick<std::size_t>({0, 0, 0, 1, 2, 4, 8, 32, 64, 128});
    s.read_only = below(4) == 0;
    source(s.source, !s.strides.empty());
    wanted(s.wanted);
    s.to(static_cast<framework>(below(frameworks)));
    if (below(8) == 0) s.target.max_ndim = 2;
    return s;
  }

 private:
  std::size_t below(std::size_t n) {
    return std::uniform_int_distribution<std::size_t>(0, n - 1)(random_);
  }
  bool one_in(std::size_t n) { return below(n) == 0; }
  template <class T>
  T pick(std::vector<T> values) {
    return values[below(values.size())];
  }
  dtype any_dtype() { return dtype_of(static_cast<dtype_id>(below(known_dtypes))); }
  device any_device() {
    const auto type = pick<int>({kDLCPU, kDLCPU, kDLCPU, kDLCUDA, kDLCUDAHost, kDLCUDAManaged,
                                 kDLROCM, kDLROCMHost, kDLMetal, kDLOneAPI, 42});
    const auto index = static_cast<std::int32_t>(type == kDLCUDA ? below(2) : 0);
    return device(static_cast<DLDeviceType>(type), index);
  }
  void source(description& d, bool has_strides) {
    if (one_in(2)) d.driver = {};
    d.is_copied = one_in(6);
    d.same_framework = one_in(4);
    d.byte_strides = has_strides && one_in(10);
    if (one_in(4)) d.state.add(static_cast<why>(below(reason_codes)));
    if (one_in(12)) d.has_dtype = false;
    if (one_in(12)) d.has_device = false;
    if (one_in(12)) {  // what cannot be read is never without a blocker
      d.has_layout = false;
      d.state.add(pick<why>({why::sparse, why::meta, why::malformed, why::capsule}));
    }
  }
  void wanted(requirements& r) {
    if (one_in(3)) r.dtype = any_dtype();
    r.bits = one_in(6);
    if (one_in(3)) r.device = any_device();
    r.copy = static_cast<copy_policy>(below(3));
    r.detach = one_in(2);
    r.readonly = static_cast<readonly_policy>(below(3));
    r.c_order = one_in(4);
    if (one_in(4)) r.alignment = pick<std::int64_t>({2, 64, 256});
    if (one_in(12)) r.refused_stream = 0;
  }

  std::mt19937 random_{20260121};
};

/// Checks a property of many random setups; shows the first one that has it not.
void check_everywhere(const std::function<bool(const setup&, const decision&)>& holds) {
  random_setups setups;
  for (int i = 0; i < 20'000; ++i) {
    const setup s = setups.next();
    const decision d = s.decided();
    if (holds(s, d)) continue;
    FAIL("setup " << i << ": " << summary(s.described()) << " to " << s.target.name << ", reasons "
                  << Catch::Detail::stringify(d.reasons) << ", blockers "
                  << Catch::Detail::stringify(d.blockers) << ", result on " << d.device.name()
                  << " as " << d.dtype.name());
  }
  SUCCEED();
}

}  // namespace

TEST_CASE("an exchange is refused if and only if something blocks it", "[negotiation][property]") {
  check_everywhere([](const setup&, const decision& d) {
    return (d.action == action::refuse) == !d.blockers.empty();
  });
}

TEST_CASE("an array is shared if and only if nothing speaks against it",
          "[negotiation][property]") {
  check_everywhere([](const setup&, const decision& d) {
    return (d.action == action::share) == (d.reasons.empty() && d.blockers.empty());
  });
}

TEST_CASE("the same question has the same answer", "[negotiation][property]") {
  check_everywhere([](const setup& s, const decision& d) { return same(d, s.decided()); });
}

TEST_CASE("bytes are written by copies only, as many as the result has",
          "[negotiation][property]") {
  check_everywhere([](const setup& s, const decision& d) {
    if (d.action != action::copy) return d.nbytes == 0 && !d.copies_here;
    const std::int64_t count = s.source.has_layout ? s.described().layout.size : 0;
    return d.nbytes == dense_bytes(count, s.type.is_packed() ? s.type : d.dtype);
  });
}

TEST_CASE("identity has no reasons, and no blockers but a stream that it cannot be ordered for",
          "[negotiation][property]") {
  check_everywhere([](const setup& s, const decision& d) {
    if (!d.identity) return true;
    const bool has_streams = s.source.has_device && !is_host_memory(s.where.type);
    const bool no_stream = has_streams && missing_stream(s.wanted, s.where.type).has_value();
    return d.blockers == (no_stream ? reason_set(why::stream) : reason_set()) &&
           (d.action == action::refuse) == no_stream && d.reasons.empty() &&
           s.source.same_framework && s.wanted.copy != copy_policy::always;
  });
}

TEST_CASE("only a forbidden copy is in the way if and only if copy=None works",
          "[negotiation][property]") {
  check_everywhere([](const setup& s, const decision& d) {
    const bool works = s.decided(copy_policy::if_needed).action != action::refuse;
    const bool refused = d.action == action::refuse && s.wanted.copy == copy_policy::never;
    return d.only_copy_forbidden == (refused && works);
  });
}

TEST_CASE("copy=always never shares", "[negotiation][property]") {
  check_everywhere([](const setup& s, const decision&) {
    const decision d = s.decided(copy_policy::always);
    return d.action == action::refuse ||
           (d.action == action::copy && d.copies_here && d.read_only == s.target.immutable);
  });
}

TEST_CASE("copy=never never copies", "[negotiation][property]") {
  check_everywhere([](const setup& s, const decision&) {
    return s.decided(copy_policy::never).action != action::copy;
  });
}

TEST_CASE("a copy starts at a power of two that serves everyone", "[negotiation][property]") {
  check_everywhere([](const setup& s, const decision& d) {
    return d.action != action::copy ||
           (std::has_single_bit(static_cast<std::uint64_t>(d.alignment)) &&
            d.alignment >= default_alignment && d.alignment >= s.wanted.alignment &&
            d.alignment >= s.target.alignment);
  });
}

TEST_CASE("the result is something that the target can hold", "[negotiation][property]") {
  check_everywhere([](const setup& s, const decision& d) {
    return d.action == action::refuse || d.identity ||
           (s.target.dtypes.contains(id_of(d.dtype)) && s.target.devices.contains(d.device.type) &&
            s.shape.size() <= static_cast<std::size_t>(s.target.max_ndim));
  });
}

TEST_CASE("the result is what was wanted", "[negotiation][property]") {
  check_everywhere([](const setup& s, const decision& d) {
    if (d.action == action::refuse || d.identity) return true;
    const dtype type = s.wanted.bits ? *bits_of(s.type) : s.wanted.dtype.value_or(s.type);
    return d.dtype == type && (!s.wanted.device || d.device == *s.wanted.device);
  });
}

TEST_CASE("read-only memory is never shared as writable unless the caller says so",
          "[negotiation][property]") {
  check_everywhere([](const setup& s, const decision& d) {
    if (d.action == action::refuse || d.identity || d.copies_here || !s.read_only) return true;
    return d.read_only || s.wanted.readonly == readonly_policy::share;
  });
}

TEST_CASE("a state that would be lost is shared with nobody", "[negotiation][property]") {
  constexpr reason_set states(why::conj, why::neg, why::byte_order);
  check_everywhere([](const setup& s, const decision& d) {
    return d.identity || d.action != action::share || (s.source.state & states).empty();
  });
}

TEST_CASE("every reason and blocker has a sentence that ends", "[negotiation][property]") {
  check_everywhere([](const setup& s, const decision& d) {
    const description source = s.described();
    bool fine = true;
    for (const reason& r : explain_all(d.reasons | d.blockers, source, s.wanted, s.target)) {
      const std::string& text = r.message;
      fine &= !text.empty() && text != "unknown" && text.find_last_of(" ;:,.") != text.size() - 1;
    }
    return fine;
  });
}

// ---- Words.

namespace {

struct words_row {
  why code;
  std::vector<const char*> words;
  change apply;
};

change unnamed(const char* dtype_name) {
  return [dtype_name](setup& s) { s.source.has_dtype = false, s.source.dtype_name = dtype_name; };
}

const words_row words[] = {
    {why::device,
     {"cuda:1", "cpu"},
     [](setup& s) { s.to(framework::numpy), s.where = device(kDLCUDA, 1); }},
    {why::device, {"cpu", "cuda:1"}, [](setup& s) { s.wanted.device = device(kDLCUDA, 1); }},
    {why::device,
     {"numpy", "cuda:0", "device="},
     [](setup& s) { s.to(framework::numpy), s.wanted.device = device(kDLCUDA); }},
    {why::device, {"rocm:2", "no adapter"}, [](setup& s) { s.where = device(kDLROCM, 2); }},
    {why::device,
     {"device(42):0", "no adapter"},
     [](setup& s) { s.where = device(static_cast<DLDeviceType>(42)); }},
    {why::device, {"not known"}, [](setup& s) { s.source.has_device = false; }},
    {why::dtype, {"float32", "int8", "dtype="}, [](setup& s) { s.wanted.dtype = int8; }},
    {why::dtype, {"datetime64[ns]", "x.view(\"int64\")"}, unnamed("datetime64[ns]")},
    {why::dtype, {"timedelta64[s]", "x.view(\"int64\")"}, unnamed("timedelta64[s]")},
    {why::dtype, {"object", "probably ragged"}, unnamed("object")},
    {why::dtype, {"structured [('a', '<i4')]", "fields"}, unnamed("structured [('a', '<i4')]")},
    {why::dtype, {"float128", "astype(\"float64\")"}, unnamed("float128")},
    {why::dtype, {"torch.bits8", "x.view("}, unnamed("torch.bits8")},
    {why::dtype, {"str", "numeric"}, unnamed("str")},
    {why::dtype,
     {"code=42", "bits=24", "lanes=1"},
     [](setup& s) { s.type = DLDataType{42, 24, 1}; }},
    {why::dtype, {"code=0", "bits=3"}, [](setup& s) { s.type = dtype(kDLInt, 3); }},
    {why::dtype,
     {"numpy", "bfloat16", "ml_dtypes", "dtype=\"bits\"", "dtype=\"float32\""},
     [](setup& s) { s.to(framework::numpy), s.type = bfloat16; }},
    {why::dtype,
     {"numpy", "float8_e4m3fn", "ml_dtypes", "dtype=\"bits\"", "dtype=\"float32\""},
     [](setup& s) { s.to(framework::numpy), s.type = float8; }},
    {why::dtype,
     {"numpy", "float4_e2m1fn", "dtype=\"bits\""},
     [](setup& s) { s.to(framework::numpy), s.type = float4, s.shape = {3, 4}; }},
    {why::dtype,
     {"numpy", "float4_e2m1fn", "convert it in the producer"},
     [](setup& s) { s.to(framework::numpy), s.type = float4; }},
    {why::dtype,
     {"numpy", "complex32", "dtype=\"complex64\""},
     [](setup& s) { s.to(framework::numpy), s.type = complex32; }},
    {why::dtype,
     {"uint16", "lossless", "dtype=\"int32\""},
     [](setup& s) {
       s.type = uint16, s.target.dtypes = dtype_set(dtype_id::int16, dtype_id::int32);
     }},
    {why::dtype,
     {"complex128", "bits"},
     [](setup& s) { s.type = complex128, s.wanted.bits = true; }},
    {why::dtype,
     {"float4_e2m1fn", "unpacked by guess"},
     [](setup& s) { s.type = float4, s.wanted.dtype = float32; }},
    {why::byte_order, {"byte order"}, state(why::byte_order)},
    {why::negative_stride,
     {"torch", "axis 1"},
     [](setup& s) { s.to(framework::torch), s.strides = {3, -1}; }},
    {why::negative_stride,
     {"jax", "axes 0, 1"},
     [](setup& s) { s.to(framework::jax), s.strides = {-3, -1}; }},
    {why::layout, {"jax", "dense"}, [](setup& s) { s.to(framework::jax), s.strides = {1, 4}; }},
    {why::layout,
     {"(21, 5)", "bytes", "itemsize 4"},
     [](setup& s) { s.source.byte_strides = true, s.strides = {21, 5}; }},
    {why::layout, {"64", "65", "axes", "reshape"}, [](setup& s) { s.shape = extents(65, 1); }},
    {why::layout,
     {"float4_e2m1fn", "contiguous"},
     [](setup& s) { s.type = float4, s.wanted.bits = true, s.shape = {4, 4}, s.strides = {1, 4}; }},
    {why::layout,
     {"float4_e2m1fn", "pad it"},
     [](setup& s) { s.type = float4, s.wanted.bits = true; }},
    {why::order, {"order=\"C\"", "C-contiguous"}, [](setup& s) { s.strides = {1, 4}; }},
    {why::alignment, {"64 bytes"}, [](setup& s) { s.to(framework::jax), s.offset = 4; }},
    {why::alignment, {"256 bytes"}, [](setup& s) { s.wanted.alignment = 256, s.offset = 64; }},
    {why::alignment, {"8 bytes"}, [](setup& s) { s.type = complex128, s.offset = 4; }},
    {why::alignment, {" 4 bytes"}, [](setup& s) { s.type = complex64, s.offset = 2; }},
    {why::alignment,
     {" 8 bytes"},
     [](setup& s) { s.type = complex64, s.wanted.bits = true, s.offset = 4; }},
    {why::readonly,
     {"read-only", "torch", "readonly=\"share\""},
     [](setup& s) { s.to(framework::torch), s.read_only = true; }},
    {why::readonly,
     {"overlap", "torch", "readonly=\"share\""},
     [](setup& s) { s.to(framework::torch), s.strides = {0, 1}; }},
    {why::readonly,
     {"read-only", "readonly=\"copy\"", "readonly=\"share\""},
     [](setup& s) {
       s.to(framework::torch), s.read_only = true, s.wanted.readonly = readonly_policy::error;
     }},
    {why::copy_requested, {"copy=True"}, [](setup&) {}},
    {why::requires_grad, {"requires_grad", "detach=True"}, state(why::requires_grad)},
    {why::conj, {"conjugate bit"}, state(why::conj)},
    {why::neg, {"negative bit"}, state(why::neg)},
    {why::sparse, {"sparse", "to_dense()"}, unreadable(why::sparse)},
    {why::meta, {"meta tensor", "no data"}, unreadable(why::meta)},
    {why::fake, {"fake tensor"}, unreadable(why::fake)},
    {why::quantized, {"quantized", "int_repr()", "dequantize()"}, unreadable(why::quantized)},
    {why::subclass, {"subclass", "a mask"}, [](setup& s) { s.source.note = "a mask"; }},
    {why::lanes,
     {"code=2", "bits=32", "lanes=4"},
     [](setup& s) { s.type = dtype(kDLFloat, 32, 4); }},
    {why::version, {"version", "2.7"}, [](setup& s) { s.source.note = "2.7"; }},
    {why::capsule, {"capsule", "used_dltensor"}, [](setup& s) { s.source.note = "used_dltensor"; }},
    {why::malformed, {"malformed", "ndim"}, [](setup& s) { s.source.note = "ndim is negative"; }},
    {why::nested, {"nested", "ragged"}, unreadable(why::nested)},
    {why::functional, {"functional"}, unreadable(why::functional)},
    {why::framework, {"producer", "copy"}, [](setup& s) { s.source.is_copied = true; }},
    {why::stream,
     {"stream -2", "legacy default", "per-thread default"},
     [](setup& s) {
       s.to(framework::torch), s.where = device(kDLCUDA), s.wanted.refused_stream = -2;
     }},
    {why::stream,
     {"beyond 64 bits"},
     [](setup& s) { s.to(framework::torch), s.wanted.refused_stream = INT64_MAX; }},
    {why::stream,
     {"cpu", "no stream", "stream=None"},
     [](setup& s) { s.wanted.refused_stream = -2; }},
    {why::stream, {"stream", "dead"}, [](setup& s) { s.source.note = "dead"; }},
    {why::capture, {"capture", "global"}, [](setup& s) { s.source.note = "global"; }},
    {why::driver, {"driver", "CPU"}, [](setup&) {}},
    {why::producer, {"producer", "BufferError"}, [](setup& s) { s.source.note = "BufferError"; }},
};

}  // namespace

TEST_CASE("each sentence names what it is about and the remedy", "[negotiation][text]") {
  reason_set seen;
  for (const words_row& r : words) {
    const std::string text = changed(r.apply).said(r.code);
    seen.add(r.code);
    INFO(to_string(r.code));
    INFO(text);
    for (const char* word : r.words) {
      INFO("expected: " << word);
      CHECK(text.find(word) != std::string::npos);
    }
  }
  CHECK(seen.size() == reason_codes);
}

TEST_CASE("a number that would become packed is not called packed", "[negotiation][text]") {
  for (const dtype packed : {float4, float6, float4_x2}) {
    const setup s = changed([&](setup& made) { made.wanted.dtype = packed; });
    const std::string text = s.said(why::dtype);
    INFO(text);
    CHECK(text.find("float32 is packed") == std::string::npos);
    CHECK(text.find("packed into " + packed.name()) != std::string::npos);
    CHECK(text.find("leave dtype= out to share") == std::string::npos);
  }
}

TEST_CASE("a type for which there is no remedy is refused in whole sentences",
          "[negotiation][text]") {
  setup s;
  s.type = complex128;
  s.target.dtypes = dtype_set(dtype_id::float32);
  const std::string text = s.said(why::dtype);
  INFO(text);
  CHECK(text.find("complex128") != std::string::npos);
  CHECK(text.back() != ' ');
}

TEST_CASE("a forbidden copy names copy=None where that helps, and only there",
          "[negotiation][text]") {
  const auto offers_copy = [](const change& apply, why code) {
    setup s = changed(apply);
    s.wanted.copy = copy_policy::never;
    for (const reason& r : explain_all(reason_set(code), s.described(), s.wanted, s.target)) {
      return r.message.ends_with("; pass copy=None to copy");
    }
    return false;
  };
  for (const row& r : rows) {
    if (changed(r.apply).wanted.copy == copy_policy::always) continue;
    INFO(r.name);
    (r.reasons | r.blockers).for_each([&](why code) {
      INFO(to_string(code));
      CHECK(offers_copy(r.apply, code) == !r.blockers.contains(code));
    });
  }
}

TEST_CASE("reasons come in the order of their codes", "[negotiation][text]") {
  const setup s;
  const std::vector<reason> all =
      explain_all(reason_set(why::neg, why::dtype, why::conj), s.described(), s.wanted, s.target);
  REQUIRE(all.size() == 3);
  CHECK(all[0].code == why::dtype);
  CHECK(all[1].code == why::conj);
  CHECK(all[2].code == why::neg);
  CHECK(all[1].message == s.said(why::conj));
}

TEST_CASE("a summary tells device, dtype, shape and strides", "[negotiation][text]") {
  setup s;
  CHECK(summary(s.described()) == "device cpu, dtype float32, shape (4, 3), strides (3, 1)");
  s.strides = {-3, 1};
  s.where = device(kDLCUDA, 1);
  CHECK(summary(s.described()) == "device cuda:1, dtype float32, shape (4, 3), strides (-3, 1)");
  s.shape = {7};
  s.strides = {5};
  s.source.byte_strides = true;
  CHECK(summary(s.described()) ==
        "device cuda:1, dtype float32, shape (7,), strides in bytes (5,)");
  s.shape = {};
  s.strides = {};
  s.source.byte_strides = false;
  CHECK(summary(s.described()) == "device cuda:1, dtype float32, shape (), strides ()");
}

TEST_CASE("a summary leaves out what is not known", "[negotiation][text]") {
  setup s;
  s.source.has_device = false;
  s.source.has_layout = false;
  s.source.has_dtype = false;
  s.source.dtype_name = "object";
  CHECK(summary(s.described()) == "dtype object, shape (4, 3)");
  description unknown;
  unknown.has_device = unknown.has_layout = unknown.has_dtype = false;
  CHECK(summary(unknown) == "nothing is known of it");
}

TEST_CASE("a refusal names the source, the target and every blocker", "[negotiation][text]") {
  setup s;
  s.to(framework::numpy);
  s.where = device(kDLCUDA);
  s.type = bfloat16;
  s.source.state.add(why::requires_grad);
  const decision d = s.decided();
  const std::vector<reason> blockers = explain_all(d.blockers, s.described(), s.wanted, s.target);
  const std::string text = refusal_text(blockers, s.described(), s.target);
  INFO(text);
  CHECK(text.find(summary(s.described())) != std::string::npos);
  CHECK(text.find("numpy") != std::string::npos);
  REQUIRE(d.blockers == are(why::dtype, why::requires_grad, why::driver));
  for (const reason& r : blockers) {
    CHECK(text.find("\n  - " + std::string(to_string(r.code)) + ": " + r.message) !=
          std::string::npos);
  }
}

TEST_CASE("a stream is missing where the device has none of that number", "[negotiation][stream]") {
  const auto missing = [](DLDeviceType where, std::int64_t number) {
    requirements r;
    if (const auto read = stream_handle::from_protocol(kDLCUDA, number)) r.stream = *read;
    else r.refused_stream = number;
    return missing_stream(r, where);
  };
  CHECK_FALSE(missing_stream({}, kDLMetal));
  for (const DLDeviceType where : {kDLCUDA, kDLCUDAManaged, kDLCPU, kDLCUDAHost}) {
    for (const std::int64_t number : {-1, 1, 2, 77}) CHECK_FALSE(missing(where, number));
    for (const std::int64_t number : {-2, 0}) CHECK(missing(where, number) == number);
  }
  for (const std::int64_t number : {-1, 0, 77}) CHECK_FALSE(missing(kDLROCM, number));
  for (const std::int64_t number : {-2, 1, 2}) CHECK(missing(kDLROCM, number) == number);
  CHECK(missing_stream({.refused_stream = INT64_MAX}, kDLROCM) == INT64_MAX);
  CHECK_FALSE(missing(kDLMetal, -1));
  for (const std::int64_t number : {0, 1, 2, 77}) CHECK(missing(kDLOneAPI, number) == number);
}
