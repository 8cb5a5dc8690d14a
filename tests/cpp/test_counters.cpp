#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

#include <catch2/catch_test_macros.hpp>

#include <dlpack_bridge/counters.hpp>

using namespace dlpack_bridge;

namespace {

/// Counts into other counters while it lives.
class counting_into {
 public:
  explicit counting_into(counters& shared) : before_(active_counters()) { use_counters(shared); }
  ~counting_into() { use_counters(before_); }
  counting_into(const counting_into&) = delete;
  counting_into& operator=(const counting_into&) = delete;

 private:
  counters& before_;
};

}  // namespace

static_assert(!std::is_copy_constructible_v<live_token>);
static_assert(!std::is_copy_assignable_v<live_token>);

TEST_CASE("new counters stand at zero", "[counters]") {
  const counters fresh;
  CHECK(fresh.live == 0);
  CHECK(fresh.live_objects == 0);
  CHECK(fresh.pending_releases == 0);
  CHECK(fresh.copies == 0);
  CHECK(fresh.copied_bytes == 0);
  CHECK(fresh.copies_in_turn == 0);
  CHECK(fresh.copied_bytes_in_turn == 0);
  CHECK(fresh.leaked == 0);
}

TEST_CASE("a token counts while it lives", "[counters]") {
  const std::int64_t before = live_managed_tensors();
  {
    const live_token one, two;
    CHECK(live_managed_tensors() == before + 2);
  }
  CHECK(live_managed_tensors() == before);
}

TEST_CASE("arrays that are Python objects count as well", "[counters]") {
  const std::int64_t before = live_managed_tensors();
  active_counters().live_objects += 2;
  CHECK(live_managed_tensors() == before + 2);
  active_counters().live_objects -= 2;
}

TEST_CASE("tokens of many threads are counted together", "[counters]") {
  const std::int64_t before = live_managed_tensors();
  std::vector<std::unique_ptr<live_token>> kept(64);
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < 4; ++t) {
    threads.emplace_back([&kept, t] {
      for (std::size_t i = t; i < kept.size(); i += 4) {
        for (int k = 0; k < 100; ++k) kept[i] = std::make_unique<live_token>();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(live_managed_tensors() == before + 64);
  kept.clear();
  CHECK(live_managed_tensors() == before);
}

TEST_CASE("copies are counted together, whether or not those who make them take turns",
          "[counters]") {
  const std::int64_t copies = copies_made(), bytes = bytes_copied();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([in_turn = t == 0] {
      for (int i = 0; i < 10000; ++i) active_counters().count_copy(3, in_turn);
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(copies_made() == copies + 40000);
  CHECK(bytes_copied() == bytes + 120000);
}

TEST_CASE("several binaries of a process count into one place", "[counters]") {
  const std::int64_t before = live_managed_tensors();
  static counters shared;
  {
    const counting_into other(shared);
    CHECK(&active_counters() == &shared);
    const live_token token;
    CHECK(shared.live == 1);
    CHECK(live_managed_tensors() == 1);
  }
  CHECK(shared.live == 0);
  CHECK(&active_counters() != &shared);
  CHECK(live_managed_tensors() == before);
}
