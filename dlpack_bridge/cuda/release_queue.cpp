#include <dlpack_bridge/cuda/release_queue.hpp>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <exception>
#include <thread>
#include <utility>

#include <pthread.h>

#include <dlpack_bridge/counters.hpp>
#include <dlpack_bridge/cuda/immortal.hpp>
#include <dlpack_bridge/cuda/loan_table.hpp>

namespace dlpack_bridge::cuda {
namespace {

// How long the queue's thread sleeps between two looks: from a short kernel to a bearable delay.
constexpr std::chrono::microseconds shortest_nap{50};
constexpr std::chrono::microseconds longest_nap{5000};

thread_local bool inside_release = false;

void finish(void* object) noexcept {
  auto& record = *static_cast<loan_record*>(object);
  const bool nested = std::exchange(inside_release, true);
  record.memory.reset();
  record.readers.clear();
  inside_release = nested;
  loans().recycle(record);
}

void count_pending(std::int64_t change) noexcept {
  active_counters().pending_releases.fetch_add(change, std::memory_order_relaxed);
}

}  // namespace

void release_queue::chain::append(loan_record& record) noexcept {
  record.next = nullptr;
  (last == nullptr ? first : last->next) = &record;
  last = &record;
  ++length;
}

loan_record* release_queue::chain::pop() noexcept {
  loan_record* const record = first;
  if (record == nullptr) return nullptr;
  first = std::exchange(record->next, nullptr);
  if (first == nullptr) last = nullptr;
  --length;
  return record;
}

void release_queue::release(loan_record& record) noexcept {
  ask_listener(record);
  switch (settle(record)) {
    case verdict::due: finish(&record); return;
    case verdict::waiting: record.parked = false; break;
    case verdict::parked: record.parked = true; break;
    case verdict::lost: abandon(record); return;
  }
  count_pending(1);
  enqueue(record);
}

void release_queue::enqueue(loan_record& record) noexcept {
  const std::lock_guard lock(mutex_);
  const bool sleeping = pending_.length == 0;
  pending_.append(record);
  if (!has_thread_) start_thread();
  if (sleeping) wake_.notify_one();
}

// Its memory is never given back, and the record is kept so that nothing reachable from it dies.
void release_queue::abandon(loan_record& record) noexcept {
  active_counters().leaked.fetch_add(1, std::memory_order_relaxed);
  const std::lock_guard lock(mutex_);
  abandoned_.append(record);
}

// Without a thread the releases wait for the next one that is pending, or for `collect`.
void release_queue::start_thread() noexcept {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);  // signals are for the program's threads
  try {
    std::thread([this] { run(); }).detach();
    has_thread_ = true;
    // Registered after the driver's own end, so that it runs before it.
    std::atexit([] { releases().stop(); });
  } catch (const std::exception&) {
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void release_queue::run() noexcept {
  auto nap = shortest_nap;
  std::unique_lock lock(mutex_);
  while (!stopped_) {
    if (pending_.length == 0) {
      nap = shortest_nap;
      wake_.wait(lock, [this] { return stopped_.load() || pending_.length != 0; });
    }
    wake_.wait_for(lock, nap, [this] { return stopped_.load(); });
    if (stopped_) return;
    const std::int64_t before = pending_.length;
    lock.unlock();
    const std::int64_t went = sweep(caller::queue_thread);
    lock.lock();
    const bool progress = went != 0 || pending_.length > before;
    nap = progress ? shortest_nap : std::min(2 * nap, longest_nap);
  }
}

verdict release_queue::judge(loan_record& record, caller who) noexcept {
  if (who == caller::queue_thread) {
    const std::lock_guard lock(calls_);
    return stopped_ ? verdict::parked : settle(record);
  }
  const verdict first = settle(record);
  if (first != verdict::waiting || who != caller::waiting_collector) return first;
  // What cannot be waited for is left to the next look, as if a capture held it up.
  return wait_for_readers(record) ? settle(record) : verdict::parked;
}

void release_queue::let_go(loan_record& record, caller who) noexcept {
  const release_runner runner = runner_.load(std::memory_order_acquire);
  if (who == caller::queue_thread && runner != nullptr) {
    count_pending(-1);
    runner(owner(&record, finish));
  } else {
    finish(&record);
    count_pending(-1);
  }
}

std::int64_t release_queue::sweep(caller who) noexcept {
  chain taken, due, rest;
  {
    const std::lock_guard lock(mutex_);
    std::swap(taken, pending_);
    in_hand_ += taken.length;
  }
  const std::int64_t seen = taken.length;
  while (loan_record* const record = taken.pop()) {
    const verdict v = judge(*record, who);
    record->parked = v == verdict::parked;
    if (v == verdict::due) {
      due.append(*record);
    } else if (v == verdict::lost) {
      abandon(*record);
      count_pending(-1);
    } else {
      rest.append(*record);
    }
  }
  const std::int64_t went = due.length;
  {
    const std::lock_guard lock(mutex_);
    while (loan_record* const record = rest.pop()) pending_.append(*record);
    in_hand_ -= seen - went;
  }
  while (loan_record* const record = due.pop()) let_go(*record, who);
  {
    const std::lock_guard lock(mutex_);
    in_hand_ -= went;
  }
  settled_.notify_all();
  return went;
}

std::int64_t release_queue::collect(bool wait) noexcept {
  std::int64_t went = 0;
  for (;;) {
    went += sweep(wait ? caller::waiting_collector : caller::collector);
    if (!wait || inside_release) return went;
    std::unique_lock lock(mutex_);
    const bool alone = in_hand_ == 0;
    settled_.wait(lock, [this] { return in_hand_ == 0; });
    if (!alone) continue;  // what another thread judged may be out of date: a capture has ended
    bool left = false;
    for (const loan_record* r = pending_.first; r != nullptr; r = r->next) left |= !r->parked;
    if (!left) return went;
  }
}

void release_queue::stop() noexcept {
  {
    const std::lock_guard lock(calls_);
    stopped_ = true;
  }
  const std::lock_guard lock(mutex_);
  wake_.notify_all();
}

release_queue& releases() noexcept {
  static immortal<release_queue> queue;
  return queue.get();
}

}  // namespace dlpack_bridge::cuda
