#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>

#include "failing_allocations.hpp"
#include "foreign_tensor.hpp"
#include <dlpack_bridge/owner.hpp>

using namespace dlpack_bridge;

namespace {

owner counting(int& released) {
  return owner(&released, [](void* object) noexcept { ++*static_cast<int*>(object); });
}

/// Tells when it is destroyed, not when it is moved from.
struct mourned {
  explicit mourned(int& count) : destroyed(&count) {}
  mourned(mourned&& other) noexcept : destroyed(std::exchange(other.destroyed, nullptr)) {}
  mourned& operator=(mourned&&) = delete;
  ~mourned() {
    if (destroyed != nullptr) ++*destroyed;
  }
  int* destroyed;
};

/// May be called, and must not be.
struct reluctant {
  int* calls;
  int* kept;
  void operator()() const { ++*calls; }
};

}  // namespace

template <>
struct dlpack_bridge::keeper<reluctant> {
  static owner keep(const reluctant& object) { return counting(*object.kept); }
};

static_assert(!std::is_copy_constructible_v<owner>);
static_assert(!std::is_copy_assignable_v<owner>);
static_assert(std::is_nothrow_move_constructible_v<owner>);
static_assert(std::is_nothrow_move_assignable_v<owner>);
static_assert(std::is_nothrow_copy_constructible_v<shared_owner>);
static_assert(!std::is_convertible_v<owner, shared_owner>);
static_assert(std::is_nothrow_destructible_v<owner>);
static_assert(std::is_nothrow_default_constructible_v<owner>);

TEST_CASE("a new owner owns nothing", "[owner]") {
  const owner none;
  CHECK_FALSE(none);
  CHECK(none.get() == nullptr);
}

TEST_CASE("a type may say how it is kept", "[owner]") {
  int calls = 0, released = 0;
  owner::of(reluctant{&calls, &released});
  const reluctant lvalue{&calls, &released};
  owner::of(lvalue);
  CHECK(calls == 0);
  CHECK(released == 2);
}

TEST_CASE("an owner releases its object once, when it dies", "[owner]") {
  int released = 0;
  {
    const owner one = counting(released);
    CHECK(one);
    CHECK(one.get() == &released);
    CHECK(released == 0);
  }
  CHECK(released == 1);
}

TEST_CASE("a moved owner releases once and leaves the old one empty", "[owner]") {
  int released = 0;
  {
    owner first = counting(released);
    const owner second = std::move(first);
    CHECK(second);
    CHECK_FALSE(first);
    CHECK(second.get() == &released);
  }
  CHECK(released == 1);
}

TEST_CASE("an assigned owner takes over", "[owner]") {
  int released = 0;
  {
    owner first = counting(released), second;
    second = std::move(first);
    CHECK(second);
    CHECK_FALSE(first);
    CHECK(released == 0);
  }
  CHECK(released == 1);
}

TEST_CASE("assigning releases what was owned before", "[owner]") {
  int old_released = 0, new_released = 0;
  owner kept = counting(old_released);
  kept = counting(new_released);
  CHECK(old_released == 1);
  CHECK(new_released == 0);
  kept = owner();
  CHECK(new_released == 1);
  CHECK_FALSE(kept);
}

TEST_CASE("an owner assigned to itself keeps its object", "[owner]") {
  int released = 0;
  {
    owner self = counting(released);
    owner& same = self;
    self = std::move(same);
    CHECK(self);
    CHECK(released == 0);
  }
  CHECK(released == 1);
}

TEST_CASE("an owner may be replaced by one that its object owns", "[owner]") {
  struct node {
    owner next;
    int* released;
    ~node() { ++*released; }
  };
  int released = 0;
  owner head = owner::of(std::unique_ptr<node>(new node{counting(released), &released}));
  owner& inner = (*static_cast<std::unique_ptr<node>*>(head.get()))->next;
  head = std::move(inner);
  CHECK(released == 1);
  head.reset();
  CHECK(released == 2);
}

TEST_CASE("reset lets go now and only once", "[owner]") {
  int released = 0;
  owner one = counting(released);
  one.reset();
  CHECK(released == 1);
  CHECK_FALSE(one);
  one.reset();
  CHECK(released == 1);
}

TEST_CASE("what an owner gave up is for the caller to release", "[owner]") {
  int released = 0;
  owner one = counting(released);
  const owner::release_function release = one.release_by();
  void* const object = one.give_up();
  CHECK_FALSE(one);
  one.reset();
  CHECK(released == 0);
  release(object);
  CHECK(released == 1);
}

TEST_CASE("the object is released on the thread that drops the owner", "[owner]") {
  std::thread::id released_on;
  owner one = owner::of([&released_on] { released_on = std::this_thread::get_id(); });
  std::thread dropping([moved = std::move(one)]() mutable { moved.reset(); });
  const std::thread::id expected = dropping.get_id();
  dropping.join();
  CHECK(released_on == expected);
}

TEST_CASE("an owned value is destroyed once", "[owner]") {
  int destroyed = 0;
  {
    const owner one = owner::of(mourned(destroyed));
  }
  CHECK(destroyed == 1);
}

TEST_CASE("an owned shared_ptr counts as one more user", "[owner]") {
  const auto shared = std::make_shared<std::string>("x");
  {
    const owner one = owner::of(shared);
    CHECK(shared.use_count() == 2);
  }
  CHECK(shared.use_count() == 1);
}

TEST_CASE("an owned unique_ptr is emptied and its object destroyed", "[owner]") {
  int destroyed = 0;
  auto unique = std::make_unique<mourned>(destroyed);
  {
    const owner one = owner::of(std::move(unique));
    CHECK(unique == nullptr);
    CHECK(destroyed == 0);
  }
  CHECK(destroyed == 1);
}

TEST_CASE("an owned container keeps its elements where they are", "[owner]") {
  std::vector<int> values(100, 7);
  const int* place = values.data();
  const owner one = owner::of(std::move(values));
  CHECK(static_cast<std::vector<int>*>(one.get())->data() == place);
}

TEST_CASE("a callable is called once and then destroyed", "[owner]") {
  int called = 0, destroyed = 0, destroyed_when_called = -1;
  {
    const owner one = owner::of([&, guard = mourned(destroyed)] {
      ++called;
      destroyed_when_called = destroyed;
    });
    CHECK(called == 0);
  }
  CHECK(called == 1);
  CHECK(destroyed_when_called == 0);
  CHECK(destroyed == 1);
}

TEST_CASE("a callable with state of its own may be mutable or a function", "[owner]") {
  static int called;
  called = 0;
  {
    const owner one = owner::of([count = 0]() mutable { called += ++count; });
  }
  CHECK(called == 1);
  {
    const owner one = owner::of(std::function<void()>([] { ++called; }));
  }
  CHECK(called == 2);
}

TEMPLATE_TEST_CASE("an owned managed tensor is deleted once", "[owner]", DLManagedTensorVersioned,
                   DLManagedTensor) {
  deletions heard;
  {
    TestType* raw = foreign_tensor<TestType>::make(heard);
    owner one = owner::of_managed(raw);
    CHECK(one.get() == raw);
    const owner two = std::move(one);
    CHECK(heard.count == 0);
  }
  CHECK(heard.count == 1);
}

TEMPLATE_TEST_CASE("a managed tensor may have no deleter", "[owner]", DLManagedTensorVersioned,
                   DLManagedTensor) {
  deletions heard;
  TestType* raw = foreign_tensor<TestType>::make(heard);
  raw->deleter = nullptr;
  {
    const owner one = owner::of_managed(raw);
  }
  CHECK(heard.count == 0);
  delete static_cast<foreign_tensor<TestType>*>(raw->manager_ctx);
}

TEST_CASE("a shared owner releases with its last copy", "[owner]") {
  int released = 0;
  {
    shared_owner one(counting(released));
    shared_owner two = one;
    const shared_owner three = std::move(one);
    CHECK_FALSE(one);
    two = shared_owner();
    CHECK(released == 0);
    CHECK(three);
    two = three;
    two = two;
    CHECK(released == 0);
  }
  CHECK(released == 1);
}

TEST_CASE("copies that were made of an empty owner can be given one", "[owner]") {
  int released = 0;
  {
    shared_owner one{owner()};
    CHECK(one.is_last());
    const shared_owner two = one;
    CHECK_FALSE(one.is_last());
    one.fill(counting(released));
    one = shared_owner();
    CHECK(two.is_last());
    CHECK(released == 0);
  }
  CHECK(released == 1);
}

TEST_CASE("the second copy of a shared owner counts as any other", "[owner]") {
  int released = 0;
  shared_owner first(counting(released));
  {
    const shared_owner second = first.second();
    CHECK_FALSE(first.is_last());
    const shared_owner third = second;
    first = {};
    CHECK(released == 0);
  }
  CHECK(released == 1);
}

TEST_CASE("an owner and its second ones release together", "[owner]") {
  int released = 0;
  owner last;
  {
    owner first = counting(released);
    const owner second = shared_owner::second_of(first);
    const owner third = shared_owner::second_of(first);
    CHECK(second.release_by() == first.release_by());
    last = std::move(first);
  }
  CHECK(released == 0);
  last.reset();
  CHECK(released == 1);
}

TEST_CASE("nothing has no second owner", "[owner]") {
  owner nothing;
  CHECK_FALSE(shared_owner::second_of(nothing));
  CHECK_FALSE(nothing);
}

TEST_CASE("shared owners change places", "[owner]") {
  int released = 0;
  shared_owner full(counting(released)), empty;
  full.swap(empty);
  CHECK_FALSE(full);
  CHECK(empty.is_last());
  CHECK(released == 0);
}

TEST_CASE("second owners may be dropped on any threads", "[owner]") {
  int released = 0;
  {
    owner first = counting(released);
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([held = shared_owner::second_of(first)]() mutable {
        for (int n = 0; n < 1000; ++n) const owner another = shared_owner::second_of(held);
      });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(released == 0);
  }
  CHECK(released == 1);
}

TEST_CASE("copies of a shared owner may be dropped on any threads", "[owner]") {
  int released = 0;
  {
    std::vector<std::thread> threads;
    const shared_owner kept(counting(released));
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([copy = kept] {
        for (int n = 0; n < 1000; ++n) const shared_owner another = copy;
      });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(released == 0);
  }
  CHECK(released == 1);
}

#ifdef DLPACK_BRIDGE_FAILING_ALLOCATIONS
TEST_CASE("a callable that could not be kept is called all the same", "[owner][error]") {
  int called = 0;
  bool thrown = false;
  {
    auto give_back = [&called] { ++called; };
    try {
      const allocations::failure no_memory(0);
      const owner one = owner::of(std::move(give_back));
    } catch (const std::bad_alloc&) {
      thrown = true;
    }
  }
  CHECK(thrown);
  CHECK(called == 1);
}

TEST_CASE("an owner that could not have a second keeps what it has", "[owner][error]") {
  int released = 0;
  owner keep = counting(released);
  bool thrown = false;
  try {
    const allocations::failure no_memory(0);
    const owner second = shared_owner::second_of(keep);
  } catch (const std::bad_alloc&) {
    thrown = true;
  }
  CHECK(thrown);
  CHECK(released == 0);
  keep.reset();
  CHECK(released == 1);
}

TEST_CASE("an owner that could not be shared is released", "[owner][error]") {
  int released = 0;
  bool thrown = false;
  {
    owner keep = counting(released);
    try {
      const allocations::failure no_memory(0);
      const shared_owner one(std::move(keep));
    } catch (const std::bad_alloc&) {
      thrown = true;
    }
  }
  CHECK(thrown);
  CHECK(released == 1);
}
#endif
