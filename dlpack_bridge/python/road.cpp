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

struct without_gil {
  PyThreadState* saved = PyEval_SaveThread();
  ~without_gil() { PyEval_RestoreThread(saved); }
};

// Enqueuing is quick; only waiting gives the GIL away.
stream_handle order(const inbound& in, const decision& decided) {
  if (!decided.host_waits) return carry_out_order(in.desc, decided);
  const without_gil released;
  return carry_out_order(in.desc, decided);
}

// The stream object that the caller gave stays alive as long as the memory is used on it.
owner keep_stream(const requirements& wanted) noexcept {
  auto* object = static_cast<PyObject*>(const_cast<void*>(wanted.stream_object));
  return object == nullptr ? owner() : own_object(object);
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

void record_own_use(const inbound& in, const requirements& wanted, stream_handle user) {
  if (user.no_sync() || in.desc.view.data() == nullptr) return;
  cuda_backend()->record_use(in.desc.view.device(), in.desc.view.data(), user, keep_stream(wanted));
}

// The object, or its detached alias; what torch raises over the latter is the producer's.
PyObject* give_itself(inbound& in, const requirements& wanted, const decision& decided) {
  const stream_handle user = order(in, decided);
  // Memory of the hub's that lives on under the same object: the stream is one more user.
  if (decided.after_producer || user.known()) record_own_use(in, wanted, user);
  PyObject* result = in.target.same(in, wanted);
  if (result != nullptr || !in.refuse_producer_error()) return result;
  decision refused;
  refused.action = action::refuse;
  refused.blockers = reason_set(reason_code::producer);
  raise_decision(in, wanted, refused);
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

stream_handle stream_of_use(const inbound& in, const requirements& wanted, device where) noexcept {
  if (wanted.stream.known()) return wanted.stream;
  const bool named = wanted.device && needs_cuda(wanted.device->type);
  const device work = named ? *wanted.device : where;
  const bool has_one = in.target.current_stream != nullptr && needs_cuda(work.type) &&
                       in.target.holds.devices.contains(kDLCUDA);
  return has_one ? in.target.current_stream(work) : stream_handle();
}

bool decide(inbound& in, const requirements& wanted, decision& decided) {
  if (in.entry == nullptr) in.entry = entry_of(Py_TYPE(in.object));
  if (in.entry == nullptr) {
    if (!PyErr_Occurred()) raise_not_an_array(in.object);
    return false;
  }
  in.row = in.entry->row;
  in.desc.source = in.entry->origin;
  in.desc.state = in.entry->always;
  in.desc.note = in.entry->note;
  in.desc.same_framework = in.entry->origin == in.target.holds.id;
  if (!in.row->describe(in, wanted)) return false;
  if (wanted.named_dtype != nullptr && !check_named_dtype(in, wanted)) return false;
  judge(in, wanted, decided);
  return true;
}

void judge(inbound& in, const requirements& wanted, decision& decided) {
  stream_handle& user = in.desc.streams.consumer.handle;
  if (!user.known()) user = stream_of_use(in, wanted, in.desc.view.device());
  find_facts(in.desc, wanted);
  decided = negotiate(in.desc, wanted, in.target.holds);
}

outbound hand_over(inbound& in, const requirements& wanted, const decision& decided, extent* room) {
  // Taken first: while the GIL is away nobody else may consume or free what is read. What a copy
  // leaves of it is dropped with the GIL, after the result was wrapped.
  outbound out;
  out.rest = in.row->take(in);
  loan_sides sides{keep_stream(wanted), in.listener};
  const bool long_copy = decided.copies_here && decided.nbytes >= gil_free_copy_bytes;
  if (long_copy || decided.host_waits) {
    const without_gil released;
    static_cast<handed_over&>(out) =
        dlpack_bridge::hand_over(in.desc, decided, out.rest, std::move(sides), room);
  } else {
    static_cast<handed_over&>(out) =
        dlpack_bridge::hand_over(in.desc, decided, out.rest, std::move(sides), room);
  }
  // Only what device memory is shared with can write to it on a stream.
  const bool renews = in.row->renew != nullptr && in.desc.driver.answers();
  out.source = renews && !decided.copies_here ? in.object : nullptr;
  return out;
}

bool make_record(inbound& in, const requirements& wanted, const decision& decided, ref& record) {
  if (state().active_traces.load(std::memory_order_relaxed) == 0) return true;
  record = ref::steal(state().make_record({in, wanted, decided}));
  return static_cast<bool>(record);
}

void tell_traces(const ref& record) noexcept {
  if (!record) return;
  const error_guard guard;
  state().tell_traces(record.get());
}

PyObject* conclude(inbound& in, const requirements& wanted, const decision& decided) {
  ref record;
  if (!make_record(in, wanted, decided, record)) return nullptr;
  ref result;
  if (decided.action == action::refuse) {
    raise_decision(in, wanted, decided);
  } else {
    extent room[64];
    outbound out = hand_over(in, wanted, decided, room);
    result = ref::steal(in.target.wrap(out));
    if (!result) return nullptr;
  }
  tell_traces(record);
  return result.release();
}

PyObject* convert(PyObject* x, const target_row& target, const requirements& wanted) {
  if (state().late.load(std::memory_order_relaxed) != nullptr) drain_late_releases();
  try {
    inbound in(x, target);
    decision decided;
    if (!decide(in, wanted, decided)) return nullptr;
    if (decided.identity && decided.action != action::refuse) {
      return give_itself(in, wanted, decided);
    }
    return conclude(in, wanted, decided);
  } catch (...) {
    raise_current_exception();
    return nullptr;
  }
}

void raise_decision(const inbound& in, const requirements& wanted, const decision& decided) {
  const capabilities& holds = in.target.holds;
  const std::string text = refusal_text(decided, in.desc, wanted, holds);
  const std::vector<reason> blockers = explain_all(decided.blockers, in.desc, wanted, holds);
  if (decided.blockers == reason_set(reason_code::driver) && !in.target.buffer_errors_only) {
    raise_driver_failure(in.desc.driver, text, blockers);
    return;
  }
  PyObject* type =
      decided.only_copy_forbidden ? state().copy_required_error : state().exchange_error;
  raise_refusal(type, text, blockers, in.cause.get());
}

}  // namespace dlpack_bridge::python
