#pragma once

#include <dlpack_bridge/managed_tensor.hpp>
#include <dlpack_bridge/python/object.hpp>

namespace dlpack_bridge::python {

// The one file that knows the names of DLPack's capsules.

enum class capsule_kind : std::uint8_t { legacy, versioned, consumed, foreign };

/// What a capsule is by its name.
capsule_kind kind_of_capsule(PyObject* capsule) noexcept;

/// Looks into a capsule without consuming it; null when it is of another kind.
const DLTensor* peek_legacy(PyObject* capsule) noexcept;
const DLManagedTensorVersioned* peek_versioned(PyObject* capsule) noexcept;

/// Consumes a capsule of either kind: renames it and gives its managed tensor to the caller. A deleter
/// that is known to touch no Python object is not given the GIL.
owner consume_capsule(PyObject* capsule, bool without_python = false) noexcept;

/// The same for one of the versioned kind: the tensor itself, which the caller then owns.
DLManagedTensorVersioned* take_versioned(PyObject* capsule) noexcept;

/// Makes capsules whose destructor runs the deleter unless a consumer took the tensor. Empty with
/// an error set; the tensor is dropped then.
ref make_versioned_capsule(managed_tensor&& t) noexcept;
ref make_legacy_capsule(managed_tensor&& t) noexcept;

}  // namespace dlpack_bridge::python
