#include <dlpack_bridge/copy_threads.hpp>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <thread>

#ifdef __unix__
#include <dlfcn.h>
#include <sched.h>
#endif
#ifdef __linux__
#include <link.h>
#endif

namespace dlpack_bridge::detail {
namespace {

int ask_for_processors() noexcept {
#ifdef __linux__
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return CPU_COUNT(&set);
#endif
  return static_cast<int>(std::thread::hardware_concurrency());
}

/// Asked once in a millisecond: the kernel takes as long for its answer as a copy of 20 KB.
int processors() noexcept {
  using clock = std::chrono::steady_clock;
  static thread_local struct {
    clock::time_point until;
    int count = 0;
  } last;
  const clock::time_point now = clock::now();
  if (now >= last.until) last = {now + std::chrono::milliseconds(1), ask_for_processors()};
  return last.count;
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

}  // namespace

int copy_threads() noexcept {
  int asked = threads_of_openmp();
  if (asked <= 0) asked = threads_of_environment();
  if (asked == 1) return 1;  // without asking the kernel, which takes longer than all the rest
  const int available = std::clamp(processors(), 1, most_threads);
  return asked > 0 ? std::min(asked, available) : available;
}

}  // namespace dlpack_bridge::detail
