#pragma once

#include <cstdint>

#include <dlpack_bridge/owner.hpp>
#include <dlpack_bridge/python/object.hpp>
#include <dlpack_bridge/python/process_state.hpp>

namespace dlpack_bridge::python {

// Owners of Python things. They may be dropped on any thread, with or without the GIL, under
// foreign locks, and at the end of the process: they never wait for the GIL. Without it the object
// goes to a queue that the next GIL holder empties; once the interpreter goes away it is leaked.

/// Lets go of a reference to a Python object.
void release_object(void* object) noexcept;

/// Keeps a Python object alive; makes one reference of its own.
inline owner own_object(PyObject* object) noexcept {
  Py_INCREF(object);
  return owner(object, release_object);
}

/// Lets go of what an owner keeps. Needs the GIL, so that an object need not look for it.
void drop_with_gil(owner& keep) noexcept;

/// Asks an object for its buffer. `keep` keeps the export and not only the object: close() of shared memory
/// or a map then raises BufferError instead of unmapping what is still read. Null with an error set.
const Py_buffer* borrow_buffer(PyObject* object, int flags, owner& keep) noexcept;

/// Keeps a producer's managed tensor alive. Its deleter runs where it is dropped; an error that a
/// deleter leaves behind is discarded, and one that was pending before stays.
owner own_managed(DLManagedTensorVersioned* tensor) noexcept;
owner own_managed(DLManagedTensor* tensor) noexcept;

/// Whether letting go of what is kept may wait for the GIL: a producer's deleter is free to.
bool may_wait_for_gil(const owner& keep) noexcept;

/// One more owner of what `keep` keeps, which `object` holds. What may wait
/// for the GIL is left to the object; the others are dropped without it. Needs the GIL.
/// @throws std::bad_alloc
inline owner share_keep(owner& keep, PyObject* object) {
  const bool shares = shared_owner::has_second(keep) || !may_wait_for_gil(keep);
  return shares ? shared_owner::second_of(keep) : own_object(object);
}

/// Runs a foreign release, which may run anywhere; with the GIL where that costs no waiting. An error that it
/// leaves behind is discarded, and one that was pending stays.
void release_here(void* object, owner::release_function release) noexcept;

/// Lets an owner go whose release fell due on some thread; what needs the GIL waits for its holder.
void release_due(owner due) noexcept;

/// Empties the queue of late releases. Needs the GIL. Returns how many it released.
std::int64_t drain_late_releases() noexcept;
/// The same on the way into the hub, where the queue is nearly always empty.
inline void release_late_ones() noexcept {
  if (state().late.load(std::memory_order_relaxed) != nullptr) drain_late_releases();
}

}  // namespace dlpack_bridge::python
