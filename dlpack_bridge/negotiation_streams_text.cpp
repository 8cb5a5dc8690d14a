// What negotiation says of streams, captures and the driver.

#include <dlpack_bridge/negotiation_rules.hpp>
#include <dlpack_bridge/negotiation_text.hpp>

namespace dlpack_bridge {
namespace {

// The device for which a driver would be needed: the one that is asked for, or that of the data.
std::string cuda_device_name(const description& s, const requirements& r) {
  const bool asked = r.device && (needs_cuda(r.device->type) || r.device->type == kDLCUDAHost);
  return (asked ? *r.device : s.view.device()).name();
}

std::string stream_name(stream_handle stream) {
  return stream.known() ? stream.name() : "a stream that only the producer knows";
}

// The stream belongs to another device than the memory it is to be used with.
std::string foreign_stream_text(const description& s, const requirements& r,
                                const capabilities& t) {
  const device from = s.view.device();
  device result;
  if (r.device) result = *r.device;
  else is_shown(from, t.devices, result);
  const device work = device_of_work(from, result);
  const bool consumer = s.streams.consumer.belongs_elsewhere(work);
  const stream_state& stream = consumer ? s.streams.consumer : s.streams.producer;
  if (!consumer && !stream.belongs_elsewhere(from)) {
    return ends_in_note("the stream cannot be used", s);
  }
  return stream_name(stream.handle) + " belongs to cuda:" + std::to_string(stream.device_id) +
         " and the memory to " + (consumer ? work : from).name() + "; pass a stream of that device";
}

// What a kind of device knows of streams.
std::string streams_of(DLDeviceType type) {
  if (type == kDLROCM) return "pass None, -1 (the caller orders), 0 (default) or a stream handle";
  return "pass None, -1 (the caller orders), 1 (legacy default), 2 (per-thread default) or a stream "
         "handle";
}

}  // namespace

std::string stream_text(const description& s, const requirements& r, const capabilities& t) {
  const device from = s.view.device();
  const device to = r.device && is_host_memory(from.type) ? *r.device : from;
  const device shown = r.device.value_or(from);
  if (r.refused_stream && t.id == framework::cpp && is_host_memory(shown.type)) {
    return "an array on " + shown.name() + " has no stream; pass stream=None";
  }
  const std::optional<std::int64_t> missing = missing_stream(r, to.type);
  if (!missing) return foreign_stream_text(s, r, t);
  const std::string number =
      "stream " + (*missing == INT64_MAX || *missing == INT64_MIN ? std::string("beyond 64 bits")
                                                                  : std::to_string(*missing));
  const bool rocm = to.type == kDLROCM;
  if (!rocm && !needs_cuda(to.type) && !is_host_memory(to.type)) {
    return number + " does not exist on " + to.name() + ", whose streams DLPack does not number; " +
           "synchronize and pass stream=None";
  }
  return number + " does not exist on " + (rocm ? "ROCm" : "CUDA") + " devices; " +
         streams_of(to.type);
}

std::string capture_text(const description& s) {
  const stream_facts& streams = s.streams;
  const bool consumer = streams.consumer.captures(), producer = streams.producer.captures();
  if (!consumer && !producer) {
    return ends_in_note("a CUDA graph capture is in progress", s);
  }
  std::string text = "a CUDA graph capture is in progress on ";
  if (consumer) text += stream_name(streams.consumer.handle);
  if (consumer && producer) text += " and on ";
  if (producer) text += stream_name(streams.producer.handle);
  if (streams.producer_unknown) {
    return text +
           ", and a wait that the producer makes there could break it; import the array "
           "before the capture, or order it yourself and pass stream=-1";
  }
  return text +
         ", and what is asked for would break it or belong to the graph; exchange or copy the "
         "array before the capture, or order it yourself and pass stream=-1";
}

std::string driver_text(const description& s, const requirements& r) {
  const std::string remedy =
      ", so " + cuda_device_name(s, r) + " cannot be used; keep the data on the CPU";
  if (s.driver.code == no_driver.code) {
    std::string text = "no CUDA driver answers on this machine";
    if (*s.driver.text != '\0') text.append(" (").append(s.driver.text).append(")");
    return text + remedy;
  }
  return std::string("the CUDA driver answers ") + s.driver.name + " (" +
         std::to_string(s.driver.code) + ") to " + s.driver.text + remedy;
}

}  // namespace dlpack_bridge
