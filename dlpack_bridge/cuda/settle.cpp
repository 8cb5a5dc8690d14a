#include <dlpack_bridge/cuda/settle.hpp>

#include <algorithm>
#include <exception>
#include <ranges>

#include <dlpack_bridge/cuda/context.hpp>

namespace dlpack_bridge::cuda {
namespace {

// What an error on the way means for the release: a context that is lost or has ended keeps no
// memory busy, a capture or a shortage passes, and of anything else nobody knows whether the reader
// still runs.
verdict verdict_of(const std::exception_ptr& error, int device) noexcept {
  try {
    std::rethrow_exception(error);
  } catch (const cuda_error& e) {
    const auto code = static_cast<CUresult>(e.code());
    if (is_sticky(code)) {
      mark_lost(device);
      return verdict::due;
    }
    if (code == CUDA_ERROR_CONTEXT_IS_DESTROYED || code == CUDA_ERROR_INVALID_CONTEXT) {
      return verdict::due;
    }
    const bool passes = is_capture_refusal(code) || code == CUDA_ERROR_OUT_OF_MEMORY;
    return passes ? verdict::parked : verdict::lost;
  } catch (const std::bad_alloc&) {
    return verdict::parked;
  }
}

// What runs in the order of the home stream runs before any reuse.
bool is_busy(const loan_record& record, const reader& r) noexcept {
  return !r.finished && !(r.stream == record.home);
}

bool is_foreign(const stream_of_thread& s) noexcept {
  return s.thread != 0 && s.thread != this_thread_number();
}

// The per-thread stream of another thread cannot be named here. The legacy stream stands for it: it
// is ordered with every blocking stream of the device, and per-thread streams are that.
placed_stream reach(const driver_api& api, const stream_of_thread& s) {
  const stream_handle stream = is_foreign(s) ? stream_handle::from_native(nullptr) : s.stream;
  return place_again(api, s.device, stream, s.context);
}

bool captures(const driver_api& api, const placed_stream& stream, stream_handle handle) {
  return state_of(api, stream, handle).capture != capture_kind::none;
}

// These functions answer for one reader, and say on which device they are when a call fails. They
// are repeated as long as the answer is `parked`, so what they did before must do no harm.

verdict make_home_wait(const driver_api& api, const placed_stream& home, reader& r, int& device) {
  const placed_stream at = reach(api, r.stream);
  if (at.context == nullptr || at == home) return verdict::due;
  if (captures(api, at, r.stream.stream)) return verdict::parked;
  const pooled_event mark(api, at);
  record(api, mark.get(), at);
  device = home.device;
  make_wait(api, home, mark.get());
  return verdict::due;
}

verdict ask(const driver_api& api, reader& r) {
  // A capture of this or another thread forbids queries, though ours is about no captured work.
  const relaxed_capture relaxed(api);
  try {
    return is_done(api, r.done.get()) ? verdict::due : verdict::waiting;
  } catch (const cuda_error& e) {
    // The stream began to capture between the look and the record: the mark belongs to the graph.
    if (e.code() == CUDA_ERROR_CAPTURED_EVENT) r.done.discard();
    throw;
  }
}

verdict record_and_ask(const driver_api& api, reader& r) {
  if (!r.done) {
    const placed_stream at = reach(api, r.stream);
    if (at.context == nullptr) return verdict::due;
    if (captures(api, at, r.stream.stream)) return verdict::parked;
    pooled_event mark(api, at);
    record(api, mark.get(), at);
    r.done = std::move(mark);
  }
  return ask(api, r);
}

template <class Step>
verdict for_each_reader(loan_record& record, Step step) noexcept {
  verdict worst = verdict::due;
  for (reader& r : record.readers) {
    if (!is_busy(record, r)) continue;
    int device = r.stream.device;
    verdict one = verdict::due;
    if (!is_lost(device)) {
      try {
        one = step(r, device);
      } catch (...) {
        one = verdict_of(std::current_exception(), device);
      }
    }
    r.finished = one == verdict::due;
    worst = std::max(worst, one);
  }
  return worst;
}

}  // namespace

void ask_listener(loan_record& record) noexcept {
  const use_listener& listener = record.listener;
  if (listener.declare == nullptr) return;
  for (reader& r : record.readers) {
    if (!is_busy(record, r) || is_foreign(r.stream)) continue;
    r.finished = listener.declare(listener.context, record.where, r.stream.stream);
  }
}

verdict settle(loan_record& record) noexcept {
  const auto& home = record.home;
  const auto busy = [&](const reader& r) { return is_busy(record, r); };
  if (std::ranges::none_of(record.readers, busy)) return verdict::due;
  const driver_api* api = driver();
  if (api == nullptr) return verdict::lost;
  if (!home.stream.known() || home.stream.no_sync()) {
    return for_each_reader(record, [&](reader& r, int&) { return record_and_ask(*api, r); });
  }
  if (is_lost(home.device)) return verdict::due;
  try {
    const placed_stream at = reach(*api, home);
    if (at.context == nullptr) return verdict::due;
    if (captures(*api, at, home.stream)) return verdict::parked;
    return for_each_reader(
        record, [&](reader& r, int& device) { return make_home_wait(*api, at, r, device); });
  } catch (...) {
    return verdict_of(std::current_exception(), home.device);
  }
}

verdict ask_again(loan_record& record) noexcept {
  const driver_api* api = driver();
  if (api == nullptr) return verdict::lost;
  return for_each_reader(record,
                         [&](reader& r, int&) { return r.done ? ask(*api, r) : verdict::parked; });
}

bool wait_for_readers(loan_record& record) noexcept {
  const driver_api* api = driver();
  if (api == nullptr) return false;
  const relaxed_capture relaxed(*api);
  for (reader& r : record.readers) {
    if (r.finished || !r.done) continue;
    try {
      wait_until_done(*api, r.done.device(), r.done.get());
      r.finished = true;
    } catch (const cuda_error&) {
      return false;
    }
  }
  return true;
}

}  // namespace dlpack_bridge::cuda
