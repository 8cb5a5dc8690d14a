// stats and what belongs to the life of arrays: shares_memory, record_stream, collect.

#include <cstdint>
#include <optional>
#include <string>

#include "reports.hpp"
#include <dlpack_bridge/counters.hpp>
#include <dlpack_bridge/python/errors.hpp>
#include <dlpack_bridge/python/inspect.hpp>
#include <dlpack_bridge/python/keywords.hpp>
#include <dlpack_bridge/python/release.hpp>

namespace py = pybind11;
namespace hub = dlpack_bridge::python;

namespace dlpack_bridge::bindings {
namespace {

struct stats {
  std::int64_t live_arrays, pending_releases, copies, copied_bytes, leaked;
};

stats make_stats() {
  const counters& c = active_counters();
  return {c.live.load(), c.pending_releases.load(), c.copies.load(), c.copied_bytes.load(),
          c.leaked.load()};
}

std::string stats_text(const stats& s) {
  return "live_arrays=" + std::to_string(s.live_arrays) +
         ", pending_releases=" + std::to_string(s.pending_releases) +
         ", copies=" + std::to_string(s.copies) +
         ", copied_bytes=" + std::to_string(s.copied_bytes) +
         ", leaked=" + std::to_string(s.leaked);
}

bool shares_memory(const py::object& a, const py::object& b) {
  const std::optional<bool> answer = hub::objects_share_memory(a.ptr(), b.ptr());
  if (!answer) throw py::error_already_set();
  return *answer;
}

void record_stream(const py::object& x, const py::object& stream) {
  const std::optional<bool> on_host = hub::lives_on_host(x.ptr());
  if (!on_host) throw py::error_already_set();
  if (*on_host) {
    throw py::value_error("record_stream is for device memory; work on host memory has no stream");
  }
  requirements read;
  PyObject* value = stream.ptr();
  const py::tuple name = py::make_tuple("stream");
  if (!hub::read_keywords("record_stream", &value, name.ptr(),
                          hub::keyword_set(hub::keyword::stream), read)) {
    throw py::error_already_set();
  }
  hub::raise_no_driver("a use on a stream cannot be recorded without a CUDA driver", {});
  throw py::error_already_set();
}

// Nothing waits for a stream without a CUDA backend: only releases that waited for the GIL are left.
std::int64_t collect(bool) { return hub::drain_late_releases(); }

}  // namespace

void add_stats(py::module_& m) {
  py::class_<stats>(m, "Stats", "What the hub counts in this process.")
      .def_readonly("live_arrays", &stats::live_arrays, "Managed tensors not yet released.")
      .def_readonly("pending_releases", &stats::pending_releases, "Dropped, waiting.")
      .def_readonly("copies", &stats::copies, "Copies made so far.")
      .def_readonly("copied_bytes", &stats::copied_bytes, "Bytes written by them.")
      .def_readonly("leaked", &stats::leaked, "Owners given up.")
      .def("__str__", stats_text)
      .def("__repr__",
           [](const stats& s) { return "<dlpack_bridge.Stats " + stats_text(s) + ">"; });
  m.def("stats", make_stats, "stats()\n--\n\nThe counters of this process.");
  m.def(
      "shares_memory", shares_memory, py::arg("a"), py::arg("b"), py::pos_only(),
      "shares_memory(a, b, /)\n--\n\nWhether two arrays have a byte in common. Errors: NotAnArrayError, ExchangeError, "
      "ValueError when a bounded search cannot tell.");
  m.def(
      "record_stream", record_stream, py::arg("x"), py::arg("stream"),
      "record_stream(x, stream)\n--\n\nDeclares a use of x on a stream that the hub cannot see. Errors: ValueError for host "
      "memory, CudaError.");
  m.def(
      "collect", collect, py::arg("wait") = false,
      "collect(wait=False)\n--\n\nRuns releases that are due; returns how many owners it released.");
  m.def("_is_array", [](const py::object& x) { return hub::is_array(x.ptr()); });
}

}  // namespace dlpack_bridge::bindings
