#pragma once

#include <optional>
#include <string>
#include <vector>

#include <dlpack_bridge/python/object.hpp>
#include <dlpack_bridge/python/road.hpp>

namespace dlpack_bridge::python {

/// What the hub sees of an object, as plain values.
struct array_facts {
  std::string framework;
  std::optional<dlpack_bridge::dtype> dtype;
  std::optional<dlpack_bridge::device> device;
  std::vector<extent> shape;
  std::optional<std::vector<extent>> strides;  ///< in elements; empty when not all are whole
  bool readonly = false;
  std::vector<std::string> protocols;
  std::int64_t alignment = 0;  ///< largest power of two that divides the address; 0 when unknown
  std::vector<std::string>
      state;  ///< reason codes that hold for it: "requires_grad", "sparse", ...
  std::string summary;
};

/// `info`. False with an error set.
bool inspect(PyObject* x, array_facts& out);

/// `shares_memory`; empty with an error set (ValueError when the bounded search gives up).
std::optional<bool> objects_share_memory(PyObject* a, PyObject* b);

/// True when the hub takes the object as an array. Leaves no error set.
bool is_array(PyObject* x) noexcept;

/// Describes an array for a look, with its layout. False with an error set.
bool look_at(inbound& in);

}  // namespace dlpack_bridge::python
