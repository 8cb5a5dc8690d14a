#include <dlpack_bridge/cuda/stream_ref.hpp>

#include <string>

#include <dlpack_bridge/cuda/placement.hpp>
#include <dlpack_bridge/error.hpp>

namespace dlpack_bridge::cuda {
namespace {

[[noreturn]] void refuse(const std::string& message) {
  throw exchange_error(message, {{reason_code::stream, message}});
}

}  // namespace

stream_ref::stream_ref(device where, stream_handle stream)
    : where_(kDLCUDA, where.id), handle_(stream) {
  if (!needs_cuda(where.type)) refuse("an array on " + where.name() + " has no CUDA stream");
  if (!stream.known() || stream.no_sync()) refuse("no stream was named; pass one");
  const driver_api& api = need_driver();
  const placed_stream at = place(api, where.id, stream);
  if (at.device != where.id) {
    refuse("the stream belongs to " + device(kDLCUDA, at.device).name() + ", not to " +
           where_.name() + "; pass a stream of that device");
  }
  if (stream.per_thread()) thread_ = this_thread_number();
  if (is_default_stream(stream)) return;
  unsigned long long id = 0;
  check({at.device, at.handle}, api.cuStreamGetId, at.handle, &id);
  id_ = id;
}

stream_kind stream_ref::kind() const noexcept {
  switch (handle_.protocol()) {
    case 1: return stream_kind::legacy;
    case 2: return stream_kind::per_thread;
    default: return stream_kind::handle;
  }
}

bool stream_ref::is_usable_here() const noexcept {
  return thread_ == 0 || thread_ == this_thread_number();
}

void* stream_ref::get() const noexcept { return native(handle_); }

}  // namespace dlpack_bridge::cuda
