// Functions that do nothing but take an array, and the requests with which a program tells callgrind
// what to count. Outside of valgrind the requests do nothing.

#include <valgrind/callgrind.h>

#include <dlpack_bridge/adapters/pybind11.hpp>

namespace py = pybind11;
using dlpack_bridge::array;
using dlpack_bridge::c_contiguous;

namespace {

// A loop that the compiler can neither drop nor shorten.
void spend(int rounds) {
  for (int i = 0; i < rounds; ++i) asm volatile("" ::: "memory");
}

}  // namespace

PYBIND11_MODULE(call_lab, m) {
  m.def("nothing", [](py::handle) {});
  m.def("take", [](array<float, 1>) {});
  m.def("take_const", [](array<const float, 1>) {});
  m.def("take_dynamic", [](array<const float>) {});
  m.def("take_dense", [](array<float, 2, c_contiguous>) {});
  m.def("spend", spend);

  m.def("begin", [] {
    CALLGRIND_START_INSTRUMENTATION;
    CALLGRIND_ZERO_STATS;
  });
  // Writes what was counted since `begin`, under a name.
  m.def("end", [](const char* name) {
    CALLGRIND_DUMP_STATS_AT(name);
    CALLGRIND_STOP_INSTRUMENTATION;
  });
}
