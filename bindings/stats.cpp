// stats and what belongs to the life of arrays: shares_memory, record_stream, collect.

#include <cstdint>
#include <optional>
#include <string>

#include "report_type.hpp"
#include "reports.hpp"
#include <dlpack_bridge/counters.hpp>
#include <dlpack_bridge/python/inspect.hpp>
#include <dlpack_bridge/python/stream_use.hpp>

namespace py = pybind11;
namespace hub = dlpack_bridge::python;

namespace dlpack_bridge::bindings {
namespace {

struct stats {
  std::int64_t live_arrays, pending_releases, copies, copied_bytes, leaked;
};

stats make_stats() {
  const counters& c = active_counters();
  return {live_managed_tensors(), c.pending_releases.load(), copies_made(), bytes_copied(),
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
  if (!hub::record_use(x.ptr(), stream.ptr())) throw py::error_already_set();
}

std::int64_t collect(bool wait) {
  const std::int64_t released = hub::collect(wait);
  if (released < 0) throw py::error_already_set();
  return released;
}

}  // namespace

void add_stats(py::module_& m) {
  py::class_<stats> type(m, "Stats", "What the hub counts in this process.");
  only_made_here(type);
  type.def_readonly("live_arrays", &stats::live_arrays, "Managed tensors not yet released.")
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
      "record_stream(x, stream)\n--\n\n"
      "Declares a use of x, an Array or another result of the hub in device memory, on a stream that "
      "the hub cannot see:\nthe memory goes back to its producer only after the work that is on the "
      "stream by then. The stream object is kept\nuntil that. Does not synchronize.\n\n"
      "Errors: ValueError for host memory and for arrays that the hub did not hand out, ExchangeError "
      "for numbers that are no\nstream, CudaError.");
  m.def("collect", collect, py::arg("wait") = false,
        "collect(wait=False)\n--\n\n"
        "Runs releases that are due; returns how many owners it released. With wait=True blocks, "
        "without the GIL, until all are.");
  m.def("_is_array", [](const py::object& x) { return hub::is_array(x.ptr()); });
}

}  // namespace dlpack_bridge::bindings
