#include <dlpack_bridge/python/argument.hpp>

#include <stdexcept>

#include <dlpack_bridge/array_form.hpp>
#include <dlpack_bridge/python/entry.hpp>
#include <dlpack_bridge/python/errors.hpp>
#include <dlpack_bridge/python/process_state.hpp>
#include <dlpack_bridge/python/release.hpp>
#include <dlpack_bridge/python/source.hpp>

namespace dlpack_bridge::python {
namespace {

// "torch.Tensor", "list": the type of what came.
std::string type_words(PyObject* x) {
  const auto* type = reinterpret_cast<PyObject*>(Py_TYPE(x));
  const ref module = attribute_or_none(const_cast<PyObject*>(type), "__module__");
  const ref name = attribute_or_none(const_cast<PyObject*>(type), "__qualname__");
  const ref text = ref::steal(PyUnicode_FromFormat("%S.%S", module.get(), name.get()));
  const char* words = text ? PyUnicode_AsUTF8(text.get()) : nullptr;
  if (words == nullptr) PyErr_Clear();
  std::string result = words == nullptr ? Py_TYPE(x)->tp_name : words;
  return result.starts_with("builtins.") ? result.substr(9) : result;
}

checked_view checked(const inbound& in, const tensor_view& view, owner keep, stream_handle stream) {
  return {.view = view,
          .keep = shared_owner(std::move(keep)),
          .stream = stream,
          .origin = {static_cast<std::uint32_t>(in.desc.source), in.desc.view.device()}};
}

// Host memory under its own label needs no order, no loan and no other view: `hand_over` in short.
bool is_as_it_is(const inbound& in, const decision& decided) noexcept {
  return !decided.copies_here && decided.device.type == kDLCPU && !in.desc.driver.answers() &&
         in.desc.view.device() == decided.device;
}

}  // namespace

unseen_writes::~unseen_writes() {
  if (!stream_.known()) return;
  const stream_handle everybody = *stream_handle::from_protocol(kDLCUDA, 1);
  stream_state legacy{.handle = everybody};
  try {
    cuda_backend()->look_at(where_, legacy);
    // While a blocking stream captures, nothing may be put on the legacy stream.
    if (legacy.capture == capture_kind::none) {
      cuda_backend()->order(where_, everybody, where_, stream_);
    }
  } catch (...) {  // a failing driver fails the next call as well
  }
}

parameter::parameter(const array_form& form)
    : form_(form), row_{.holds = capabilities_of(form), .ready = true},
      plain_(requirements_of(form, false)), converted_(requirements_of(form, true)) {
  if (!initialize_python()) throw std::runtime_error("dlpack_bridge cannot be initialised");
  // Nobody orders device memory in a binary without the CUDA backend.
  row_.holds.carries_order = cuda_backend() != nullptr;
}

bool parameter::take(PyObject* x, bool may_convert, build_function build,
                     void* place) const noexcept {
  if (state().late.load(std::memory_order_relaxed) != nullptr) drain_late_releases();
  const type_entry* entry = entry_of(Py_TYPE(x));
  if (entry == nullptr) return false;
  const requirements& wanted = may_convert ? converted_ : plain_;
  try {
    inbound in(x, row_);
    in.entry = entry;
    in.mode = look::hold;
    decision decided;
    if (!decide(in, wanted, decided) || !fits(form_, in.desc, decided, may_convert)) return false;
    ref record;
    const bool traced = state().active_traces.load(std::memory_order_relaxed) != 0;
    if (traced && !make_record(in, wanted, decided, record)) return false;
    if (is_as_it_is(in, decided)) {
      build(place, checked(in, in.desc.view, in.row->take(in), {}), false);
    } else {
      extent room[64];
      outbound out = hand_over(in, wanted, decided, room);
      const bool unaware = in.desc.streams.producer_unknown && !decided.copies_here;
      build(place, checked(in, out.view, std::move(out.keep), out.stream),
            unaware && cuda_backend() != nullptr);
    }
    if (traced) tell_traces(record);
    return true;
  } catch (...) {
    raise_current_exception();
    return false;
  }
}

std::string parameter::mismatch(PyObject* x, bool may_convert) const noexcept {
  try {
    const std::string what = type_words(x);
    if (entry_of(Py_TYPE(x)) == nullptr) {
      return "expected " + std::string(form_.name) + ", found " + what + ", which is no array";
    }
    inbound in(x, row_);
    in.mode = look::borrow;
    decision decided;
    if (!decide(in, may_convert ? converted_ : plain_, decided)) return {};
    if (fits(form_, in.desc, decided, may_convert)) return {};
    return mismatch_text(form_, what, in.desc, mismatches(form_, in.desc, decided, may_convert));
  } catch (...) {
    raise_current_exception();
    return {};
  }
}

}  // namespace dlpack_bridge::python
