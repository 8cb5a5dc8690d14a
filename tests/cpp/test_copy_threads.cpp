#include <atomic>
#include <chrono>
#include <cstdint>
#include <numeric>
#include <thread>
#include <vector>

#ifdef __unix__
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

#include <catch2/catch_test_macros.hpp>

#include "failing_allocations.hpp"
#include <dlpack_bridge/copy.hpp>
#include <dlpack_bridge/copy_threads.hpp>

using namespace dlpack_bridge;

namespace {

/// Copies a few megabytes; true when all of it arrived.
bool copies_right(float first) {
  std::vector<float> in(1'500'001), out(in.size());
  std::iota(in.begin(), in.end(), first);
  const extent shape[] = {static_cast<extent>(in.size())};
  copy(shape, 1, {in.data(), nullptr, float32}, {out.data(), nullptr, float32});
  return in == out;
}

/// Two parts that wait for each other: only two threads can do them.
bool two_threads_meet() {
  std::atomic<int> here{0};
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  detail::parallel_for(2, 2, [&](std::int64_t) {
    ++here;
    while (here < 2 && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
    if (here < 2) here = -2;  // alone: the other part will not meet anyone either
  });
  return here == 2;
}

}  // namespace

TEST_CASE("every part runs exactly once, whatever the number of threads", "[copy]") {
  for (const int threads : {0, 1, 2, 3, 16, 1000}) {
    for (const std::int64_t parts : {0, 1, 2, 7, 100}) {
      std::vector<std::atomic<int>> runs(static_cast<std::size_t>(parts));
      detail::parallel_for(parts, threads, [&](std::int64_t part) {
        runs[static_cast<std::size_t>(part)].fetch_add(1);
      });
      for (const std::atomic<int>& r : runs) CHECK(r == 1);
    }
  }
}

TEST_CASE("another thread helps, call after call", "[copy]") {
  for (int i = 0; i < 100; ++i) REQUIRE(two_threads_meet());
}

TEST_CASE("a thread that has slept helps again", "[copy]") {
  REQUIRE(two_threads_meet());
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  CHECK(two_threads_meet());
}

TEST_CASE("many threads copy at once", "[copy]") {
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int n = 0; n < 4; ++n) {
    threads.emplace_back([&wrong, n] {
      for (int i = 0; i < 10; ++i) wrong += !copies_right(static_cast<float>(n));
    });
  }
  for (std::thread& t : threads) t.join();
  CHECK(wrong == 0);
}

TEST_CASE("at least one thread copies", "[copy]") { CHECK(detail::copy_threads() >= 1); }

#ifdef __linux__
TEST_CASE("a thread that is bound to one processor copies alone", "[copy]") {
  cpu_set_t before, one;
  REQUIRE(sched_getaffinity(0, sizeof(before), &before) == 0);
  CPU_ZERO(&one);
  int first = 0;
  while (!CPU_ISSET(first, &before)) ++first;
  CPU_SET(first, &one);
  REQUIRE(sched_setaffinity(0, sizeof(one), &one) == 0);
  const auto answer_is_old = [] { std::this_thread::sleep_for(std::chrono::milliseconds(10)); };
  answer_is_old();
  CHECK(detail::copy_threads() == 1);
  CHECK(sched_setaffinity(0, sizeof(before), &before) == 0);
  answer_is_old();
}
#endif

// ThreadSanitizer supports no threads in a child process.
#if defined(__unix__) && !defined(__SANITIZE_THREAD__)
namespace {

/// What `work` answers in a child process.
template <class Work>
bool in_child(const Work& work) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
    _exit(work() ? 0 : 1);
  }
  int status = -1;
  return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

}  // namespace

TEST_CASE("children and grandchildren of a process that copies with threads do so too", "[copy]") {
  const auto works = [] { return copies_right(1) && two_threads_meet(); };
  REQUIRE(works());
  CHECK(in_child([&] { return works() && in_child(works) && works(); }));
  CHECK(in_child([&] { return in_child(works) && works(); }));
  CHECK(works());
}

TEST_CASE("a child that is made while others copy copies too", "[copy]") {
  std::atomic<bool> done{false};
  std::thread busy([&] {
    while (!done) copies_right(2);
  });
  int failed = 0;
  for (int i = 0; i < 20; ++i) failed += !in_child([] { return copies_right(3); });
  done = true;
  busy.join();
  CHECK(failed == 0);
}

#ifdef DLPACK_BRIDGE_FAILING_ALLOCATIONS
TEST_CASE("where there is no memory for threads one does the work", "[copy]") {
  for (int number = 0; number < 2; ++number) {
    CHECK(in_child([&] {  // which has no threads yet
      int runs = 0;
      const allocations::failure shortage(number);
      detail::parallel_for(100, 2, [&](std::int64_t) { ++runs; });
      return shortage.happened() && runs == 100;
    }));
  }
}
#endif
#endif
