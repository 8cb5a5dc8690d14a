#pragma once

#include <string>

#include <dlpack_bridge/exchange.hpp>
#include <dlpack_bridge/python/object.hpp>

namespace dlpack_bridge::python {

struct source_row;
struct type_entry;

/// Whether a description may be an export that is then taken, or only a look.
enum class look : bool {
  borrow,  ///< `plan`, `info`: nothing is owned that could be avoided
  take,    ///< the description is the one export of the exchange
};

/// One array on its way in: what describes it and what it owns until the decision stands. Lives on
/// the stack of one call; what was not taken is released with it.
struct inbound {
  explicit inbound(PyObject* x) noexcept : object(x) {}
  inbound(const inbound&) = delete;
  inbound& operator=(const inbound&) = delete;

  /// Marks the array as refused for `why`, with what there is to say.
  void refuse(reason_code why, std::string text);
  /// Names an element type that DLPack lacks.
  void name_dtype(std::string text);
  /// Takes the current Python error as the producer's. False when it is one that must pass through
  /// (KeyboardInterrupt, MemoryError and the like); it is set again then.
  bool refuse_producer_error();

  PyObject* object;                   ///< borrowed: the caller holds it
  const type_entry* entry = nullptr;  ///< valid until foreign code runs: the cache may move on
  const source_row* row = nullptr;
  look mode = look::take;
  description desc;
  owner held;              ///< the export or the buffer, when describing made one
  ref capsule;             ///< what holds an unconsumed managed tensor
  ref cause;               ///< the producer's exception
  std::string note;        ///< owns the text behind `desc.note`
  std::string dtype_name;  ///< owns the text behind `desc.dtype_name`
  extent room[128];        ///< shapes and strides that no producer keeps in DLPack's form
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
};

/// How an array leaves towards a framework: one row each.
struct target_row {
  capabilities holds;  ///< the core's row, changed by what is installed
  /// Imports the framework and completes `holds`. False with ImportError set.
  bool (*prepare)(target_row& row);
  /// Wraps memory that `keep` keeps alive; null with an error set.
  PyObject* (*wrap)(const tensor_view& view, owner keep, std::uint64_t flags);
  /// The object itself, or its detached alias; null with an error set.
  PyObject* (*same)(inbound& in, const requirements& wanted);
  bool ready = false;
  bool buffer_errors_only = false;  ///< the array API's rule: every refusal is a BufferError
};

/// `target_row::same` of most targets: the object itself.
PyObject* same_object(inbound& in, const requirements& wanted);

/// Everything about an exchange that a report can tell.
struct exchange_report {
  const inbound& in;
  const requirements& wanted;
  const target_row& target;
  const decision& decided;
};

/// FACTS and NEGOTIATION: describes `in.object` and decides. False with an error set (no array, or
/// an exception that passes through). The same for `convert` and `plan`.
bool decide(inbound& in, const requirements& wanted, const target_row& target, decision& decided);

/// The whole road: decides, takes or copies, wraps. A new reference, or null with an error set.
PyObject* convert(PyObject* x, const target_row& target, const requirements& wanted);

/// TAKE, COPY and TARGET for a decision that is no refusal and no identity.
PyObject* carry_out(inbound& in, const target_row& target, const decision& decided);

/// Sets the exception of a refusal.
void raise_decision(const inbound& in, const requirements& wanted, const target_row& target,
                    const decision& decided);

}  // namespace dlpack_bridge::python
