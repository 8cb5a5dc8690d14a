#include <dlpack_bridge/python/road.hpp>

#include <dlpack_bridge/python/dtype_object.hpp>
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

// Some libraries append a stack trace with addresses.
std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

// The dtype asked for is one that DLPack lacks: only an array that has it already will do.
bool check_named_dtype(const inbound& in, const requirements& wanted) {
  auto* named = static_cast<PyObject*>(const_cast<void*>(wanted.named_dtype));
  if (in.desc.same_framework) {
    const ref own = attribute_or_none(in.object, "dtype");
    if (own && PyObject_RichCompareBool(own.get(), named, Py_EQ) == 1) return true;
    PyErr_Clear();
  }
  (void)dtype_from_object(named);  // sets the error that it gave when the keywords were read
  return false;
}

// The object, or its detached alias; what torch raises over the latter is the producer's.
PyObject* give_itself(inbound& in, const target_row& target, const requirements& wanted) {
  PyObject* result = target.same(in, wanted);
  if (result != nullptr || !in.refuse_producer_error()) return result;
  decision refused;
  refused.action = action::refuse;
  refused.blockers = reason_set(reason_code::producer);
  raise_decision(in, wanted, target, refused);
  return nullptr;
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
  desc.has_dtype = false;
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
                                    first_line(words == nullptr ? "(no text)" : words));
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
  if (wanted.named_dtype != nullptr && !check_named_dtype(in, wanted)) return false;
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
    return target.wrap(made.view, std::move(made.keep), DLPACK_FLAG_BITMASK_IS_COPIED);
  }
  const std::uint64_t flags = in.desc.is_copied ? DLPACK_FLAG_BITMASK_IS_COPIED : 0;
  owner keep = in.row->take(in);
  return target.wrap(shared_view(in.desc, decided, room), std::move(keep), flags);
}

PyObject* convert(PyObject* x, const target_row& target, const requirements& wanted) {
  if (state().late.load(std::memory_order_relaxed) != nullptr) drain_late_releases();
  try {
    inbound in(x);
    decision decided;
    if (!decide(in, wanted, target, decided)) return nullptr;
    if (decided.identity) return give_itself(in, target, wanted);
    // Described now, while all of it is known; told when it has happened.
    ref record;
    if (state().active_traces.load(std::memory_order_relaxed) != 0) {
      record = ref::steal(state().make_record({in, wanted, target, decided}));
      if (!record) return nullptr;
    }
    ref result;
    if (decided.action == action::refuse) raise_decision(in, wanted, target, decided);
    else if (!(result = ref::steal(carry_out(in, target, decided)))) return nullptr;
    if (record) {
      const error_guard guard;
      state().tell_traces(record.get());
    }
    return result.release();
  } catch (...) {
    raise_current_exception();
    return nullptr;
  }
}

void raise_decision(const inbound& in, const requirements& wanted, const target_row& target,
                    const decision& decided) {
  const std::string text = refusal_text(decided, in.desc, wanted, target.holds);
  const std::vector<reason> blockers = explain_all(decided.blockers, in.desc, wanted, target.holds);
  if (decided.blockers == reason_set(reason_code::driver) && !target.buffer_errors_only) {
    raise_no_driver(text, blockers);
    return;
  }
  PyObject* type =
      decided.only_copy_forbidden ? state().copy_required_error : state().exchange_error;
  raise_refusal(type, text, blockers, in.cause.get());
}

}  // namespace dlpack_bridge::python
