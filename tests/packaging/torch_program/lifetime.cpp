// Who keeps what alive, and what is let go when something fails.
#include <new>
#include <thread>

#include <ATen/ops/from_blob.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include "check.hpp"
#include "failing_allocations.hpp"
#include <dlpack_bridge/adapters/torch.hpp>

using namespace dlpack_bridge;

namespace {

// A tensor whose storage says when it is let go.
at::Tensor watched_tensor() {
  auto* memory = new watched;
  return at::for_blob(memory->values, {2, 3})
      .context(memory, [](void* dying) { delete static_cast<watched*>(dying); })
      .options(at::kFloat)
      .target_device(at::kCPU)
      .make_tensor();
}
managed_tensor watched_array() {
  auto memory = std::make_unique<watched>();
  float* const data = memory->values;
  return share(data, {2, 3}, {}, float32, std::move(memory));
}

struct drops {
  int before = watched::dropped;
  int count() const { return watched::dropped - before; }
};

}  // namespace

CASE("an array keeps the tensor's memory, and nothing after it is gone") {
  const drops heard;
  at::Tensor t = watched_tensor();
  managed_tensor array = from_torch(t);
  check(t.use_count() == 1 && t.storage().use_count() == 2);
  t.reset();
  check(heard.count() == 0 && static_cast<float*>(array.view().data())[5] == 5);
  array.reset();
  check(heard.count() == 1);
}

CASE("an array keeps the memory that the tensor gives up") {
  const auto give_up = {+[](at::Tensor& t) { t.set_data(at::zeros({2})); },
                        +[](at::Tensor& t) { t.set_(at::zeros({2})); }};
  for (const auto change : give_up) {
    const drops heard;
    at::Tensor t = watched_tensor();
    managed_tensor array = from_torch(t);
    change(t);
    check(heard.count() == 0 && static_cast<float*>(array.view().data())[5] == 5);
    array.reset();
    check(heard.count() == 1);
  }
}

CASE("a copied array keeps no tensor") {
  const drops heard;
  const managed_tensor array = from_torch(watched_tensor(), {.copy = copy_policy::always});
  check(heard.count() == 1);
}

CASE("a refused tensor is let go") {
  const drops heard;
  at::Tensor t = watched_tensor().requires_grad_(true);
  check(refusal([&] { from_torch(t); }).size() == 1 && t.use_count() == 1);
  check(refusal([&] { from_torch(std::move(t)); }).size() == 1 && heard.count() == 1);
}

CASE("every view of a tensor keeps the array") {
  const drops heard;
  at::Tensor t = to_torch(watched_array());
  at::Tensor row = t[1], alias = t.detach();
  c10::Storage storage = t.storage();
  t.reset();
  alias.reset();
  check(heard.count() == 0 && row[2].item<float>() == 5);
  row.reset();
  check(heard.count() == 0 && static_cast<const float*>(storage.data())[4] == 4);
  storage = c10::Storage();
  check(heard.count() == 1);
}

CASE("a refused array is let go once") {
  const drops heard;
  const requirements unfulfilled{.dtype = float64, .copy = copy_policy::never};
  check(refusal([&] { to_torch(watched_array(), unfulfilled); }).size() == 1);
  check(heard.count() == 1);
}

CASE("an array that is copied for torch is let go") {
  const drops heard;
  const at::Tensor t = to_torch(watched_array(), {.copy = copy_policy::always});
  check(heard.count() == 1 && t[1][2].item<float>() == 5);
}

CASE("there and back ends at the same memory") {
  const drops heard;
  at::Tensor t = watched_tensor();
  at::Tensor back = to_torch(from_torch(t));
  check(back.data_ptr() == t.data_ptr() && !back.is_same(t));
  t.reset();
  check(heard.count() == 0);
  back.reset();
  check(heard.count() == 1);
}

CASE("arrays and tensors are let go on any thread") {
  const drops heard;
  managed_tensor array = from_torch(watched_tensor());
  at::Tensor t = to_torch(watched_array());
  std::thread other([array = std::move(array), t = std::move(t)]() mutable {
    array.reset();
    t.reset();
  });
  other.join();
  check(heard.count() == 2);
}

CASE("threads exchange one tensor at once") {
  const drops heard;
  at::Tensor t = watched_tensor();
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([t] {
      for (int round = 0; round < 500; ++round) {
        const at::Tensor back = to_torch(from_torch(t));
        if (back.data_ptr() != t.data_ptr()) throw std::logic_error("other memory");
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  check(t.use_count() == 1 && heard.count() == 0);
  t.reset();
  check(heard.count() == 1);
}

#ifdef DLPACK_BRIDGE_FAILING_ALLOCATIONS
// Each allocation of an exchange in turn gives nothing: what was given is let go once, whoever threw.
template <class Exchange>
int fail_each_allocation(const Exchange& exchange) {
  int failures = 0;
  for (int number = 0; number < 100; ++number) {
    const drops heard;
    bool threw = false, reached = false;
    {
      auto given = exchange.make();
      const allocations::failure failing(number);
      try {
        exchange.run(std::move(given));
      } catch (const std::bad_alloc&) {
        threw = true;
      }
      reached = failing.happened();
    }
    check(heard.count() == 1 && threw == reached);
    check(live_managed_tensors() == 0);
    if (!reached) return failures;
    ++failures;
  }
  return -1;
}

CASE("no allocation that fails in from_torch loses or doubles a release") {
  struct {
    at::Tensor make() const { return watched_tensor(); }
    void run(at::Tensor t) const { from_torch(std::move(t)); }
  } sharing;
  check(fail_each_allocation(sharing) >= 2);
  struct {
    at::Tensor make() const { return watched_tensor(); }
    void run(at::Tensor t) const { from_torch(std::move(t), {.copy = copy_policy::always}); }
  } copying;
  check(fail_each_allocation(copying) >= 3);
}

CASE("no allocation that fails in to_torch loses or doubles a release") {
  (void)to_torch(watched_array());  // what is made once is there
  struct {
    managed_tensor make() const { return watched_array(); }
    void run(managed_tensor array) const { to_torch(std::move(array)); }
  } sharing;
  check(fail_each_allocation(sharing) >= 2);
}
#endif
