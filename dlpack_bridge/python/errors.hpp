#pragma once

#include <string>
#include <vector>

#include <dlpack_bridge/python/object.hpp>
#include <dlpack_bridge/reason.hpp>
#include <dlpack_bridge/stream_facts.hpp>

namespace dlpack_bridge::python {

struct process_state;

/// Makes the exception classes and the Reason type of a fresh process state. False with an error.
bool make_error_types(process_state& fresh) noexcept;

/// A new `Reason(code, message)`.
ref make_reason(const reason& r) noexcept;
/// A tuple of them.
ref make_reasons(const std::vector<reason>& all) noexcept;

/// Sets an exception of `type` with the blockers and, when given, what caused it.
void raise_refusal(PyObject* type, const std::string& message, const std::vector<reason>& blockers,
                   PyObject* cause = nullptr) noexcept;

/// Sets NotAnArrayError naming the type of `object`.
[[gnu::cold]] void raise_not_an_array(PyObject* object) noexcept;
/// Clears it where no array will do too. False when the error is another one.
bool clear_not_an_array() noexcept;

/// Sets ExchangeError for an Array whose source cannot be asked again while a graph is captured.
/// Returns false.
bool refuse_capture() noexcept;

/// Sets CudaError for a driver that does not answer, or answers with a failure.
void raise_driver_failure(const driver_status& failed, const std::string& message,
                          const std::vector<reason>& blockers) noexcept;

/// Turns the C++ exception in flight into a Python one. Call inside a catch block.
[[gnu::cold]] void raise_current_exception() noexcept;

}  // namespace dlpack_bridge::python
