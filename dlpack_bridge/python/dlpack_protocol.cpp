// Producers with `__dlpack__`, and DLPack capsules given as they are.

#include <optional>
#include <string>

#include <dlpack_bridge/python/capsule.hpp>
#include <dlpack_bridge/python/dlpack_call.hpp>
#include <dlpack_bridge/python/dtype_object.hpp>
#include <dlpack_bridge/python/errors.hpp>
#include <dlpack_bridge/python/source.hpp>
#include <dlpack_bridge/version.hpp>

namespace dlpack_bridge::python {
namespace {

using why = reason_code;

void nothing_known(inbound& in) noexcept {
  in.desc.has_layout = in.desc.has_dtype = in.desc.has_device = false;
}

// ---- capsules --------------------------------------------------------------------------------

void describe_versioned(inbound& in, const DLManagedTensorVersioned& tensor, bool immutable) {
  if (!is_readable(tensor.version)) {
    nothing_known(in);
    in.refuse(why::version, "the capsule has version " + std::to_string(tensor.version.major) +
                                "." + std::to_string(tensor.version.minor) + " and the hub reads " +
                                std::to_string(exported_dlpack_version.major) +
                                ".x; export it with " + max_version_text());
    return;
  }
  describe_tensor(in, tensor.dl_tensor,
                  immutable ? tensor.flags | DLPACK_FLAG_BITMASK_READ_ONLY : tensor.flags);
}

// What a capsule holds, by its name. Nothing is consumed.
void describe_capsule(inbound& in, bool immutable) {
  PyObject* capsule = in.capsule.get();
  switch (kind_of_capsule(capsule)) {
    case capsule_kind::versioned:
      describe_versioned(in, *peek_versioned(capsule), immutable);
      return;
    case capsule_kind::legacy:
      describe_tensor(in, *peek_legacy(capsule), immutable ? DLPACK_FLAG_BITMASK_READ_ONLY : 0);
      return;
    case capsule_kind::consumed:
      nothing_known(in);
      in.refuse(why::capsule,
                "it was consumed already, and a capsule is good for one use; export "
                "the array again");
      return;
    case capsule_kind::foreign: break;
  }
  const char* name = PyCapsule_GetName(capsule);
  PyErr_Clear();
  nothing_known(in);
  in.refuse(why::capsule,
            "a capsule named \"" + std::string(name == nullptr ? "" : name) +
                "\" is no DLPack capsule; pass one named \"dltensor\" or \"dltensor_versioned\"");
}

// Whoever asks without a stream gets memory that is safe on the legacy default stream (array API).
void order_as_without_stream(inbound& in) noexcept {
  in.desc.streams.producer.handle = stream_handle::legacy();
  in.desc.streams.producer_unknown = true;
}

bool describe_raw_capsule(inbound& in, const requirements&) {
  in.capsule = ref::borrow(in.object);
  describe_capsule(in, /*immutable=*/false);
  if (in.desc.has_device && needs_cuda(in.desc.view.device().type)) order_as_without_stream(in);
  return true;
}

owner take_capsule(inbound& in) {
  return consume_capsule(in.capsule.get(), in.deletes_without_python);
}

// ---- the stream that a producer on a GPU is told ----------------------------------------------

// Of an array that is not asked for, since it is refused whatever it is.
void describe_place_only(inbound& in, device where) noexcept {
  in.desc.has_layout = in.desc.has_dtype = false;
  in.desc.view = tensor_view(nullptr, nullptr, nullptr, 0, dtype(), where);
}

// Whether the producer may be told the consumer's stream: inside a capture its own wait could break
// the graph, and a stream of another device would order nothing. The refusal is negotiate's.
bool may_be_told(inbound& in, device where) {
  stream_state& user = in.desc.streams.consumer;
  if (!user.handle.known() || user.handle.no_sync()) return true;
  const driver_status status = cuda_backend()->look_at(where, user);
  if (!status.answers()) throw device_error(status.code, status.name, status.text);
  const bool foreign = user.belongs_elsewhere(where);
  if (!user.captures() && !foreign) return true;
  in.desc.state.add(foreign ? why::stream : why::capture);
  describe_place_only(in, where);
  return false;
}

// The producer orders its work before later work on this stream, and the result goes on from there.
stream_handle stream_to_tell(inbound& in, const producer_row& producer, const requirements& wanted,
                             device where) {
  if (where.type == kDLROCM) {
    const std::int64_t user = wanted.stream.known() ? wanted.stream.protocol() : 0;
    return *stream_handle::from_protocol(kDLROCM, in.mode == look::borrow ? -1 : user);
  }
  stream_handle& user = in.desc.streams.consumer.handle;
  const bool driver = cuda_status().answers();
  user = driver ? stream_of_use(in, wanted, where) : wanted.stream;
  if (in.mode == look::borrow) return stream_handle::caller_orders();
  if (user.known() && (producer.takes_no_sync || !user.no_sync())) return user;
  if (!driver) return stream_handle::legacy();
  const stream_handle own = cuda_backend()->own_stream(where);
  if (!user.known()) user = own;
  return own;
}

// ---- the row -----------------------------------------------------------------------------------

// The capsule describes the memory. Libraries announce pinned and managed memory as another kind
// (torch: pinned tensors say (3, 0), their capsule says CPU); anything else is an error.
bool agree(device announced, device found) noexcept {
  if (announced == found) return true;
  return cpu_reads(announced.type) && cpu_reads(found.type);
}

// An array that cannot be exported (of JAX: traced, or in several parts) may be the answer as it is: what
// it says of itself, where that describes it: row-major arrays. False with an error that must pass through.
bool refuse_with_claims(inbound& in, const producer_row& producer, std::optional<device> where) {
  if (!in.refuse_producer_error()) return false;
  const capabilities& holds = capabilities_of(in.desc.source);
  if (holds.any_strides) return true;
  const ref type = attribute_or_none(in.object, "dtype");
  const std::optional<dtype> element = type ? dtype_from_object(type.get()) : std::nullopt;
  PyErr_Clear();
  if (!where && producer.find_device != nullptr) where = producer.find_device(in.object);
  describe_claims(in, element, where, holds.immutable);
  in.desc.says_contiguous = true;
  return true;
}

bool refuse_answer(inbound& in, const producer_row& producer, bool on_gpu,
                   std::optional<device> where) {
  if (!in.capsule) {
    if (!on_gpu || !lacks_keyword()) return refuse_with_claims(in, producer, where);
    PyErr_Clear();
    nothing_known(in);
    in.refuse(why::stream,
              "the producer's __dlpack__ takes no stream, so nobody can order its "
              "work; synchronize it and pass stream=-1");
    return true;
  }
  const std::string got = Py_TYPE(in.capsule.get())->tp_name;
  in.capsule = ref();
  nothing_known(in);
  in.refuse(why::capsule, "__dlpack__ returned an object of type " + got +
                              "; mend the producer to return a DLPack capsule");
  return true;
}

bool describe_by_protocol(inbound& in, const requirements& wanted) {
  dlpack_call call{.dlpack = ref::borrow(in.entry->dlpack), .self = ref::borrow(in.object)};
  call.forbids_copy = wanted.copy == copy_policy::never;
  const ref dlpack_device = ref::borrow(in.entry->dlpack_device);
  const producer_row& producer = *in.entry->producer;
  const bool immutable = capabilities_of(in.desc.source).immutable;

  if (producer.ask_first != nullptr) {
    const shortcut found = producer.ask_first(in, call.dlpack.get(), dlpack_device.get());
    if (found == shortcut::exported) describe_capsule(in, immutable);
    if (found != shortcut::none) return found != shortcut::failed;
  }
  std::optional<device> announced;
  if (dlpack_device) {
    announced = announced_device(dlpack_device.get(), in.object);
    if (announced) {
      call.where = *announced;
    } else if (producer.device_may_fail && is_answer_error()) {
      PyErr_Clear();
    } else {
      return in.refuse_producer_error();
    }
  }
  const bool on_gpu = needs_cuda(call.where.type) || call.where.type == kDLROCM;
  if (on_gpu) {
    const bool looks = in.mode == look::borrow && needs_cuda(call.where.type);
    if (looks && producer.look_at_device != nullptr) return producer.look_at_device(in, call.where);
    if (missing_stream(wanted, call.where.type)) {
      describe_place_only(in, call.where);  // the refusal is negotiate's
      return true;
    }
    const stream_handle stream = stream_to_tell(in, producer, wanted, call.where);
    const bool judged = !stream.no_sync() && needs_cuda(call.where.type) && cuda_status().answers();
    if (judged && !may_be_told(in, call.where)) return true;
    in.capsule = ask_in_order(call, stream, wanted.stream.no_sync(), in.desc.streams);
    if (in.mode == look::borrow) in.desc.streams.producer_unknown = !wanted.stream.no_sync();
  } else {
    in.capsule = ask_on_host(call);
  }
  if (!in.capsule || !PyCapsule_CheckExact(in.capsule.get()))
    return refuse_answer(in, producer, on_gpu, announced);
  describe_capsule(in, immutable);
  if (announced && in.desc.has_device && !agree(*announced, in.desc.view.device())) {
    in.refuse(why::malformed, "the producer announces " + announced->name() +
                                  " and its capsule says " + in.desc.view.device().name() +
                                  "; mend it in the producer");
  }
  return true;
}

bool renew_by_protocol(PyObject* object, const type_entry& entry, device where,
                       stream_handle consumer, stream_facts& streams) {
  dlpack_call call{.dlpack = ref::borrow(entry.dlpack), .self = ref::borrow(object)};
  call.where = where;
  stream_state told{.handle = consumer};
  const driver_status status = cuda_backend()->look_at(where, told);
  if (!status.answers()) throw device_error(status.code, status.name, status.text);
  if (told.captures()) return refuse_capture();
  return static_cast<bool>(ask_in_order(call, consumer, false, streams));
}

}  // namespace

const source_row dlpack_source{"dlpack", framework::other, describe_by_protocol, take_capsule,
                               renew_by_protocol};
const source_row capsule_source{"dlpack_capsule", framework::other, describe_raw_capsule,
                                take_capsule};

}  // namespace dlpack_bridge::python
