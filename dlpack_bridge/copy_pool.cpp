// run_parts of copy_threads.hpp: the threads that help, and how a job gets to them.

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdint>
#include <exception>
#include <mutex>
#include <new>
#include <thread>

#ifdef __unix__
#include <pthread.h>
#endif

#include <dlpack_bridge/copy_threads.hpp>

namespace dlpack_bridge::detail {
namespace {

#ifdef __unix__
/// Threads started meanwhile take no signals: handlers run where the program expects them.
class signals_blocked {
 public:
  signals_blocked() noexcept {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~signals_blocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  signals_blocked(const signals_blocked&) = delete;
  signals_blocked& operator=(const signals_blocked&) = delete;

 private:
  sigset_t before_;
};
#else
struct signals_blocked {};
#endif

void pause() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb");
#endif
}

/// The parts of one call, in as many shares as threads. Each thread works off its own share first,
/// the same one in every call alike: what it touched the last time is in its cache. Then it helps
/// with the others. Lives on the caller's stack.
class job {
 public:
  job(std::int64_t parts, int threads, part_function function) noexcept
      : function_(function), threads_(threads) {
    for (int i = 0; i < threads; ++i) {
      shares_[i].next.store(parts * i / threads, std::memory_order_relaxed);
      shares_[i].end = parts * (i + 1) / threads;
    }
  }

  int threads() const noexcept { return threads_; }

  void work(int thread) {
    for (int i = 0; i < threads_; ++i) {
      share& s = shares_[(thread + i) % threads_];
      while (true) {
        const std::int64_t part = s.next.fetch_add(1, std::memory_order_relaxed);
        if (part >= s.end) break;
        function_.call(function_.context, part);
      }
    }
  }

 private:
  struct alignas(64) share {
    std::atomic<std::int64_t> next;
    std::int64_t end;
  };

  const part_function function_;
  const int threads_;
  std::array<share, most_threads> shares_;
};

/// A thread that takes one job after the other. What passes between it and a caller is one word, so
/// that a copy which takes some microseconds gains by it. It stays awake for a while after a job: copies
/// often come one after the other, and to fall asleep and wake takes as long as to copy some 100 KB.
class alignas(64) helper {
 public:
  /// Throws where there is no thread or no memory for it.
  void start(int number) {
    thread_ = std::thread([this, number] { serve(number); });
  }

  /// False when it is at another job.
  bool offer(job& work) noexcept {
    std::uintptr_t found = nothing;
    if (!state_.compare_exchange_strong(found, offered(work))) return false;
    if (asleep_.load()) wake();
    return true;
  }

  /// Returns when it does not touch the job any more: at once if it has not begun, else after at most
  /// the part it is at.
  void withdraw(job& work) noexcept {
    std::uintptr_t found = offered(work);
    if (state_.compare_exchange_strong(found, nothing)) return;
    for (int look = 0; state_.load(std::memory_order_acquire) == begun(work); ++look) {
      if (look < 200) pause();
      else std::this_thread::yield();
    }
  }

  /// Ends the thread when it has no job.
  void retire() {
    retired_.store(true);
    wake();
    thread_.join();
  }

 private:
  // The state is a job's address, with a bit in it once the helper has begun.
  static constexpr std::uintptr_t nothing = 0;
  static std::uintptr_t offered(job& work) noexcept {
    return reinterpret_cast<std::uintptr_t>(&work);
  }
  static std::uintptr_t begun(job& work) noexcept { return offered(work) | 1; }

  void wake() noexcept {
    const std::lock_guard lock(mutex_);  // not between its look and its sleep
    wake_.notify_one();
  }

  bool is_wanted() const noexcept { return state_.load() != nothing || retired_.load(); }

  void serve(int number) {
    while (true) {
      if (!stays_awake_until_wanted()) sleep_until_wanted();
      std::uintptr_t found = state_.load(std::memory_order_acquire);
      if (found == nothing) {
        if (retired_.load()) return;
        continue;
      }
      auto& work = *reinterpret_cast<job*>(found);
      if (!state_.compare_exchange_strong(found, begun(work))) continue;  // withdrawn
      work.work(number);
      state_.store(nothing, std::memory_order_release);
    }
  }

  bool stays_awake_until_wanted() const noexcept {
    using clock = std::chrono::steady_clock;
    const clock::time_point end = clock::now() + std::chrono::microseconds(100);
    do {
      for (int look = 0; look < 32; ++look) {
        if (state_.load(std::memory_order_relaxed) != nothing) return true;
        pause();
      }
    } while (!retired_.load(std::memory_order_relaxed) && clock::now() < end);
    return false;
  }

  void sleep_until_wanted() {
    std::unique_lock lock(mutex_);
    asleep_.store(true);  // before the look: who offers a job looks the other way round
    wake_.wait(lock, [this] { return is_wanted(); });
    asleep_.store(false);
  }

  std::atomic<std::uintptr_t> state_{nothing};
  std::atomic<bool> asleep_{false};
  std::atomic<bool> retired_{false};
  std::mutex mutex_;
  std::condition_variable wake_;
  std::thread thread_;
};

/// A pool is never destroyed, since anyone may still copy when statics are.
class thread_pool {
 public:
  /// With the help of threads that are not at somebody else's job.
  void run(job& work) {
    const int helpers = start_helpers(work.threads() - 1);
    std::array<helper*, most_threads> helping;
    int count = 0;
    for (int i = 0; i < helpers; ++i) {
      if (helpers_[i].offer(work)) helping[count++] = &helpers_[i];
    }
    work.work(0);
    for (int i = 0; i < count; ++i) helping[i]->withdraw(work);
  }

  /// Ends the threads; later jobs find no help.
  void retire() {
    const std::lock_guard lock(mutex_);
    retired_ = true;
    for (int i = started_.exchange(0); i-- > 0;) helpers_[i].retire();
  }

 private:
  /// How many there are, up to so many.
  int start_helpers(int wanted) {
    const int there = started_.load(std::memory_order_acquire);
    return there >= wanted ? wanted : start_more(wanted);
  }

  int start_more(int wanted) {
    const std::lock_guard lock(mutex_);
    const signals_blocked blocked;
    int there = started_.load(std::memory_order_relaxed);
    for (; there < wanted && !retired_; ++there) {
      try {
        helpers_[there].start(there + 1);
      } catch (const std::exception&) {
        break;  // fewer, then
      }
      started_.store(there + 1, std::memory_order_release);
    }
    return std::min(there, wanted);
  }

  std::atomic<int> started_{0};
  std::mutex mutex_;  // of starting and ending
  bool retired_ = false;
  std::array<helper, most_threads - 1> helpers_;
};

std::atomic<thread_pool*> current_pool{nullptr};

// At the end of the process, or when a library that holds this code is unloaded, its threads end.
const struct retirement {
  ~retirement() {
    if (thread_pool* const pool = current_pool.load(std::memory_order_acquire)) pool->retire();
  }
} at_exit;

/// A forked child has none of the threads and makes a pool of its own. False for lack of memory.
bool children_forget_pool() noexcept {
#ifdef __unix__
  static const int failure = pthread_atfork(nullptr, nullptr, [] { current_pool = nullptr; });
  return failure == 0;
#else
  return true;
#endif
}

/// Null where there is no memory for one.
thread_pool* pool_of_this_process() noexcept {
  thread_pool* pool = current_pool.load(std::memory_order_acquire);
  if (pool != nullptr) return pool;
  auto* const fresh = children_forget_pool() ? new (std::nothrow) thread_pool() : nullptr;
  if (fresh == nullptr) return nullptr;
  if (current_pool.compare_exchange_strong(pool, fresh, std::memory_order_acq_rel)) return fresh;
  delete fresh;  // another thread was faster
  return pool;
}

}  // namespace

void run_parts(std::int64_t parts, int threads, part_function function) {
  const auto sharing =
      std::clamp<std::int64_t>(std::min<std::int64_t>(threads, parts), 1, most_threads);
  job work(parts, static_cast<int>(sharing), function);
  thread_pool* const pool = sharing == 1 ? nullptr : pool_of_this_process();
  if (pool == nullptr) return work.work(0);
  pool->run(work);
}

}  // namespace dlpack_bridge::detail
