#include <dlpack_bridge/copy_threads.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <system_error>
#include <thread>

#ifdef __linux__
#include <sched.h>
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

/// The first number of OMP_NUM_THREADS ("4" or "4,2,1"); 0 when it says nothing.
int threads_asked_for() noexcept {
  const char* text = std::getenv("OMP_NUM_THREADS");
  if (text == nullptr) return 0;
  int number = 0;
  std::from_chars(text, text + std::strlen(text), number);
  return std::max(number, 0);
}

}  // namespace

int copy_threads() noexcept {
  static const int threads = [] {
    const int available = std::clamp(processors(), 1, most_threads);
    const int asked = threads_asked_for();
    return asked > 0 ? std::min(asked, available) : available;
  }();
  return threads;
}

void run_parts(std::int64_t parts, int threads, part_function function) {
  std::atomic<std::int64_t> next{0};
  const auto work = [&] {
    for (std::int64_t part; (part = next.fetch_add(1, std::memory_order_relaxed)) < parts;) {
      function.call(function.context, part);
    }
  };
  const auto helpers = std::min<std::int64_t>({threads - 1, parts - 1, most_threads - 1});
  std::array<std::thread, most_threads - 1> running;
  for (std::int64_t i = 0; i < helpers; ++i) {
    try {
      running[i] = std::thread(work);
    } catch (const std::system_error&) {
      break;
    }
  }
  work();
  for (std::thread& thread : running) {
    if (thread.joinable()) thread.join();
  }
}

}  // namespace dlpack_bridge::detail
