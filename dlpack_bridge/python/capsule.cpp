#include <dlpack_bridge/python/capsule.hpp>

#include <cstring>
#include <string_view>

#include <dlpack_bridge/python/release.hpp>

namespace dlpack_bridge::python {
namespace {

constexpr const char* legacy_name = "dltensor";
constexpr const char* used_legacy_name = "used_dltensor";
constexpr const char* versioned_name = "dltensor_versioned";
constexpr const char* used_versioned_name = "used_dltensor_versioned";

// Whether nobody has taken what one of our capsules holds: who does gives it another name, which mostly
// begins with another letter.
bool is_unused(PyObject* capsule, const char* name) noexcept {
  const char* const found = PyCapsule_GetName(capsule);
  return found != nullptr && found[0] == name[0] && std::strcmp(found, name) == 0;
}

// A destructor may run while an exception is pending, which the deleter must not disturb.
[[gnu::hot]] void destroy_versioned(PyObject* capsule) {
  if (!is_unused(capsule, versioned_name)) return;
  own_managed(
      static_cast<DLManagedTensorVersioned*>(PyCapsule_GetPointer(capsule, versioned_name)));
}

void destroy_legacy(PyObject* capsule) {
  if (!is_unused(capsule, legacy_name)) return;
  own_managed(static_cast<DLManagedTensor*>(PyCapsule_GetPointer(capsule, legacy_name)));
}

}  // namespace

capsule_kind kind_of_capsule(PyObject* capsule) noexcept {
  const char* found = PyCapsule_GetName(capsule);
  if (found == nullptr) {
    PyErr_Clear();
    return capsule_kind::foreign;
  }
  const std::string_view name(found);
  if (name == versioned_name) return capsule_kind::versioned;
  if (name == legacy_name) return capsule_kind::legacy;
  if (name == used_legacy_name || name == used_versioned_name) return capsule_kind::consumed;
  return capsule_kind::foreign;
}

const DLTensor* peek_legacy(PyObject* capsule) noexcept {
  if (!PyCapsule_IsValid(capsule, legacy_name)) return nullptr;
  return &static_cast<DLManagedTensor*>(PyCapsule_GetPointer(capsule, legacy_name))->dl_tensor;
}

const DLManagedTensorVersioned* peek_versioned(PyObject* capsule) noexcept {
  if (!PyCapsule_IsValid(capsule, versioned_name)) return nullptr;
  return static_cast<DLManagedTensorVersioned*>(PyCapsule_GetPointer(capsule, versioned_name));
}

DLManagedTensorVersioned* take_versioned(PyObject* capsule) noexcept {
  auto* tensor =
      static_cast<DLManagedTensorVersioned*>(PyCapsule_GetPointer(capsule, versioned_name));
  PyCapsule_SetName(capsule, used_versioned_name);
  return tensor;
}

owner consume_capsule(PyObject* capsule, bool without_python) noexcept {
  const auto own = [without_python](auto* tensor) {
    return without_python ? owner::of_managed(tensor) : own_managed(tensor);
  };
  if (PyCapsule_IsValid(capsule, versioned_name)) return own(take_versioned(capsule));
  auto* tensor = static_cast<DLManagedTensor*>(PyCapsule_GetPointer(capsule, legacy_name));
  PyCapsule_SetName(capsule, used_legacy_name);
  return own(tensor);
}

[[gnu::hot]] ref make_versioned_capsule(managed_tensor&& t) noexcept {
  DLManagedTensorVersioned* raw = std::move(t).release();
  ref capsule = ref::steal(PyCapsule_New(raw, versioned_name, destroy_versioned));
  if (!capsule) own_managed(raw);
  return capsule;
}

ref make_legacy_capsule(managed_tensor&& t) noexcept {
  DLManagedTensor* raw = std::move(t).release_legacy();
  ref capsule = ref::steal(PyCapsule_New(raw, legacy_name, destroy_legacy));
  if (!capsule) own_managed(raw);
  return capsule;
}

}  // namespace dlpack_bridge::python
