// Producers with DLPack's C exchange API: a table of functions on the type.

#include <cstdint>
#include <cstring>

#include <dlpack_bridge/python/release.hpp>
#include <dlpack_bridge/python/source.hpp>
#include <dlpack_bridge/version.hpp>

namespace dlpack_bridge::python {
namespace {

constexpr const char* table_capsule = "dlpack_exchange_api";  // the name DLPack 1.3 fixes

// A borrowed DLTensor would be cheaper for `plan`, but it has no flags: read-only would be lost.
const DLTensor* export_tensor(inbound& in, std::uint64_t& flags) noexcept {
  const DLPackExchangeAPI* api = in.entry->api;
  DLManagedTensorVersioned* exported = nullptr;
  if (api->managed_tensor_from_py_object_no_sync(in.object, &exported) != 0 || !exported) {
    return nullptr;
  }
  in.held = own_managed(exported);
  if (!is_readable(exported->version)) {
    in.held.reset();
    in.desc.has_layout = in.desc.has_dtype = in.desc.has_device = false;
    in.refuse(reason_code::version,
              "the exchange API gave another major version; export the array with __dlpack__");
    return nullptr;
  }
  flags = exported->flags;
  return &exported->dl_tensor;
}

// The stream the producer works on now, which is where the exchange API's users order themselves.
bool ask_for_stream(const DLPackExchangeAPI* api, device where, stream_handle& stream) {
  if (api->current_work_stream == nullptr) return true;
  void* handle = nullptr;
  if (api->current_work_stream(where.type, where.id, &handle) != 0) {
    if (!PyErr_Occurred()) {
      PyErr_SetString(PyExc_BufferError, "current_work_stream failed without saying why");
    }
    return false;
  }
  stream = stream_handle::from_native(handle);
  return true;
}

bool renew_by_table(PyObject*, const type_entry& entry, device where, stream_handle,
                    stream_facts& streams) {
  return ask_for_stream(entry.api, where, streams.producer.handle);
}

bool describe_by_table(inbound& in, const requirements&) {
  const DLPackExchangeAPI* api = in.entry->api;
  const bool immutable = capabilities_of(in.desc.source).immutable;
  std::uint64_t flags = 0;
  const DLTensor* tensor = export_tensor(in, flags);
  if (tensor == nullptr) {
    if (in.desc.state.contains(reason_code::version)) return true;
    if (!PyErr_Occurred()) {
      PyErr_SetString(PyExc_BufferError, "the exchange API failed without saying why");
    }
    return in.refuse_producer_error();
  }
  describe_tensor(in, *tensor, immutable ? flags | DLPACK_FLAG_BITMASK_READ_ONLY : flags);
  const device where = in.desc.view.device();
  if (!needs_cuda(where.type) || !cuda_status().answers()) return true;
  in.desc.streams.producer_unknown = api->current_work_stream == nullptr;
  return ask_for_stream(api, where, in.desc.streams.producer.handle) || in.refuse_producer_error();
}

}  // namespace

const source_row exchange_api_source{"dlpack_c_exchange_api", framework::other, describe_by_table,
                                     take_held, renew_by_table};

const DLPackExchangeAPI* exchange_api_of(PyTypeObject* type) noexcept {
  static PyObject* const current = PyUnicode_InternFromString("__dlpack_c_exchange_api__");
  static PyObject* const older = PyUnicode_InternFromString("__c_dlpack_exchange_api__");
  const void* table = nullptr;
  PyObject* found = type_attribute(type, current);
  const bool names_address = found == nullptr;  // DLPack 1.2: an int, under another name
  if (names_address) found = type_attribute(type, older);
  if (found == nullptr) return nullptr;
  if (PyCapsule_IsValid(found, table_capsule)) {
    table = PyCapsule_GetPointer(found, table_capsule);
  } else if (names_address && PyLong_CheckExact(found)) {
    table = PyLong_AsVoidPtr(found);
    PyErr_Clear();
    // No table lies in the first page or between two words: a number that is no address.
    const auto address = reinterpret_cast<std::uintptr_t>(table);
    if (address < 4096 || address % alignof(DLPackExchangeAPIHeader) != 0) table = nullptr;
  }
  const auto* header = static_cast<const DLPackExchangeAPIHeader*>(table);
  while (header != nullptr && !is_readable(header->version)) header = header->prev_api;
  const auto* api = reinterpret_cast<const DLPackExchangeAPI*>(header);
  if (api == nullptr || api->managed_tensor_from_py_object_no_sync == nullptr) return nullptr;
  return api;
}

}  // namespace dlpack_bridge::python
