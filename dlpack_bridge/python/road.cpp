#include <dlpack_bridge/python/road.hpp>

#include <algorithm>
#include <optional>
#include <string_view>

#include <dlpack_bridge/python/capsule.hpp>
#include <dlpack_bridge/python/dtype_object.hpp>
#include <dlpack_bridge/python/errors.hpp>
#include <dlpack_bridge/python/process_state.hpp>
#include <dlpack_bridge/python/release.hpp>
#include <dlpack_bridge/python/source.hpp>
#include <dlpack_bridge/python/values.hpp>

namespace dlpack_bridge::python {
namespace {

// Below this many bytes a copy of the host's is quicker than giving the GIL away. One with a device may
// wait, while kernels are loaded or a queue is full, for what another thread has yet to start.
constexpr std::int64_t gil_free_copy_bytes = 4096;

struct without_gil {
  without_gil() noexcept = default;
  without_gil(const without_gil&) = delete;
  without_gil& operator=(const without_gil&) = delete;
  ~without_gil() { PyEval_RestoreThread(saved); }

  PyThreadState* saved = PyEval_SaveThread();
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

// What a producer says, as one line. Some libraries append a stack trace with addresses.
std::string in_one_line(std::string_view text) {
  constexpr std::size_t enough = 2000;
  std::string words;
  while (!text.empty() && words.size() < enough) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    if (line.starts_with("Exception raised from") || line.starts_with("frame #")) break;
    line.remove_prefix(std::min(line.find_first_not_of(" \t\r"), line.size()));
    if (line.empty()) continue;
    if (!words.empty()) words += words.ends_with(':') || words.ends_with(';') ? " " : "; ";
    words += line;
  }
  if (words.size() <= enough) return words;
  std::size_t end = std::min(words.rfind(' ', enough), enough);
  while ((words[end] & 0xC0) == 0x80) --end;  // not within a character
  return words.substr(0, end) + " ...";
}

[[gnu::noinline]] handed_over copy_here(inbound& in, const requirements& wanted,
                                        const decision& decided, owner& source, extent* room) {
  const bool waits = decided.nbytes >= gil_free_copy_bytes || decided.host_waits ||
                     needs_cuda(decided.device.type);
  hand_over_options options{.user_object = keep_stream(wanted),
                            .listener = in.listener,
                            .allocate = in.target.allocate,
                            .in_turn = !waits};
  std::optional<without_gil> released;
  if (waits) released.emplace();
  return dlpack_bridge::hand_over(in.desc, decided, source, std::move(options), room);
}

// What a device borrows, or what waits for one.
[[gnu::noinline]] handed_over order_here(inbound& in, const requirements& wanted,
                                         const decision& decided, owner& source, extent* room) {
  hand_over_options options{keep_stream(wanted), in.listener};
  std::optional<without_gil> released;
  if (decided.host_waits) released.emplace();
  return dlpack_bridge::hand_over(in.desc, decided, source, std::move(options), room);
}

void record_own_use(const inbound& in, const requirements& wanted, stream_handle user) {
  if (user.no_sync() || in.desc.view.data() == nullptr) return;
  cuda_backend()->record_use(in.desc.view.device(), in.desc.view.data(), user, keep_stream(wanted));
}

// The object, or its detached alias; what torch raises over the latter is the producer's.
[[gnu::noinline]] PyObject* give_itself(inbound& in, const requirements& wanted,
                                        const decision& decided) {
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

[[gnu::cold]] void refuse(inbound& in, const requirements& wanted, const decision& decided) {
  raise_decision(in, wanted, decided);
  // DLPack: of another major version the deleter is all that may be used, and it is to be called.
  if (in.capsule && in.desc.state.contains(reason_code::version)) consume_capsule(in.capsule.get());
}

// Refuses, or takes or copies and wraps.
PyObject* carry_out(inbound& in, const requirements& wanted, const decision& decided) {
  if (decided.action == action::refuse) [[unlikely]] {
    refuse(in, wanted, decided);
    return nullptr;
  }
  extent room[most_held_axes];
  // Taken first: while the GIL is away nobody else may consume or free what is read.
  owner source = in.row->take(in);
  handed_over out = hand_over(in, wanted, decided, source, room);
  // Only what device memory is shared with can write to it on a stream.
  const bool writes = in.row->renew != nullptr && in.desc.driver.answers() && !decided.copies_here;
  ref result = ref::steal(in.target.wrap(out, writes ? in.object : nullptr));
  if (result && source) drop_with_gil(source);  // a copy leaves it
  return result.release();
}

[[gnu::cold]] PyObject* conclude_and_tell(inbound& in, const requirements& wanted,
                                          const decision& decided) {
  const ref record = make_record(in, wanted, decided);
  if (!record) return nullptr;
  ref result = ref::steal(carry_out(in, wanted, decided));
  if (result || decided.action == action::refuse) tell_traces(record);
  return result.release();
}

// `conclude` of what `is_shared_at_sight`: nothing is left to decide, to order or to tell.
PyObject* share_at_sight(inbound& in) {
  handed_over out{.view = in.desc.view.with_strides(shared_strides(in.desc)),
                  .keep = in.row->take(in)};
  return in.target.wrap(out, nullptr);
}

// The rest of the road for an array that is described.
PyObject* decide_and_conclude(inbound& in, const requirements& wanted) {
  const decision decided = judge(in, wanted);
  if (decided.identity && decided.action != action::refuse) [[unlikely]] {
    return give_itself(in, wanted, decided);
  }
  return conclude(in, wanted, decided);
}

// The same apart from the road, for whoever seldom needs it.
[[gnu::flatten, gnu::noinline]] PyObject* look_closer(inbound& in, const requirements& wanted) {
  return decide_and_conclude(in, wanted);
}

// The whole road. For who asks nothing it is compiled by itself: what nobody asks for costs nothing there.
template <bool asks_nothing>
PyObject* go(PyObject* x, const target_row& target, const requirements& wanted) {
  release_late_ones();
  try {
    const type_entry* entry = array_entry_of(x);
    if (entry == nullptr) return nullptr;
    if (entry->origin == target.holds.id && wanted.asks_nothing() && !is_traced()) {
      Py_INCREF(x);  // nothing needs to be known of it
      return x;
    }
    inbound in(x, target);
    in.entry = entry;
    if (!describe(in, wanted)) [[unlikely]]
      return nullptr;
    if constexpr (!asks_nothing) return decide_and_conclude(in, wanted);
    if (is_shared_at_sight(in.desc, wanted, target.holds) && !is_traced()) [[likely]] {
      return share_at_sight(in);
    }
    return look_closer(in, wanted);
  } catch (...) {
    raise_current_exception();
    return nullptr;
  }
}

}  // namespace

remarks& inbound::say() {
  if (!wrong) wrong = std::make_unique<remarks>();
  return *wrong;
}

void inbound::refuse(reason_code why, std::string text) {
  desc.state.add(why);
  std::string& note = say().note;
  if (!note.empty() && !text.empty()) note += "; ";
  note += text;
  desc.note = note;
}

void inbound::name_dtype(std::string text) {
  desc.dtype_name = say().dtype_name = std::move(text);
  desc.has_dtype = false;
}

bool inbound::refuse_producer_error() {
  if (!is_answer_error()) return false;
  PyObject* const cause = (say().cause = take_error()).get();
  desc.has_layout = desc.has_dtype = desc.has_device = false;
  refuse(reason_code::producer,
         std::string(Py_TYPE(cause)->tp_name) + ": " + in_one_line(words(cause, "(no text)")));
  return true;
}

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

handed_over hand_over(inbound& in, const requirements& wanted, const decision& decided,
                      owner& source, extent* room) {
  if (decided.copies_here) [[unlikely]]
    return copy_here(in, wanted, decided, source, room);
  if (is_ordered(decided)) [[unlikely]]
    return order_here(in, wanted, decided, source, room);
  return hand_over_shared(in.desc, decided, source, room);
}

ref make_record(inbound& in, const requirements& wanted, const decision& decided) {
  return ref::steal(state().make_record({in, wanted, decided}));
}

void tell_traces(const ref& record) noexcept {
  const error_guard guard;
  state().tell_traces(record.get());
}

PyObject* conclude(inbound& in, const requirements& wanted, const decision& decided) {
  const bool told = is_traced() && in.target.tells_traces;
  return told ? conclude_and_tell(in, wanted, decided) : carry_out(in, wanted, decided);
}

// Flattened: a fifth of what an exchange costs would be the calls of its stages. Hot, like all that most
// exchanges run through, and what is rare is cold: the linker lays the one side by side, away from the
// other, in few lines of the cache of instructions and few pages.
[[gnu::flatten, gnu::hot]] PyObject* convert(PyObject* x, const target_row& target) {
  static constexpr requirements nothing;
  return go<true>(x, target, nothing);
}

[[gnu::flatten]] PyObject* convert(PyObject* x, const target_row& target,
                                   const requirements& wanted) {
  return go<false>(x, target, wanted);
}

void raise_decision(const inbound& in, const requirements& wanted, const decision& decided) {
  const capabilities& holds = in.target.holds;
  const std::vector<reason> blockers = explain_all(decided.blockers, in.desc, wanted, holds);
  const std::string text = refusal_text(blockers, in.desc, holds);
  if (decided.blockers == reason_set(reason_code::driver) && !in.target.buffer_errors_only) {
    raise_driver_failure(in.desc.driver, text, blockers);
    return;
  }
  PyObject* type =
      decided.only_copy_forbidden ? state().copy_required_error : state().exchange_error;
  raise_refusal(type, text, blockers, in.wrong ? in.wrong->cause.get() : nullptr);
}

}  // namespace dlpack_bridge::python
