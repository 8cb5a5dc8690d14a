#include <dlpack_bridge/python/entry.hpp>

#include <dlpack_bridge/python/array.hpp>
#include <dlpack_bridge/python/device_object.hpp>
#include <dlpack_bridge/python/dtype_object.hpp>
#include <dlpack_bridge/python/errors.hpp>
#include <dlpack_bridge/python/holder.hpp>
#include <dlpack_bridge/python/keywords.hpp>
#include <dlpack_bridge/python/numpy.hpp>
#include <dlpack_bridge/python/process_state.hpp>
#include <dlpack_bridge/python/source.hpp>
#include <dlpack_bridge/python/target.hpp>
#include <dlpack_bridge/python/torch.hpp>

namespace dlpack_bridge::python {
namespace {

using enum keyword;

[[gnu::cold]] bool refuse_count(const char* function, Py_ssize_t given,
                                Py_ssize_t expected) noexcept {
  PyErr_Format(PyExc_TypeError, "%s() takes %zd positional argument%s but %zd were given", function,
               expected, expected == 1 ? "" : "s", given);
  return false;
}

bool check_count(const char* function, Py_ssize_t given, Py_ssize_t expected) noexcept {
  return given == expected || refuse_count(function, given, expected);
}

// `args` are the array and the values of the keywords `names`.
[[gnu::noinline]] PyObject* convert_as_told(const char* function, target_row& row,
                                            keyword_set allowed, PyObject* const* args,
                                            PyObject* names) {
  requirements wanted;
  if (!read_keywords(function, args + 1, names, allowed, wanted)) return nullptr;
  return prepared(row) ? convert(args[0], row, wanted) : nullptr;
}

// A conversion to one framework: `row` with the keywords it takes.
PyObject* convert_to(const char* function, target_row& row, keyword_set allowed,
                     PyObject* const* args, Py_ssize_t count, PyObject* names) {
  if (!check_count(function, count, 1)) [[unlikely]]
    return nullptr;
  if (names != nullptr) [[unlikely]]
    return convert_as_told(function, row, allowed, args, names);
  return prepared(row) ? convert(args[0], row) : nullptr;
}

[[gnu::hot]] PyObject* to_numpy(PyObject*, PyObject* const* args, Py_ssize_t count,
                                PyObject* names) {
  static constexpr keyword_set allowed(dtype, copy, detach, order, alignment, stream);
  return convert_to("to_numpy", numpy_target(), allowed, args, count, names);
}

[[gnu::hot]] PyObject* to_torch(PyObject*, PyObject* const* args, Py_ssize_t count,
                                PyObject* names) {
  return convert_to("to_torch", torch_target(), every_keyword, args, count, names);
}

[[gnu::hot]] PyObject* asarray(PyObject*, PyObject* const* args, Py_ssize_t count,
                               PyObject* names) {
  static constexpr keyword_set allowed(dtype, device, copy, detach, order, alignment, stream);
  return convert_to("asarray", array_target(), allowed, args, count, names);
}

PyObject* from_dlpack(PyObject*, PyObject* const* args, Py_ssize_t count, PyObject* names) {
  static constexpr keyword_set allowed(device, copy);
  return convert_to("from_dlpack", array_target(), allowed, args, count, names);
}

PyObject* convert_any(PyObject*, PyObject* const* args, Py_ssize_t count, PyObject* names) {
  if (!check_count("convert", count, 2)) return nullptr;
  requirements wanted;
  if (names != nullptr && !read_keywords("convert", args + count, names, every_keyword, wanted)) {
    return nullptr;
  }
  target_row* row = target_of(args[1]);
  return row == nullptr ? nullptr : convert(args[0], *row, wanted);
}

template <auto Function>
constexpr PyMethodDef vectorcall(const char* name, const char* doc) noexcept {
  return {name, reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(Function)),
          METH_FASTCALL | METH_KEYWORDS, doc};
}

#define DLPACK_BRIDGE_COMMON_DOC                                                                 \
  "\n\nShares memory when it can and copies only with a reason; plan() says which and why, and " \
  "trace() records it.\nThe result keeps the source's memory alive. The GIL is held, and given " \
  "away while more than 4 KB are copied.\n\nErrors: NotAnArrayError, ExchangeError, "            \
  "CopyRequiredError (copy=False only), CudaError, ImportError, TypeError, ValueError."

PyMethodDef methods[] = {
    vectorcall<to_numpy>(
        "to_numpy",
        "to_numpy(x, /, *, dtype=None, copy=None, detach=False, order=None, "
        "alignment=None, stream=None)\n--\n\n"
        "x as a numpy.ndarray; the same as convert(x, \"numpy\")." DLPACK_BRIDGE_COMMON_DOC),
    vectorcall<to_torch>(
        "to_torch",
        "to_torch(x, /, *, dtype=None, device=None, copy=None, detach=False, "
        "readonly=\"copy\", order=None, alignment=None, stream=None)\n--\n\n"
        "x as a torch.Tensor; the same as convert(x, \"torch\")." DLPACK_BRIDGE_COMMON_DOC),
    vectorcall<convert_any>(
        "convert",
        "convert(x, to, /, *, dtype=None, device=None, copy=None, "
        "detach=False, readonly=\"copy\", order=None, alignment=None, "
        "stream=None)\n--\n\n"
        "x as an array of `to`: a framework's name, its module or its array type." DLPACK_BRIDGE_COMMON_DOC),
    vectorcall<asarray>("asarray",
                        "asarray(x, /, *, dtype=None, device=None, copy=None, detach=False, "
                        "order=None, alignment=None, stream=None)\n--\n\n"
                        "x as a dlpack_bridge.Array." DLPACK_BRIDGE_COMMON_DOC),
    vectorcall<from_dlpack>("from_dlpack",
                            "from_dlpack(x, /, *, device=None, copy=None)\n--\n\n"
                            "x, an array or a DLPack capsule, as a dlpack_bridge.Array: the array "
                            "API's signature." DLPACK_BRIDGE_COMMON_DOC),
    {"_rebuild_array", rebuild_array, METH_VARARGS, nullptr},
    {nullptr, nullptr, 0, nullptr}};

// "torch.Tensor", or the type's name for what is known by its protocol only.
std::string source_name(const inbound& in) {
  if (in.desc.source != framework::other) return std::string(capabilities_of(in.desc.source).name);
  return Py_TYPE(in.object)->tp_name;
}

}  // namespace

PyMethodDef* entry_methods() noexcept { return methods; }

bool initialize_python() noexcept {
  return initialize_process_state() && initialize_holder_type() && initialize_dtype_type() &&
         initialize_device_type() && initialize_array_type();
}

report make_report(const exchange_report& e) {
  static constexpr const char* actions[] = {"share", "copy", "refuse"};
  report out;
  const description& source = e.in.desc;
  out.action = actions[static_cast<int>(e.decided.action)];
  const bool refused = e.decided.action == action::refuse;
  if (!refused) out.reasons = explain_all(e.decided.reasons, source, e.wanted, e.in.target.holds);
  out.blockers = explain_all(e.decided.blockers, source, e.wanted, e.in.target.holds);
  out.nbytes = e.decided.nbytes;
  out.readonly = e.decided.read_only;
  out.protocol = e.decided.identity ? "identity" : e.in.row->protocol;
  out.source = source_name(e.in);
  out.target = e.in.target.holds.name;
  out.waits = waits_of(e.decided, source);
  out.summary = e.decided.identity && !source.has_layout ? "" : summary(source);
  return out;
}

bool plan_exchange(PyObject* x, PyObject* to, PyObject* const* values, PyObject* names,
                   report& out) {
  requirements wanted;
  if (!read_keywords("plan", values, names, every_keyword, wanted)) return false;
  target_row* row = target_of(to);
  if (row == nullptr) return false;
  inbound in(x, *row);
  in.mode = look::borrow;
  if (!describe(in, wanted)) return false;
  out = make_report({in, wanted, judge(in, wanted)});
  return true;
}

}  // namespace dlpack_bridge::python
