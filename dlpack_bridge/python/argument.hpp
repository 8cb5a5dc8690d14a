#pragma once

#include <string>

#include <dlpack_bridge/array.hpp>
#include <dlpack_bridge/python/object.hpp>
#include <dlpack_bridge/python/road.hpp>

namespace dlpack_bridge::python {

/// What a function may have written to device memory whose producer does not know the stream. When this
/// is dropped, after the function, later work on the legacy default stream waits for it, and so does
/// that on every blocking stream. Does not synchronise.
class unseen_writes {
 public:
  unseen_writes() noexcept = default;
  unseen_writes(const unseen_writes&) = delete;
  unseen_writes& operator=(const unseen_writes&) = delete;
  ~unseen_writes();

  void expect(device where, stream_handle stream) noexcept {
    where_ = where;
    stream_ = stream;
  }

 private:
  device where_;
  stream_handle stream_;
};

/// A parameter that takes arrays: its form as a target of the road, which gives a typed view instead of
/// a Python object. Made once per C++ type; needs the GIL.
class parameter {
 public:
  /// @throws std::runtime_error with a Python error set when the hub cannot be initialised
  explicit parameter(const array_form& form);

  /// Makes the C++ array from what was taken; the view is borrowed for the call. `unaware`: the
  /// producer does not know the stream that the array is ordered on.
  using build_function = void (*)(void* place, checked_view&& taken, bool unaware);

  /// The whole road for one argument. Copies only where the form converts and `may_convert`. False
  /// when the array does not fit, or, with a Python error set, when an exception must pass through.
  bool take(PyObject* x, bool may_convert, build_function build, void* place) const noexcept;

  /// What is wrong with an argument: what was expected, and everything that was found. Looks again,
  /// takes nothing. Empty when the argument fits, or with a Python error set.
  std::string mismatch(PyObject* x, bool may_convert) const noexcept;

 private:
  const array_form& form_;
  target_row row_;
  requirements plain_;      ///< what the form asks for when nothing may be converted
  requirements converted_;  ///< and when it may
};

}  // namespace dlpack_bridge::python
