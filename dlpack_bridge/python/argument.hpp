#pragma once

#include <string>
#include <utility>

#include <dlpack_bridge/array.hpp>
#include <dlpack_bridge/python/object.hpp>
#include <dlpack_bridge/python/road.hpp>

namespace dlpack_bridge::python {

/// What holds for an argument during its call, and what is done when the function has returned. Made
/// and dropped with the GIL; dropped after the argument itself.
///
/// The caller keeps the objects that it passes alive until the function has returned. So an argument
/// takes no reference of its own; one that outlives the call gets it then. An item of a sequence may be
/// gone sooner, and what is cast in a function's body lives as long as it is used: both call `own`.
class argument_loan {
 public:
  argument_loan() noexcept = default;
  argument_loan(argument_loan&& other) noexcept
      : keep_(std::move(other.keep_)), object_(std::exchange(other.object_, nullptr)),
        where_(other.where_), unseen_(std::exchange(other.unseen_, {})) {}
  argument_loan(const argument_loan&) = delete;
  argument_loan& operator=(const argument_loan&) = delete;
  ~argument_loan() {
    if (keep_) settle();
  }

  /// The argument lives as long as its object.
  shared_owner borrow(PyObject* object);
  /// The argument lives as long as `keep`. The loan's own copy makes sure that a function without the
  /// GIL is not the one that drops it.
  shared_owner hold(owner keep);
  /// From now on the argument keeps its object alive itself.
  void own() noexcept;
  /// The function may write to device memory on a stream that the producer does not know. Afterwards
  /// later work on the legacy default stream waits for it, and so does that on every blocking stream.
  void expect_writes(device where, stream_handle stream) noexcept {
    where_ = where;
    unseen_ = stream;
  }

 private:
  void settle() noexcept;

  shared_owner keep_;
  PyObject* object_ = nullptr;
  device where_;
  stream_handle unseen_;
};

/// A parameter that takes arrays: its form as a target of the road, which gives a typed view instead of
/// a Python object. Needs the GIL.
class parameter {
 public:
  /// @throws std::runtime_error with a Python error set when the hub cannot be initialised
  explicit parameter(const array_form& form);
  /// Makes the one of a C++ type, which stays. It may run Python code: another thread may come first.
  static void make(const parameter*& place, const array_form& form);

  /// Makes the C++ array from what was taken, whose shape and strides are gone afterwards.
  using build_function = void (*)(void* place, checked_view&& taken);

  /// The whole road for one argument. Copies only where the form converts and `may_convert`. False
  /// when the array does not fit, or, with a Python error set, when an exception must pass through.
  bool take(PyObject* x, bool may_convert, argument_loan& loan, build_function build,
            void* place) const noexcept;

  /// What is wrong with an argument: what was expected, and everything that was found. Looks again,
  /// takes nothing. Empty when the argument fits, or with a Python error set.
  std::string mismatch(PyObject* x, bool may_convert) const noexcept;

 private:
  bool has_unseen_writes(const inbound& in, const decision& decided) const noexcept;

  const array_form& form_;
  target_row row_;
  requirements plain_;      ///< what the form asks for when nothing may be converted
  requirements converted_;  ///< and when it may
};

}  // namespace dlpack_bridge::python
