#include <string>
#include <vector>

#include <catch2/catch_test_macros.hpp>

#include "negotiation_rows.hpp"
#include "printing.hpp"
#include <dlpack_bridge/negotiation_text.hpp>

using namespace negotiation_setup;

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
    {why::driver,
     {"cuda:1 cannot be used"},
     [](setup& s) { s.where = device(kDLCUDA, 1), s.wanted.device = device(kDLMetal); }},
    {why::producer, {"producer", "BufferError"}, [](setup& s) { s.source.note = "BufferError"; }},
};

}  // namespace

TEST_CASE("each sentence names what it is about and the remedy", "[negotiation_text]") {
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

TEST_CASE("a number that would become packed is not called packed", "[negotiation_text]") {
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
          "[negotiation_text]") {
  setup s;
  s.type = complex128;
  s.target.dtypes = dtype_set(dtype_id::float32);
  const std::string text = s.said(why::dtype);
  INFO(text);
  CHECK(text.find("complex128") != std::string::npos);
  CHECK(text.back() != ' ');
}

TEST_CASE("a forbidden copy names copy=None where that helps, and only there",
          "[negotiation_text]") {
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

TEST_CASE("reasons come in the order of their codes", "[negotiation_text]") {
  const setup s;
  const std::vector<reason> all =
      explain_all(reason_set(why::neg, why::dtype, why::conj), s.described(), s.wanted, s.target);
  REQUIRE(all.size() == 3);
  CHECK(all[0].code == why::dtype);
  CHECK(all[1].code == why::conj);
  CHECK(all[2].code == why::neg);
  CHECK(all[1].message == s.said(why::conj));
}

TEST_CASE("a summary tells device, dtype, shape and strides", "[negotiation_text]") {
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

TEST_CASE("a summary leaves out what is not known", "[negotiation_text]") {
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

TEST_CASE("a refusal names the source, the target and every blocker", "[negotiation_text]") {
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

TEST_CASE("a tuple is written as Python does, and what may be any is a star",
          "[negotiation_text]") {
  CHECK(tuple_text({}) == "()");
  CHECK(tuple_text(extents{3}) == "(3,)");
  CHECK(tuple_text(extents{3, -1}) == "(3, -1)");
  CHECK(tuple_text(extents{3, -1}, -1) == "(3, *)");
}
