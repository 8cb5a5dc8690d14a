#include <dlpack_bridge/python/road.hpp>

#include <dlpack_bridge/python/errors.hpp>
#include <dlpack_bridge/python/process_state.hpp>
#include <dlpack_bridge/python/release.hpp>
#include <dlpack_bridge/python/source.hpp>

namespace dlpack_bridge::python {
namespace {

// Below this many bytes a copy is quicker than giving the GIL away.
constexpr std::int64_t gil_free_copy_bytes = 4096;

fresh_copy copy_without_gil(const inbound& in, const decision& decided, extent* room) {
  if (decided.nbytes < gil_free_copy_bytes) return carry_out_copy(in.desc, decided, room);
  struct gil_release {
    PyThreadState* saved = PyEval_SaveThread();
    ~gil_release() { PyEval_RestoreThread(saved); }
  } const released;
  return carry_out_copy(in.desc, decided, room);
}

}  // namespace

void inbound::refuse(reason_code why, std::string text) {
  desc.state.add(why);
  if (!note.empty() && !text.empty()) note += "; ";
  note += text;
  desc.note = note;
}

void inbound::name_dtype(std::string text) {
  dtype_name = std::move(text);
  desc.dtype_name = dtype_name;
  desc.has_layout = desc.has_dtype = false;
}

bool inbound::refuse_producer_error() {
  if (!PyErr_ExceptionMatches(PyExc_Exception) || PyErr_ExceptionMatches(PyExc_MemoryError)) {
    return false;
  }
  cause = take_error();
  const ref text = ref::steal(PyObject_Str(cause.get()));
  const char* words = text ? PyUnicode_AsUTF8(text.get()) : nullptr;
  if (words == nullptr) PyErr_Clear();
  desc.has_layout = desc.has_dtype = desc.has_device = false;
  refuse(reason_code::producer, std::string(Py_TYPE(cause.get())->tp_name) + ": " +
                                    (words == nullptr ? "(no text)" : words));
  return true;
}

PyObject* same_object(inbound& in, const requirements&) {
  Py_INCREF(in.object);
  return in.object;
}

bool decide(inbound& in, const requirements& wanted, const target_row& target, decision& decided) {
  in.entry = entry_of(Py_TYPE(in.object));
  if (in.entry == nullptr) {
    if (!PyErr_Occurred()) raise_not_an_array(in.object);
    return false;
  }
  in.row = in.entry->row;
  in.desc.source = in.entry->origin;
  in.desc.state = in.entry->always;
  in.desc.note = in.entry->note;
  in.desc.same_framework = in.entry->origin == target.holds.id;
  if (!in.row->describe(in, wanted)) return false;
  find_facts(in.desc, wanted);
  decided = negotiate(in.desc, wanted, target.holds);
  return true;
}

PyObject* carry_out(inbound& in, const target_row& target, const decision& decided) {
  extent room[64];
  if (decided.copies_here) {
    // Taken first: while the GIL is away nobody else may consume or free what is read.
    const owner source = in.row->take(in);
    fresh_copy made = copy_without_gil(in, decided, room);
    return target.wrap(made.view, std::move(made.keep), DLPACK_FLAG_BITMASK_IS_COPIED,
                       framework::array);
  }
  const std::uint64_t flags = in.desc.is_copied ? DLPACK_FLAG_BITMASK_IS_COPIED : 0;
  owner keep = in.row->take(in);
  return target.wrap(shared_view(in.desc, decided, room), std::move(keep), flags, in.desc.source);
}

PyObject* convert(PyObject* x, const target_row& target, const requirements& wanted) {
  if (state().late.load(std::memory_order_relaxed) != nullptr) drain_late_releases();
  try {
    inbound in(x);
    decision decided;
    if (!decide(in, wanted, target, decided)) return nullptr;
    if (decided.identity) return target.same(in, wanted);
    if (state().active_traces.load(std::memory_order_relaxed) != 0) {
      state().on_exchange({in, wanted, target, decided});
      if (PyErr_Occurred()) return nullptr;
    }
    if (decided.action == action::refuse) {
      raise_decision(in, wanted, target, decided);
      return nullptr;
    }
    return carry_out(in, target, decided);
  } catch (...) {
    raise_current_exception();
    return nullptr;
  }
}

void raise_decision(const inbound& in, const requirements& wanted, const target_row& target,
                    const decision& decided) {
  const std::string text = refusal_text(decided, in.desc, wanted, target.holds);
  const std::vector<reason> blockers =
      explain_all(decided.blockers, in.desc, wanted, target.holds);
  if (decided.blockers == reason_set(reason_code::driver) && !target.buffer_errors_only) {
    raise_no_driver(text, blockers);
    return;
  }
  PyObject* type = decided.only_copy_forbidden ? state().copy_required_error : state().exchange_error;
  raise_refusal(type, text, blockers, in.cause.get());
}

}  // namespace dlpack_bridge::python
