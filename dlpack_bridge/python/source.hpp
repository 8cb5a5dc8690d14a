#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include <dlpack_bridge/python/errors.hpp>
#include <dlpack_bridge/python/object.hpp>
#include <dlpack_bridge/python/producer.hpp>
#include <dlpack_bridge/python/road.hpp>

namespace dlpack_bridge::python {

/// What looking at a type once has told.
struct type_entry {
  PyTypeObject* type = nullptr;  ///< identity only, no reference
  unsigned int version_tag = 0;  ///< CPython's: unique, changes when the type or a base changes
  const source_row* row = nullptr;
  framework origin = framework::other;
  const producer_row* producer = &any_producer;
  reason_set always;  ///< states that hold for every object of the type
  const DLPackExchangeAPI* api = nullptr;
  PyObject* dlpack = nullptr;         ///< `__dlpack__` of the type, borrowed
  PyObject* dlpack_device = nullptr;  ///< `__dlpack_device__` of the type, borrowed
  std::string_view note;
};

// What was told is cached by type and version tag, direct-mapped: types that exchange arrays are few. A
// version tag is unique in the life of the process, so an entry needs no reference to its type: a new
// type at the same address has another tag, and so has a type whose attributes changed.
inline constexpr std::size_t type_cache_size = 512;
extern type_entry type_cache[type_cache_size];

inline std::size_t type_cache_slot(const PyTypeObject* type) noexcept {
  const auto bits = reinterpret_cast<std::uintptr_t>(type);
  return ((bits >> 4) ^ (bits >> 13)) % type_cache_size;
}

/// Looks at a type that is new or has changed.
[[gnu::cold]] const type_entry* look_again(PyTypeObject* type) noexcept;

/// Which row serves the objects of a type. Null without an error when the type is no array.
inline const type_entry* entry_of(PyTypeObject* type) noexcept {
  const type_entry& place = type_cache[type_cache_slot(type)];
#if PY_VERSION_HEX >= 0x030C0000
  const bool tagged = type->tp_version_tag != 0;
#else
  const bool tagged = (type->tp_flags & Py_TPFLAGS_VALID_VERSION_TAG) != 0;
#endif
  if (place.type != type || place.version_tag != type->tp_version_tag || !tagged) [[unlikely]] {
    return look_again(type);
  }
  return place.row == nullptr ? nullptr : &place;
}

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

/// Whether an array has the dtype asked for where DLPack lacks it: only such an array will do. False
/// with an error set.
[[gnu::cold]] bool check_named_dtype(const inbound& in, const requirements& wanted);

/// The entry of an object's type. Null with an error set when the object is no array.
inline const type_entry* array_entry_of(PyObject* object) {
  const type_entry* entry = entry_of(Py_TYPE(object));
  if (entry == nullptr && !PyErr_Occurred()) raise_not_an_array(object);
  return entry;
}

/// SOURCE: describes `in.object`. False with an error set (no array, or an exception that passes
/// through).
inline bool describe(inbound& in, const requirements& wanted) {
  if (in.entry == nullptr && (in.entry = array_entry_of(in.object)) == nullptr) return false;
  in.row = in.entry->row;
  in.desc.source = in.entry->origin;
  in.desc.state = in.entry->always;
  in.desc.note = in.entry->note;
  in.desc.same_framework = in.entry->origin == in.target.holds.id;
  if (!in.row->describe(in, wanted)) return false;
  return wanted.named_dtype == nullptr || check_named_dtype(in, wanted);
}

/// Fills the description from a struct that somebody keeps alive for the call: validates it first.
/// `flags` are DLPack's.
void describe_tensor(inbound& in, const DLTensor& tensor, std::uint64_t flags);

/// Fills the description of an array whose memory nobody looks at: with its `shape` and with what it says
/// of its elements and its place.
void describe_claims(inbound& in, std::optional<dtype> type, std::optional<device> where,
                     bool read_only);

/// Strides that a producer gives in bytes, written to `in.strides_room`: in elements where all of them are
/// whole, otherwise as they are, which the description says then.
inline const extent* read_byte_strides(inbound& in, const extent* shape, const extent* byte_strides,
                                       int ndim, std::int64_t itemsize) noexcept {
  const bool shifts = (itemsize & (itemsize - 1)) == 0;  // has_single_bit counts all bits
  const int shift = std::countr_zero(static_cast<std::uint64_t>(itemsize));
  for (int i = 0; i < ndim; ++i) {
    const extent whole = shifts ? byte_strides[i] >> shift : byte_strides[i] / itemsize;
    if (whole * itemsize != byte_strides[i] && shape[i] > 1) [[unlikely]] {
      in.desc.byte_strides = true;
      std::copy_n(byte_strides, ndim, in.strides_room);
      break;
    }
    in.strides_room[i] = whole;
  }
  return in.strides_room;
}

// What several rows do alike.
owner take_object(inbound& in);       ///< the object itself keeps the memory alive
owner take_held(inbound& in);         ///< what describing made keeps it alive
owner keep_itself(PyObject* object);  ///< `source_row::keep`: nothing but the object is needed

/// The exchange table of a type (capsule of DLPack 1.3 or int of 1.2) whose major version can be
/// read, following `prev_api`; null when there is none.
const DLPackExchangeAPI* exchange_api_of(PyTypeObject* type) noexcept;

}  // namespace dlpack_bridge::python
