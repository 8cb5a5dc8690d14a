#include <dlpack_bridge/python/argument.hpp>

#include <array>
#include <memory>
#include <new>
#include <stdexcept>

#include <dlpack_bridge/array_form.hpp>
#include <dlpack_bridge/python/entry.hpp>
#include <dlpack_bridge/python/errors.hpp>
#include <dlpack_bridge/python/process_state.hpp>
#include <dlpack_bridge/python/release.hpp>
#include <dlpack_bridge/python/source.hpp>
#include <dlpack_bridge/python/values.hpp>

namespace dlpack_bridge::python {
namespace {

// "torch.Tensor", "list": the type of what came.
std::string type_words(PyObject* x) {
  const auto* type = reinterpret_cast<PyObject*>(Py_TYPE(x));
  const ref module = attribute_or_none(const_cast<PyObject*>(type), "__module__");
  const ref name = attribute_or_none(const_cast<PyObject*>(type), "__qualname__");
  const ref text = ref::steal(PyUnicode_FromFormat("%S.%S", module.get(), name.get()));
  const std::string result = words(text.get(), Py_TYPE(x)->tp_name);
  return result.starts_with("builtins.") ? result.substr(9) : result;
}

// Host memory under its own label needs no order, no loan and no other view: `hand_over` in short.
bool is_as_it_is(const inbound& in, const decision& decided) noexcept {
  return !decided.copies_here && decided.device.type == kDLCPU && !in.desc.driver.answers() &&
         in.desc.view.device() == decided.device;
}

// Whether the object itself is all that keeps the memory alive.
bool lives_in_object(const inbound& in) noexcept {
  return in.row->keep != nullptr && !in.may_change_memory && !in.held && !in.capsule;
}

// What an argument gets that outlives its call. The object's type may have changed since it was taken.
[[gnu::noinline]] owner keep_beyond_call(PyObject* object) noexcept {
  const error_guard guard;
  const type_entry* entry = entry_of(Py_TYPE(object));
  try {
    if (entry != nullptr && entry->row->keep != nullptr) return entry->row->keep(object);
  } catch (const std::bad_alloc&) {  // for the export of a buffer
  }
  return own_object(object);
}

// Blocks of earlier calls, without an owner, for the next ones. The GIL guards them.
class spare_blocks {
 public:
  /// Moves a block into `place`, which is empty.
  void take(shared_owner& place) {
    if (count_ == 0) place = shared_owner(owner());
    else blocks_[--count_].swap(place);
  }
  /// Moves a block that nobody else holds out of `place`, when there is room.
  void put(shared_owner& place) noexcept {
    if (count_ < blocks_.size()) blocks_[count_++].swap(place);
  }

 private:
  std::array<shared_owner, 8> blocks_;
  std::size_t count_ = 0;
};

constinit spare_blocks spares;

// Makes later work on the legacy default stream come after what is on `stream` now.
void order_default_stream(device where, stream_handle stream) noexcept {
  const stream_handle everybody = stream_handle::legacy();
  stream_state legacy{.handle = everybody};
  try {
    cuda_backend()->look_at(where, legacy);
    // While a blocking stream captures, nothing may be put on the legacy stream.
    if (!legacy.captures()) {
      cuda_backend()->order(where, everybody, where, stream);
    }
  } catch (...) {  // a failing driver fails the next call as well
  }
}

}  // namespace

[[gnu::hot]] shared_owner argument_loan::borrow(PyObject* object) {
  object_ = object;
  spares.take(keep_);
  return keep_.second();
}

shared_owner argument_loan::hold(owner keep) {
  keep_ = shared_owner(std::move(keep));
  return keep_.second();
}

void argument_loan::own() noexcept {
  if (PyObject* const object = std::exchange(object_, nullptr))
    keep_.fill(keep_beyond_call(object));
}

[[gnu::hot]] void argument_loan::settle() noexcept {
  if (unseen_.known()) order_default_stream(where_, unseen_);
  if (object_ == nullptr) return;
  if (keep_.is_last()) spares.put(keep_);
  else keep_.fill(keep_beyond_call(object_));
}

parameter::parameter(const array_form& form)
    : form_(form), row_{.holds = capabilities_of(form), .ready = true},
      plain_(requirements_of(form, false)), converted_(requirements_of(form, true)) {
  if (!initialize_python()) throw std::runtime_error("dlpack_bridge cannot be initialised");
  // Nobody orders device memory in a binary without the CUDA backend.
  row_.holds.carries_order = cuda_backend() != nullptr;
}

void parameter::make(const parameter*& place, const array_form& form) {
  auto made = std::make_unique<const parameter>(form);
  if (place == nullptr) place = made.release();
}

// A producer that knows the stream orders its own later work; a copy is nobody else's.
bool parameter::has_unseen_writes(const inbound& in, const decision& decided) const noexcept {
  return !form_.read_only && !decided.copies_here && in.desc.streams.producer_unknown &&
         in.desc.driver.answers();
}

[[gnu::flatten, gnu::hot]] bool parameter::take(PyObject* x, bool may_convert, argument_loan& loan,
                                                build_function build, void* place) const noexcept {
  release_late_ones();
  const type_entry* entry = entry_of(Py_TYPE(x));
  if (entry == nullptr) return false;
  const requirements& wanted = may_convert ? converted_ : plain_;
  try {
    inbound in(x, row_);
    in.entry = entry;
    if (!describe(in, wanted)) [[unlikely]] {
      clear_not_an_array();  // another overload may take it
      return false;
    }
    const decision decided = judge(in, wanted);
    if (!fits(form_, in.desc, decided, may_convert)) [[unlikely]]
      return false;
    ref record;
    if (is_traced() && !(record = make_record(in, wanted, decided))) [[unlikely]]
      return false;
    // Made where it goes: a copy of what was just written in parts makes the processor wait.
    const auto origin = [&in] {
      return array_origin{in.desc.view.device(), static_cast<std::uint32_t>(in.desc.source)};
    };
    if (is_as_it_is(in, decided)) [[likely]] {
      build(place, {in.desc.view,
                    lives_in_object(in) ? loan.borrow(x) : loan.hold(in.row->take(in)),
                    {},
                    origin()});
    } else {
      extent room[most_held_axes];
      owner source = in.row->take(in);
      handed_over out = hand_over(in, wanted, decided, source, room);
      if (has_unseen_writes(in, decided)) loan.expect_writes(out.view.device(), out.stream);
      build(place, {out.view, loan.hold(std::move(out.keep)), out.stream, origin()});
    }
    if (record) tell_traces(record);
    return true;
  } catch (...) {
    raise_current_exception();
    return false;
  }
}

std::string parameter::mismatch(PyObject* x, bool may_convert) const noexcept {
  try {
    const std::string what = type_words(x);
    inbound in(x, row_);
    in.mode = look::borrow;
    const requirements& wanted = may_convert ? converted_ : plain_;
    if (!describe(in, wanted)) {
      if (!clear_not_an_array()) return {};
      return "expected " + std::string(form_.name) + ", found " + what + ", which is no array";
    }
    const decision decided = judge(in, wanted);
    if (fits(form_, in.desc, decided, may_convert)) return {};
    return mismatch_text(form_, what, in.desc, mismatches(form_, in.desc, decided, may_convert));
  } catch (...) {
    raise_current_exception();
    return {};
  }
}

}  // namespace dlpack_bridge::python
