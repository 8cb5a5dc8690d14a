#pragma once

#include <dlpack_bridge/python/object.hpp>
#include <dlpack_bridge/python/road.hpp>

namespace dlpack_bridge::python {

/// What looking at a type once has told.
struct type_entry {
  PyTypeObject* type = nullptr;  ///< identity only, no reference
  unsigned int version_tag = 0;  ///< CPython's: unique, changes when the type or a base changes
  const source_row* row = nullptr;
  framework origin = framework::other;
  reason_set always;       ///< states that hold for every object of the type
  bool immutable = false;  ///< the framework never writes: read-only by contract
  const DLPackExchangeAPI* api = nullptr;
  PyObject* dlpack = nullptr;         ///< `__dlpack__` of the type, borrowed
  PyObject* dlpack_device = nullptr;  ///< `__dlpack_device__` of the type, borrowed
  std::string_view note;
};

/// Looks at a type: which row serves its objects. Null without an error when the type is no array.
/// The answer is cached by type and version tag; a changed or new type is looked at again.
const type_entry* entry_of(PyTypeObject* type) noexcept;

// The rows. Each lives in the file of its name.
extern const source_row numpy_source;            // numpy.cpp
extern const source_row numpy_scalar_source;     // numpy.cpp
extern const source_row torch_source;            // torch.cpp
extern const source_row array_source;            // array.cpp
extern const source_row exchange_api_source;     // exchange_api.cpp
extern const source_row dlpack_source;           // dlpack_protocol.cpp
extern const source_row capsule_source;          // dlpack_protocol.cpp
extern const source_row buffer_source;           // buffer.cpp
extern const source_row array_interface_source;  // array_interface.cpp
extern const source_row cuda_array_interface_source;

/// Fills the description from a struct that somebody keeps alive for the call: validates it first.
/// `flags` are DLPack's.
void describe_tensor(inbound& in, const DLTensor& tensor, std::uint64_t flags);

// What several rows do alike.
owner take_object(inbound& in);  ///< the object itself keeps the memory alive
owner take_held(inbound& in);    ///< what describing made keeps it alive

/// The exchange table of a type (capsule of DLPack 1.3 or int of 1.2) whose major version can be
/// read, following `prev_api`; null when there is none.
const DLPackExchangeAPI* exchange_api_of(PyTypeObject* type) noexcept;

}  // namespace dlpack_bridge::python
