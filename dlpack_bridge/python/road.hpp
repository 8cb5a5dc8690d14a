#pragma once

#include <memory>
#include <string>

#include <dlpack_bridge/exchange.hpp>
#include <dlpack_bridge/python/object.hpp>

namespace dlpack_bridge::python {

struct source_row;
struct target_row;
struct type_entry;

/// Whether a description may be an export that is then taken, or only a look.
enum class look : std::uint8_t {
  take,    ///< what was described will be taken; a look will do where the object keeps it alive
  borrow,  ///< `plan`, `info`: nothing is owned that could be avoided
};

/// What there is to say of an array with which something is wrong; texts that a description borrows.
struct remarks {
  ref cause;               ///< the producer's exception
  std::string note;        ///< owns the text behind `description::note`
  std::string dtype_name;  ///< owns the text behind `description::dtype_name`
};

/// One array on its way in: what describes it and what it owns until the decision stands. Lives on
/// the stack of one call; what was not taken is released with it.
struct inbound {
  inbound(PyObject* x, const target_row& towards) noexcept : object(x), target(towards) {}
  inbound(const inbound&) = delete;
  inbound& operator=(const inbound&) = delete;

  /// Marks the array as refused for `why`, with what there is to say.
  void refuse(reason_code why, std::string text);
  /// Names an element type that DLPack lacks.
  void name_dtype(std::string text);
  /// Takes the current Python error as the producer's. False when it is one that must pass through
  /// (KeyboardInterrupt, MemoryError and the like); it is set again then.
  bool refuse_producer_error();

  PyObject* object;          ///< borrowed: the caller holds it
  const target_row& target;  ///< where it goes
  /// Found by `describe` when nobody has; valid until foreign code runs: the cache may move on.
  const type_entry* entry = nullptr;
  const source_row* row = nullptr;
  description desc;
  owner held;   ///< the export or the buffer, when describing made one
  ref capsule;  ///< what holds an unconsumed managed tensor
  look mode = look::take;
  /// The object may exchange its memory while it lives: it alone does not keep what was described.
  bool may_change_memory = false;
  /// The capsule's deleter is known to touch no Python object: it is not given the GIL.
  bool deletes_without_python = false;
  use_listener listener;  ///< of a producer that protects its device memory itself; set by `take`
  std::unique_ptr<remarks> wrong;  ///< made when there is something to say
  /// For a shape and strides that no producer keeps in DLPack's form.
  extent strides_room[most_held_axes];
  extent shape_room[most_held_axes];

 private:
  remarks& say();
};

/// How a kind of object is described and taken: one row per protocol, found once per type.
struct source_row {
  const char* protocol;  ///< for plans and traces
  framework id;
  /// Fills `in.desc` without taking anything that cannot be given back. What makes the exchange
  /// impossible goes into the description; false only with a Python error that must pass through.
  bool (*describe)(inbound& in, const requirements& wanted);
  /// Gives what keeps the described memory alive. Called at most once, after the decision.
  owner (*take)(inbound& in);
  /// Asks a producer whose object is alive again: what its array is ordered on now. It orders work
  /// that only it knows before later work on `consumer`. False with a Python error set. Null for
  /// sources of host memory.
  bool (*renew)(PyObject* object, const type_entry& entry, device where, stream_handle consumer,
                stream_facts& streams) = nullptr;
  /// Keeps the described memory alive beyond the call of a function, where the object does so during it:
  /// describing made nothing that does, and the object does not change its memory. Null where it does not.
  owner (*keep)(PyObject* object) = nullptr;
};

/// How an array leaves towards a framework: one row each.
struct target_row {
  capabilities holds;  ///< the core's row, changed by what is installed
  /// Imports the framework and completes `holds`. False with ImportError set.
  bool (*prepare)(target_row& row);
  /// Wraps memory; null with an error set. `writer` (borrowed, or null) may write to it on a stream of
  /// its own: device memory that is shared.
  PyObject* (*wrap)(handed_over& out, PyObject* writer);
  /// The object itself, or its detached alias; null with an error set.
  PyObject* (*same)(inbound& in, const requirements& wanted);
  /// The stream that the framework works on now; null: it has none of its own.
  stream_handle (*current_stream)(device where) noexcept = nullptr;
  /// Makes the host memory of copies, with room for what `wrap` needs beside it; null: nobody has to.
  backend_memory (*allocate)(std::int64_t nbytes, std::int64_t alignment) = nullptr;
  bool ready = false;
  bool tells_traces = true;         ///< false: a part of an exchange that is told already
  bool buffer_errors_only = false;  ///< the array API's rule: every refusal is a BufferError
};

/// `target_row::same` of most targets: the object itself.
PyObject* same_object(inbound& in, const requirements& wanted);

/// Everything about an exchange that a report can tell.
struct exchange_report {
  const inbound& in;
  const requirements& wanted;
  const decision& decided;
};

/// The stream on which the result will be used, as the caller or the target says; unknown when
/// neither does.
stream_handle stream_of_use(const inbound& in, const requirements& wanted, device where) noexcept;

/// FACTS and NEGOTIATION for an array that is described. The same for `convert` and `plan`; what is shared
/// at sight has no need of it.
inline decision judge(inbound& in, const requirements& wanted) noexcept {
  if (involves_driver(in.desc, wanted)) [[unlikely]] {
    stream_handle& user = in.desc.streams.consumer.handle;
    if (!user.known()) user = stream_of_use(in, wanted, in.desc.view.device());
    find_facts(in.desc, wanted);
  }
  return negotiate(in.desc, wanted, in.target.holds);
}

/// The whole road: decides, takes or copies, wraps. A new reference, or null with an error set.
PyObject* convert(PyObject* x, const target_row& target);  // nothing is asked
PyObject* convert(PyObject* x, const target_row& target, const requirements& wanted);

/// What follows a decision that is no identity: refuses, or takes or copies and wraps, and tells the
/// traces. A new reference, or null with an error set.
PyObject* conclude(inbound& in, const requirements& wanted, const decision& decided);

/// ORDER and COPY for a decision that is no refusal and no identity: what a target wraps. `source` is
/// what the row has taken; what a copy leaves of it is for the caller to drop, with the GIL, when the
/// result was wrapped, because the view may borrow its shape from there. `room` has space for
/// `most_held_axes` extents.
/// @throws std::bad_alloc, device_error
handed_over hand_over(inbound& in, const requirements& wanted, const decision& decided,
                      owner& source, extent* room);

/// The record of an exchange for the traces that are active, described while all of it is known. Call
/// when there are some. Empty with an error set.
[[gnu::cold]] ref make_record(inbound& in, const requirements& wanted, const decision& decided);
/// Tells them when it has happened.
[[gnu::cold]] void tell_traces(const ref& record) noexcept;

/// Sets the exception of a refusal.
[[gnu::cold]] void raise_decision(const inbound& in, const requirements& wanted,
                                  const decision& decided);

}  // namespace dlpack_bridge::python
