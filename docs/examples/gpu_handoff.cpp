// Producer and consumer on two streams of one GPU: the array changes hands without a copy, the
// consumer's stream waits for the producer's, and the host waits for neither.
//
// find_package(dlpack_bridge CONFIG REQUIRED COMPONENTS cuda)
// target_link_libraries(gpu_handoff PRIVATE dlpack_bridge::cuda)

#include <cstdio>
#include <numeric>
#include <vector>

#include <dlpack_bridge/cuda/backend.hpp>
#include <dlpack_bridge/cuda/stream.hpp>
#include <dlpack_bridge/exchange.hpp>

using namespace dlpack_bridge;

namespace {

// What `exchange` is going to make wait for what.
void print_waits(const managed_tensor& x, const requirements& wanted) {
  description source = describe(x);
  find_facts(source, wanted);
  const decision decided = negotiate(source, wanted, capabilities_of(framework::cpp));
  for (const stream_wait& wait : waits_of(decided, source)) {
    std::printf("stream %#llx waits for stream %#llx\n",
                static_cast<unsigned long long>(wait.consumer.protocol()),
                static_cast<unsigned long long>(wait.producer.protocol()));
  }
}

}  // namespace

int main() {
  cuda::use();
  if (const driver_status driver = cuda_status(); !driver.answers()) {
    std::printf("needs a CUDA device: %s %s\n", driver.name, driver.text);
    return 0;
  }
  const device gpu(kDLCUDA);
  const cuda::stream producer(gpu), consumer(gpu);
  const stream_handle producing = cuda::stream_ref(producer).handle();
  const stream_handle consuming = cuda::stream_ref(consumer).handle();

  // The producer writes on its stream. The vector dies when the copy has read it.
  std::vector<float> values(1'000'000);
  std::iota(values.begin(), values.end(), 0.0F);
  managed_tensor x = exchange(share(std::move(values)), {.device = gpu, .stream = producing});

  // The consumer takes the array over on its own stream, where it may be used at once.
  print_waits(x, {.stream = consuming});
  const void* const address = x.view().data();
  managed_tensor y = exchange(std::move(x), {.stream = consuming});
  std::printf("shared: %s\n", y.view().data() == address ? "yes" : "no");

  // What goes to the host is complete on return.
  const managed_tensor result =
      exchange(std::move(y), {.dtype = float64, .device = device(), .stream = consuming});
  const auto* const doubles = static_cast<const double*>(result.view().data());
  std::printf("sum: %.0f\n", std::accumulate(doubles, doubles + result.view().size(), 0.0));
}
