#include <dlpack_bridge/python/stream_use.hpp>

#include <dlpack_bridge/python/array.hpp>
#include <dlpack_bridge/python/errors.hpp>
#include <dlpack_bridge/python/inspect.hpp>
#include <dlpack_bridge/python/keywords.hpp>
#include <dlpack_bridge/python/process_state.hpp>
#include <dlpack_bridge/python/release.hpp>
#include <dlpack_bridge/python/source.hpp>

namespace dlpack_bridge::python {
namespace {

bool refuse(reason_code code, const description& d, const requirements& wanted) {
  const capabilities& holds = array_target().holds;
  const std::string text = explain(code, d, wanted, holds);
  if (code == reason_code::driver) raise_driver_failure(d.driver, text, {{code, text}});
  else raise_refusal(state().exchange_error, text, {{code, text}});
  return false;
}

bool record(PyObject* x, PyObject* stream, const requirements& wanted) {
  inbound in(x, array_target());
  if (!look_at(in)) return false;
  const device where = in.desc.view.device();
  if (!needs_cuda(where.type)) {
    PyErr_SetString(PyExc_ValueError,
                    "record_stream is for CUDA memory; the hub knows no streams of other devices");
    return false;
  }
  if (wanted.refused_stream) return refuse(reason_code::stream, in.desc, wanted);
  if (!in.desc.driver.answers()) return refuse(reason_code::driver, in.desc, wanted);
  in.desc.streams.consumer.handle = wanted.stream;
  in.desc.driver = cuda_backend()->look_at(where, in.desc.streams.consumer);
  if (!in.desc.driver.answers()) return refuse(reason_code::driver, in.desc, wanted);
  if (in.desc.layout.empty) return true;
  owner object = PyLong_Check(stream) ? owner() : own_object(stream);
  if (cuda_backend()->record_use(where, in.desc.view.data(), wanted.stream, std::move(object))) {
    return true;
  }
  PyErr_SetString(PyExc_ValueError,
                  "record_stream is for arrays that the hub handed out; this one was not: tell the "
                  "library it comes from");
  return false;
}

}  // namespace

bool record_use(PyObject* x, PyObject* stream) noexcept {
  static PyObject* const name = Py_BuildValue("(s)", "stream");
  requirements wanted;
  if (!read_keywords("record_stream", &stream, name, keyword_set(keyword::stream), wanted)) {
    return false;
  }
  if (!wanted.stream.known() && !wanted.refused_stream) {
    PyErr_SetString(PyExc_TypeError, "stream is an int or a stream object, got None");
    return false;
  }
  if (wanted.stream.no_sync()) wanted.refused_stream = -1;
  try {
    return record(x, stream, wanted);
  } catch (...) {
    raise_current_exception();
    return false;
  }
}

std::int64_t collect(bool wait) noexcept {
  std::int64_t released = 0;
  if (cuda_backend() != nullptr) {
    PyThreadState* const saved = PyEval_SaveThread();
    std::exception_ptr failed;
    try {
      released = cuda_backend()->collect(wait);
    } catch (...) {
      failed = std::current_exception();
    }
    PyEval_RestoreThread(saved);
    if (failed) {
      try {
        std::rethrow_exception(failed);
      } catch (...) {
        raise_current_exception();
        return -1;
      }
    }
  }
  return released + drain_late_releases();
}

}  // namespace dlpack_bridge::python
