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
thread_local bool on_queue_thread = false;

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
  const verdict v = may_use_streams() ? settle(record) : ask_again(record);
  if (v == verdict::due) {
    finish(&record);
  } else {
    if (v != verdict::lost) count_pending(1);
    const std::lock_guard lock(mutex_);
    keep(record, v);
  }
  if (may_use_streams() && !inside_release) retry_parked();
}

// Under the lock. What is lost is never given back, and its record is kept so that nothing reachable
// from it dies.
void release_queue::keep(loan_record& record, verdict v) noexcept {
  if (v == verdict::lost) {
    active_counters().leaked.fetch_add(1, std::memory_order_relaxed);
    abandoned_.append(record);
    return;
  }
  if (v == verdict::parked) {
    parked_.append(record);
    parked_by_queue_ += on_queue_thread;
    return;
  }
  waiting_.append(record);
  if (!has_thread_) start_thread();
  if (waiting_.length == 1) wake_.notify_one();
}

// From the front, until one is still held up: that one goes to the back, so that a capture that never
// ends holds up no other, and a release costs one look.
void release_queue::retry_parked() noexcept {
  for (;;) {
    loan_record* record = nullptr;
    {
      const std::lock_guard lock(mutex_);
      record = parked_.pop();
      if (record == nullptr) return;
      ++in_hand_;
    }
    const verdict v = settle(*record);
    if (v == verdict::due) finish(record);
    if (v == verdict::due || v == verdict::lost) count_pending(-1);
    {
      const std::lock_guard lock(mutex_);
      if (v != verdict::due) keep(*record, v);
      --in_hand_;
    }
    settled_.notify_all();
    if (v == verdict::parked) return;
  }
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
  on_queue_thread = true;
  auto nap = shortest_nap;
  std::unique_lock lock(mutex_);
  while (!stopped_) {
    if (waiting_.length == 0) {
      nap = shortest_nap;
      wake_.wait(lock, [this] { return stopped_.load() || waiting_.length != 0; });
    }
    wake_.wait_for(lock, nap, [this] { return stopped_.load(); });
    if (stopped_) return;
    const std::int64_t before = waiting_.length;
    lock.unlock();
    const std::int64_t went = sweep(caller::queue_thread);
    lock.lock();
    const bool progress = went != 0 || waiting_.length > before;
    nap = progress ? shortest_nap : std::min(2 * nap, longest_nap);
  }
}

verdict release_queue::judge(loan_record& record, caller who) noexcept {
  if (who == caller::queue_thread) {
    const std::lock_guard lock(calls_);
    return stopped_ ? verdict::waiting : ask_again(record);
  }
  const verdict first = settle(record);
  if (first != verdict::waiting || who != caller::waiting_collector) return first;
  // What cannot be waited for is left to the next look, as if a capture held it up.
  return wait_for_readers(record) ? settle(record) : verdict::parked;
}

void release_queue::let_go(loan_record& record) noexcept {
  const release_runner runner = runner_.load(std::memory_order_acquire);
  if (on_queue_thread && runner != nullptr) {
    count_pending(-1);
    runner(owner(&record, finish));
  } else {
    finish(&record);
    count_pending(-1);
  }
}

void release_queue::end_look(caller who) noexcept {
  if (who != caller::queue_thread) return;
  {
    const std::lock_guard lock(mutex_);
    looking_ = false;
  }
  settled_.notify_all();
}

std::int64_t release_queue::sweep(caller who) noexcept {
  chain taken, due;
  {
    std::unique_lock lock(mutex_);
    // What the queue's thread is looking at would be missed, and it may be due by now.
    if (!on_queue_thread) settled_.wait(lock, [this] { return !looking_; });
    std::swap(taken, waiting_);
    if (who == caller::queue_thread) {
      looking_ = true;
    } else {
      while (loan_record* const record = parked_.pop()) taken.append(*record);
    }
    in_hand_ += taken.length;
  }
  while (loan_record* const record = taken.pop()) {
    const verdict v = judge(*record, who);
    if (v == verdict::due) {
      due.append(*record);
      continue;
    }
    if (v == verdict::lost) count_pending(-1);
    const std::lock_guard lock(mutex_);
    keep(*record, v);
    --in_hand_;
  }
  const std::int64_t went = due.length;
  // To hand over to the runner is a part of the look; releases may take their time.
  if (runner_ == nullptr) end_look(who);
  while (loan_record* const record = due.pop()) let_go(*record);
  end_look(who);
  {
    const std::lock_guard lock(mutex_);
    in_hand_ -= went;
  }
  settled_.notify_all();
  return went;
}

std::int64_t release_queue::collect(bool wait) noexcept {
  std::int64_t went = 0;
  std::unique_lock lock(mutex_);
  for (;;) {
    const std::uint64_t parked_before = parked_by_queue_;
    lock.unlock();
    went += sweep(wait ? caller::waiting_collector : caller::collector);
    if (!wait || inside_release) return went;
    lock.lock();
    const bool alone = in_hand_ == 0;
    settled_.wait(lock, [this] { return in_hand_ == 0; });
    // What another thread judged may be out of date: a capture has ended.
    if (alone && waiting_.length == 0 && parked_by_queue_ == parked_before) return went;
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

bool may_use_streams() noexcept { return !on_queue_thread; }

release_queue& releases() noexcept {
  static immortal<release_queue> queue;
  return queue.get();
}

}  // namespace dlpack_bridge::cuda
