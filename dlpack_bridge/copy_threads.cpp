#include <dlpack_bridge/copy_threads.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <mutex>
#include <new>
#include <thread>

#ifdef __unix__
#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#endif
#ifdef __linux__
#include <link.h>
#endif

namespace dlpack_bridge::detail {
namespace {

constexpr int most_threads = 16;  // a few threads saturate any memory

int processors() noexcept {
#ifdef __linux__
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return CPU_COUNT(&set);
#endif
  return static_cast<int>(std::thread::hardware_concurrency());
}

#ifdef __linux__
/// How often libraries have come and gone in this process.
unsigned long long library_changes() noexcept {
  unsigned long long changes = 0;
  dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* sum) {
        *static_cast<unsigned long long*>(sum) = info->dlpi_adds + info->dlpi_subs;
        return 1;
      },
      &changes);
  return changes;
}
#endif

#ifdef __unix__
using thread_question = int (*)();

thread_question find_openmp() noexcept {
  return reinterpret_cast<thread_question>(dlsym(RTLD_DEFAULT, "omp_get_max_threads"));
}

/// Looking through all libraries takes as long as a copy of 10 KB: done again when there are others.
thread_question openmp() noexcept {
#ifdef __linux__
  static thread_local struct {
    unsigned long long changes = 0;
    thread_question found = nullptr;
  } last;
  const unsigned long long changes = library_changes();
  if (changes != last.changes) last = {changes, find_openmp()};
  return last.found;
#else
  return find_openmp();
#endif
}
#endif

/// What OpenMP would use here, when the process has it: where OMP_NUM_THREADS, torch.set_num_threads
/// and threadpoolctl all end. torch's DataLoader gives its workers one thread each in this way.
int threads_of_openmp() noexcept {
#ifdef __unix__
  if (const thread_question ask = openmp()) return ask();
#endif
  return 0;
}

/// The first number of OMP_NUM_THREADS ("4" or "4,2,1") when the first large copy began; 0 when it
/// says nothing.
int threads_of_environment() noexcept {
  static const int asked = [] {
    const char* text = std::getenv("OMP_NUM_THREADS");
    int number = 0;
    if (text != nullptr) std::from_chars(text, text + std::strlen(text), number);
    return std::max(number, 0);
  }();
  return asked;
}

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
  job(std::int64_t parts, int helpers, part_function function) noexcept
      : function_(function), helpers_(helpers) {
    const int threads = helpers + 1;
    for (int i = 0; i < threads; ++i) {
      shares_[i].next.store(parts * i / threads, std::memory_order_relaxed);
      shares_[i].end = parts * (i + 1) / threads;
    }
  }

  int helpers() const noexcept { return helpers_; }

  void work(int thread) {
    const int threads = helpers_ + 1;
    for (int i = 0; i < threads; ++i) {
      share& s = shares_[(thread + i) % threads];
      while (true) {
        const std::int64_t part = s.next.fetch_add(1, std::memory_order_relaxed);
        if (part >= s.end) break;
        function_.call(function_.context, part);
      }
    }
  }

  void enter() noexcept { inside_.fetch_add(1, std::memory_order_relaxed); }
  void leave() noexcept { inside_.fetch_sub(1, std::memory_order_release); }
  bool is_left() const noexcept { return inside_.load(std::memory_order_acquire) == 0; }

 private:
  struct alignas(64) share {
    std::atomic<std::int64_t> next;
    std::int64_t end;
  };

  const part_function function_;
  const int helpers_;
  std::atomic<int> inside_{0};  // helpers at work
  std::array<share, most_threads> shares_;
};

/// Threads that sleep until there is a job. A pool is never destroyed, since anyone may still copy
/// when statics are.
class thread_pool {
 public:
  /// The pool does one job at a time: who comes meanwhile works alone.
  void run(job& work) {
    const bool helped = offer(work);
    work.work(0);
    if (helped) withdraw(work);
  }

  /// Ends the threads; later jobs find no help.
  void retire() {
    {
      const std::lock_guard lock(mutex_);
      retired_ = true;
      offers_.fetch_add(1, std::memory_order_relaxed);
    }
    wake_.notify_all();
    for (std::thread& thread : threads_) {
      if (thread.joinable()) thread.join();
    }
  }

 private:
  bool offer(job& work) {
    {
      const std::lock_guard lock(mutex_);
      if (job_ != nullptr || retired_) return false;
      start_threads(work.helpers());
      job_ = &work;
      offers_.fetch_add(1, std::memory_order_relaxed);
    }
    wake_.notify_all();
    return true;
  }

  /// Returns when no helper touches the job any more: after at most the part it is at.
  void withdraw(job& work) {
    {
      const std::lock_guard lock(mutex_);
      job_ = nullptr;
    }
    for (int look = 0; !work.is_left(); ++look) {
      if (look < 200) pause();  // the last part, most likely
      else std::this_thread::yield();
    }
  }

  void start_threads(int wanted) {
    const signals_blocked blocked;
    for (; running_ < wanted; ++running_) {
      try {
        threads_[running_] = std::thread([this, helper = running_ + 1] { serve(helper); });
      } catch (const std::exception&) {
        return;  // no thread or no memory for it: fewer, then
      }
    }
  }

  void serve(int helper) {
    unsigned seen = 0;
    std::unique_lock lock(mutex_);
    while (true) {
      wake_.wait(lock, [&] {
        const bool is_wanted = job_ != nullptr && helper <= job_->helpers();
        return retired_ || (is_wanted && offers_.load(std::memory_order_relaxed) != seen);
      });
      if (retired_) return;
      job& work = *job_;
      work.enter();
      seen = offers_.load(std::memory_order_relaxed);
      lock.unlock();
      work.work(helper);
      work.leave();
      stay_awake(seen);
      lock.lock();
    }
  }

  /// Copies often come one after the other, and to fall asleep and wake takes as long as to copy
  /// some 100 KB.
  void stay_awake(unsigned seen) const noexcept {
    using clock = std::chrono::steady_clock;
    const clock::time_point end = clock::now() + std::chrono::microseconds(100);
    while (offers_.load(std::memory_order_relaxed) == seen && clock::now() < end) pause();
  }

  std::atomic<unsigned> offers_{0};
  std::mutex mutex_;
  std::condition_variable wake_;
  job* job_ = nullptr;
  bool retired_ = false;
  int running_ = 0;
  std::array<std::thread, most_threads - 1> threads_;
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

int copy_threads() noexcept {
  const int available = std::clamp(processors(), 1, most_threads);
  int asked = threads_of_openmp();
  if (asked <= 0) asked = threads_of_environment();
  return asked > 0 ? std::min(asked, available) : available;
}

void run_parts(std::int64_t parts, int threads, part_function function) {
  const auto helpers =
      std::clamp<std::int64_t>(std::min<std::int64_t>(threads, parts) - 1, 0, most_threads - 1);
  job work(parts, static_cast<int>(helpers), function);
  thread_pool* const pool = helpers == 0 ? nullptr : pool_of_this_process();
  if (pool == nullptr) return work.work(0);
  pool->run(work);
}

}  // namespace dlpack_bridge::detail
