#include <algorithm>
#include <bit>
#include <functional>
#include <random>
#include <type_traits>
#include <vector>

#include <catch2/catch_test_macros.hpp>

#include "negotiation_rows.hpp"
#include "printing.hpp"

using namespace negotiation_setup;

namespace {

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
    d.driver_fails = one_in(8);
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
    r.readonly = static_cast<readonly_policy>(below(3));
    if (one_in(3)) return;  // nothing in particular
    if (one_in(3)) r.dtype = any_dtype();
    r.bits = one_in(6);
    if (one_in(3)) r.device = any_device();
    r.copy = static_cast<copy_policy>(below(3));
    r.detach = one_in(2);
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

TEST_CASE("what is shared at sight is decided alike by a closer look", "[negotiation][property]") {
  // Each ingredient by itself makes the difference somewhere.
  const std::vector<void (*)(setup& plain, const setup& other)> ingredients = {
      [](setup& s, const setup& o) { s.shape = o.shape, s.strides = o.strides; },
      [](setup& s, const setup& o) { s.type = o.type; },
      [](setup& s, const setup& o) { s.where = o.where; },
      [](setup& s, const setup& o) { s.offset = o.offset; },
      [](setup& s, const setup& o) { s.read_only = o.read_only; },
      [](setup& s, const setup& o) { s.source = o.source; },
      [](setup& s, const setup& o) { s.source.state = o.source.state; },
      [](setup& s, const setup& o) { s.wanted = o.wanted; },
      [](setup& s, const setup& o) { s.target = o.target; },
  };
  random_setups setups;
  int at_sight = 0, closer = 0;
  for (int i = 0; i < 20'000; ++i) {
    const setup other = setups.next();
    for (const auto& mix : ingredients) {
      setup s;
      s.source.driver = no_driver;
      mix(s, other);
      if (i % 2 == 0) s.target = other.target;
      if (i % 4 == 0) s.target.immutable = false;
      const description d = s.described();
      const bool seen = is_shared_at_sight(d, s.wanted, s.target);
      const decision judged = detail::judge(d, s.wanted, s.target);
      if (s.decided() != judged || (seen && judged.action != action::share)) {
        FAIL("setup " << i << ": " << summary(d) << " to " << s.target.name);
      }
      (seen ? at_sight : closer) += 1;
    }
  }
  CHECK(at_sight > 20'000);
  CHECK(closer > 20'000);
}

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

// ---- Streams.

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
