#include <set>
#include <string>

#include <catch2/catch_test_macros.hpp>

#include <dlpack_bridge/dtype.hpp>

using namespace dlpack_bridge;

namespace {

dtype_id id_at(int i) { return static_cast<dtype_id>(i); }

template <class Check>
void for_each_known(Check check) {
  for (int i = 0; i < known_dtypes; ++i) check(id_at(i));
}

}  // namespace

TEST_CASE("every known element type has a name that leads back to it", "[dtype]") {
  std::set<std::string> names;
  for_each_known([&](dtype_id id) {
    const dtype type = dtype_of(id);
    CHECK(id_of(type) == id);
    CHECK(dtype::from_name(type.name()) == type);
    names.insert(type.name());
  });
  CHECK(names.size() == known_dtypes);
}

TEST_CASE("names are those of NumPy, ml_dtypes and torch", "[dtype]") {
  CHECK(boolean.name() == "bool");
  CHECK(uint8.name() == "uint8");
  CHECK(float32.name() == "float32");
  CHECK(bfloat16.name() == "bfloat16");
  CHECK(complex64.name() == "complex64");
  CHECK(dtype(kDLFloat8_e4m3fn, 8).name() == "float8_e4m3fn");
  CHECK(dtype(kDLFloat8_e8m0fnu, 8).name() == "float8_e8m0fnu");
  CHECK(dtype(kDLFloat4_e2m1fn, 4, 2).name() == "float4_e2m1fn_x2");
}

TEST_CASE("an unknown element type is named by its numbers", "[dtype]") {
  CHECK(dtype(kDLFloat, 24).name() == "dtype(code=2, bits=24, lanes=1)");
  CHECK(dtype(kDLFloat, 32, 4).name() == "dtype(code=2, bits=32, lanes=4)");
}

TEST_CASE("a text that names no type gives none", "[dtype]") {
  for (const char* text :
       {"", "float", "Float32", "float32 ", "int128", "dtype(code=2, bits=24, lanes=1)"}) {
    CHECK_FALSE(dtype::from_name(text));
  }
}

TEST_CASE("only the exact combination of code, bits and lanes is known", "[dtype]") {
  int known = 0;
  for (int code = 0; code < 256; ++code) {
    for (int bits = 0; bits < 256; ++bits) {
      for (const int lanes : {0, 1, 2, 4, 65535}) {
        const dtype type(static_cast<DLDataTypeCode>(code), bits, lanes);
        const dtype_id id = id_of(type);
        if (id == dtype_id::unknown) continue;
        CHECK(dtype_of(id) == type);
        ++known;
      }
    }
  }
  CHECK(known == known_dtypes);
}

TEST_CASE("a dtype keeps what DLPack says", "[dtype]") {
  const DLDataType raw{200, 7, 65535};
  const DLDataType back = dtype(raw);
  CHECK(back.code == 200);
  CHECK(back.bits == 7);
  CHECK(back.lanes == 65535);
  CHECK(dtype() == float32);
}

TEST_CASE("an element takes the bytes of all its lanes", "[dtype]") {
  CHECK(float32.itemsize() == 4);
  CHECK(complex128.itemsize() == 16);
  CHECK(dtype(kDLFloat, 32, 4).itemsize() == 16);
  CHECK(dtype(kDLUInt, 255, 65535).element_bits() == 255LL * 65535);
}

TEST_CASE("an element that shares its byte is packed", "[dtype]") {
  CHECK(dtype(kDLFloat4_e2m1fn, 4).is_packed());
  CHECK(dtype(kDLFloat6_e2m3fn, 6).is_packed());
  CHECK_FALSE(dtype(kDLFloat4_e2m1fn, 4, 2).is_packed());
  CHECK_FALSE(boolean.is_packed());
  CHECK(dtype(kDLFloat4_e2m1fn, 4).itemsize() == 1);
}

TEST_CASE("a complex number aligns like its real part, a packed element like a byte", "[dtype]") {
  CHECK(alignment_of(float64) == 8);
  CHECK(alignment_of(complex128) == 8);
  CHECK(alignment_of(complex32) == 2);
  CHECK(alignment_of(boolean) == 1);
  CHECK(alignment_of(dtype(kDLFloat6_e3m2fn, 6)) == 1);
  CHECK(alignment_of(dtype(kDLFloat, 32, 4)) == 1);
}

TEST_CASE("the bits of an element are an unsigned integer of its width", "[dtype]") {
  CHECK(bits_of(float32) == uint32);
  CHECK(bits_of(bfloat16) == uint16);
  CHECK(bits_of(complex64) == uint64);
  CHECK(bits_of(boolean) == uint8);
  CHECK(bits_of(dtype(kDLFloat4_e2m1fn, 4, 2)) == uint8);
  CHECK(bits_of(dtype(kDLFloat6_e2m3fn, 6)) == uint8);
  CHECK_FALSE(bits_of(complex128));
  CHECK_FALSE(bits_of(dtype(kDLFloat, 32, 4)));
}

TEST_CASE("the sets of element types hold what their names say", "[dtype]") {
  for_each_known([](dtype_id id) {
    const dtype type = dtype_of(id);
    const bool float8 =
        type.bits == 8 && type.code >= kDLFloat8_e3m4 && type.code <= kDLFloat8_e8m0fnu;
    CHECK(float8_dtypes.contains(id) == float8);
    CHECK(complex_dtypes.contains(id) == (type.code == kDLComplex));
    const bool packed = type.code >= kDLFloat6_e2m3fn;
    CHECK(packed_dtypes.contains(id) == packed);
    CHECK(convertible_dtypes.contains(id) == !packed);
  });
}

TEST_CASE("sets of element types can be united and reduced", "[dtype]") {
  const dtype_set some(dtype_id::int8, dtype_id::float32);
  const dtype_set more = some.with(dtype_set(dtype_id::boolean));
  CHECK(more.contains(dtype_id::boolean));
  CHECK(more.contains(dtype_id::int8));
  CHECK_FALSE(more.contains(dtype_id::int16));
  CHECK(more.without(dtype_set(dtype_id::boolean)) == some);
  CHECK_FALSE(some.without(some).contains(dtype_id::int8));
  CHECK(dtype_set().with(some) == some);
}
