#include "api.hpp"
#include "captures.hpp"
#include "order.hpp"
#include "streams.hpp"

// Streams and events.
using namespace fake_cuda;

namespace {

CUresult create_stream(frame& f, CUstream* out, unsigned flags, int priority) {
  need(out != nullptr && (flags & ~1U) == 0);
  context& current = need_context(f);
  forbid_unsafe(f);
  stream& s = make_stream(f.w, current, flags);
  s.priority = priority;
  *out = reinterpret_cast<CUstream>(&s);
  return CUDA_SUCCESS;
}

// Done is what the host finds out by asking, and then knows.
CUresult answer(frame& f, const vector_clock& work) {
  if (!has_run(f.w, work)) return CUDA_ERROR_NOT_READY;
  host_learns(f.w, work);
  return CUDA_SUCCESS;
}

}  // namespace

FAKE_CUDA_API cuStreamCreate(CUstream* out, unsigned flags) {
  return call<"cuStreamCreate">(reach::current(),
                                [&](frame& f) { return create_stream(f, out, flags, 0); });
}

FAKE_CUDA_API cuStreamCreateWithPriority(CUstream* out, unsigned flags, int priority) {
  return call<"cuStreamCreateWithPriority">(
      reach::current(), [&](frame& f) { return create_stream(f, out, flags, priority); });
}

// Returns at once; what is on the stream still runs.
FAKE_CUDA_API cuStreamDestroy(CUstream handle) {
  return call<"cuStreamDestroy">(reach::on(handle), [&](frame& f) {
    stream& s = need_stream(f, handle);
    if (f.w.streams.find(handle) == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    need_context(f);
    if (s.capturing == nullptr) forbid_unsafe(f);
    destroy_stream(f.w, s);
    return CUDA_SUCCESS;
  });
}

FAKE_CUDA_API cuStreamQuery(CUstream handle) {
  return call<"cuStreamQuery">(reach::on(handle), [&](frame& f) {
    need_context(f);
    stream& s = need_stream(f, handle);
    forbid_asking(f, s);
    return answer(f, s.known);
  });
}

// Asking and waiting put nothing on the stream, so the rule of the legacy stream does not apply:
// the host learns of the work of this stream and of what it waited for.
FAKE_CUDA_API cuStreamSynchronize(CUstream handle) {
  return call<"cuStreamSynchronize">(reach::on(handle), [&](frame& f) {
    need_context(f);
    stream& s = need_stream(f, handle);
    forbid_asking(f, s);
    host_waits_for(f, s.known);
    return CUDA_SUCCESS;
  });
}

FAKE_CUDA_API cuStreamGetFlags(CUstream handle, unsigned* flags) {
  return call<"cuStreamGetFlags">(reach::on(handle), [&](frame& f) {
    need(flags != nullptr);
    const bool blocks = need_stream(f, handle).kind != stream_kind::non_blocking;
    *flags = blocks ? CU_STREAM_DEFAULT : CU_STREAM_NON_BLOCKING;
    return CUDA_SUCCESS;
  });
}

FAKE_CUDA_API cuStreamGetPriority(CUstream handle, int* priority) {
  return call<"cuStreamGetPriority">(reach::on(handle), [&](frame& f) {
    need(priority != nullptr);
    *priority = need_stream(f, handle).priority;
    return CUDA_SUCCESS;
  });
}

FAKE_CUDA_API cuStreamGetId(CUstream handle, unsigned long long* id) {
  return call<"cuStreamGetId">(reach::on(handle), [&](frame& f) {
    need(id != nullptr);
    *id = need_stream(f, handle).id;
    return CUDA_SUCCESS;
  });
}

// The older of the two names a green context as if it were any other.
FAKE_CUDA_API cuStreamGetCtx_v2(CUstream handle, CUcontext* home, CUgreenCtx* green) {
  return call<"cuStreamGetCtx">(reach::on(handle), [&](frame& f) {
    need(home != nullptr);
    context* own = need_stream(f, handle).home;
    if (green != nullptr) {
      *green = own->green ? reinterpret_cast<CUgreenCtx>(own) : nullptr;
      if (own->green) own = f.w.devices[static_cast<std::size_t>(own->device)].get();
    }
    *home = reinterpret_cast<CUcontext>(own);
    return CUDA_SUCCESS;
  });
}

FAKE_CUDA_API cuStreamGetCtx(CUstream handle, CUcontext* home) {
  return cuStreamGetCtx_v2(handle, home, nullptr);
}

FAKE_CUDA_API cuStreamGetDevice(CUstream handle, CUdevice* device) {
  return call<"cuStreamGetDevice">(reach::on(handle), [&](frame& f) {
    need(device != nullptr);
    *device = need_stream(f, handle).home->device;
    return CUDA_SUCCESS;
  });
}

FAKE_CUDA_API cuStreamWaitEvent(CUstream handle, CUevent waited_for, unsigned flags) {
  return call<"cuStreamWaitEvent">(reach::on(handle), [&](frame& f) {
    need_context(f);
    stream& s = need_stream(f, handle);
    event& e = need_event(f, waited_for);
    const bool external = flags == CU_EVENT_WAIT_EXTERNAL;
    need(flags == CU_EVENT_WAIT_DEFAULT || (external && s.capturing != nullptr));
    const bool captures = goes_into_graph(f, s);
    const bool recorded = e.captured_in != 0 || e.recorded;
    if (recorded && (captures || e.captured_in != 0)) {
      wait_captured(f, s, e, external);
    } else if (recorded) {
      past_of(f.w, s);
      s.known.join(e.state);
    }
    return CUDA_SUCCESS;
  });
}

FAKE_CUDA_API cuEventCreate(CUevent* out, unsigned flags) {
  return call<"cuEventCreate">(reach::current(), [&](frame& f) {
    constexpr unsigned known_flags =
        CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING | CU_EVENT_INTERPROCESS;
    const bool shared = (flags & CU_EVENT_INTERPROCESS) != 0;
    need(out != nullptr && (flags & ~known_flags) == 0);
    need(!shared || (flags & CU_EVENT_DISABLE_TIMING) != 0);
    context& current = need_context(f);
    event& e = f.w.events.make();
    e.home = &current;
    *out = reinterpret_cast<CUevent>(&e);
    return CUDA_SUCCESS;
  });
}

FAKE_CUDA_API cuEventDestroy(CUevent handle) {
  return call<"cuEventDestroy">(reach::on(handle), [&](frame& f) {
    need_context(f);
    f.w.events.destroy(need_event(f, handle));
    return CUDA_SUCCESS;
  });
}

FAKE_CUDA_API cuEventRecord(CUevent recorded, CUstream handle) {
  return call<"cuEventRecord">(reach::on(handle), [&](frame& f) {
    need_context(f);
    event& e = need_event(f, recorded);
    stream& s = need_stream(f, handle);
    if (e.home != s.home) return CUDA_ERROR_INVALID_HANDLE;
    const bool captures = goes_into_graph(f, s);
    e.recorded = true;
    e.captured_in = 0;
    e.state.clear();
    if (captures) record_captured(e, s);
    else e.state = past_of(f.w, s);
    return CUDA_SUCCESS;
  });
}

FAKE_CUDA_API cuEventQuery(CUevent handle) {
  return call<"cuEventQuery">(reach::on(handle), [&](frame& f) {
    event& e = need_event(f, handle);
    forbid_asking(f, e);
    return answer(f, e.state);
  });
}

FAKE_CUDA_API cuEventSynchronize(CUevent handle) {
  return call<"cuEventSynchronize">(reach::on(handle), [&](frame& f) {
    need_context(f);
    event& e = need_event(f, handle);
    forbid_asking(f, e);
    host_waits_for(f, e.state);
    return CUDA_SUCCESS;
  });
}
