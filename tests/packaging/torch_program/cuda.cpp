// CUDA tensors: streams, and what becomes of torch's memory. On the fake driver, with a torch that
// takes it for its device.
#include "check.hpp"
#include "fake_torch_cuda.hpp"
#include <dlpack_bridge/adapters/torch.hpp>
#include <dlpack_bridge/cuda/backend.hpp>

using namespace dlpack_bridge;

namespace {

stream_handle handle_of(CUstream stream) { return stream_handle::from_native(stream); }
const device cuda0(kDLCUDA, 0);

// A fresh start; torch works on `torch`, somebody else on `user`.
struct two_streams {
  CUstream torch = fake_cuda_stream(0, CU_STREAM_NON_BLOCKING);
  CUstream user = fake_cuda_stream(0, CU_STREAM_NON_BLOCKING);

  two_streams() {
    static const bool ready = [] {
      fake_torch::give_cuda();
      cuda::use();
      return true;
    }();
    check(ready);
    fake_torch::set_current_stream(torch);
    fake_cuda_clear_races();
    fake_torch::notes();
    fake_torch::reused();
  }
  two_streams(const two_streams&) = delete;
  two_streams& operator=(const two_streams&) = delete;
  ~two_streams() { cuda::backend().collect(true); }
};

void use(CUstream stream, const tensor_view& view, bool writes) {
  const fake_cuda_access access{view.data(), static_cast<std::size_t>(view.nbytes()), writes};
  fake_cuda_work(0, stream, &access, 1);
}
void use(CUstream stream, const managed_tensor& array, bool writes = false) {
  use(stream, array.view(), writes);
}

void check_no_race() { check(fake_cuda_races() == 0); }

}  // namespace

CASE("no device: a torch with CUDA that finds none refuses what needs one") {
  fake_torch::give_cuda(0);
  const auto attempt = [] { to_torch(make_tensor({4}, float32), {.device = cuda0}); };
  const codes found = refusal(attempt);
  check(std::ranges::find(found, reason_code::device) != found.end());
  check(refusal_words(attempt).find("torch cannot hold arrays on cuda:0 here") !=
        std::string::npos);
}

CASE("cuda: without a backend a tensor carries torch's stream") {
  fake_torch::give_cuda();
  const CUstream stream = fake_cuda_stream(0, CU_STREAM_NON_BLOCKING);
  fake_torch::set_current_stream(stream);
  const managed_tensor array = from_torch(fake_torch::arange(4));
  check(array.view().device() == cuda0 && array.stream() == handle_of(stream));
}

CASE("cuda: an array is ordered on the stream that torch works on") {
  const two_streams world;
  const at::Tensor t = fake_torch::arange(4);
  const managed_tensor array = from_torch(t);
  check(array.view().device() == cuda0 && array.view().data() == t.data_ptr());
  check(array.stream() == handle_of(world.torch));
  fake_torch::set_current_stream(nullptr);
  check(from_torch(t).stream() == *stream_handle::from_protocol(kDLCUDA, 1));
}

CASE("cuda: a stream that is named waits for torch's") {
  const two_streams world;
  const managed_tensor array = from_torch(fake_torch::arange(4), {.stream = handle_of(world.user)});
  use(world.user, array);
  check(array.stream() == handle_of(world.user));
  check_no_race();
}

CASE("cuda: torch's allocator is told who used the memory when it is given back") {
  const two_streams world;
  managed_tensor array = from_torch(fake_torch::arange(4), {.stream = handle_of(world.user)});
  use(world.user, array, true);
  check(fake_torch::notes().empty());
  array.reset();
  check(fake_torch::notes() == std::vector{world.user} && fake_torch::reused() == 1);
  check_no_race();
}

CASE("cuda: work on the array's own stream is noted, which need not be the memory's") {
  const two_streams world;
  at::Tensor t = fake_torch::arange(4);
  fake_torch::set_current_stream(world.user);
  managed_tensor array = from_torch(std::move(t));
  check(array.stream() == handle_of(world.user));
  fake_cuda_clear_races();  // torch's user orders the streams that he switches between
  use(world.user, array);
  array.reset();
  check(fake_torch::notes() == std::vector{world.user} && fake_torch::reused() == 1);
}

CASE("cuda: torch's default stream is named as torch names it") {
  const two_streams world;
  const stream_handle legacy = *stream_handle::from_protocol(kDLCUDA, 1);
  from_torch(fake_torch::arange(4), {.stream = legacy}).reset();
  check(fake_torch::notes() == std::vector<CUstream>{nullptr});
  check_no_race();
}

CASE("cuda: nothing is noted while others hold the tensor or its storage") {
  const two_streams world;
  at::Tensor t = fake_torch::arange(4);
  at::Tensor part = t.detach();
  managed_tensor array = from_torch(t, {.stream = handle_of(world.user)});
  use(world.user, array);
  t.reset();
  array.reset();  // `part` has the storage
  check(fake_torch::notes().empty());
  cuda::backend().collect(true);  // what waited for the work is gone
  array = from_torch(part, {.stream = handle_of(world.user)});
  use(world.user, array);
  array.reset();  // `part` itself is there
  check(fake_torch::notes().empty() && fake_torch::reused() == 0);
  cuda::backend().collect(true);
  part.reset();
  check(fake_torch::reused() == 1);
  check_no_race();
}

CASE("cuda: nothing is noted of a stream that differs from thread to thread") {
  const two_streams world;
  const stream_handle per_thread = *stream_handle::from_protocol(kDLCUDA, 2);
  managed_tensor array = from_torch(fake_torch::arange(4), {.stream = per_thread});
  use(CU_STREAM_PER_THREAD, array);
  array.reset();
  cuda::backend().collect(true);
  check(fake_torch::notes().empty() && fake_torch::reused() == 1);
  check_no_race();
}

CASE("cuda: torch takes no note of memory that is not its own, so nobody relies on it") {
  const two_streams world;
  managed_tensor made = make_tensor({4}, float32, cuda0, handle_of(world.torch));
  const void* const data = made.view().data();
  managed_tensor array = from_torch(to_torch(std::move(made)), {.stream = handle_of(world.user)});
  check(array.view().data() == data);
  use(world.user, array, true);
  array.reset();
  cuda::backend().collect(true);
  check(fake_torch::notes().empty());
  check_no_race();
}

CASE("cuda: torch's stream waits for the producer of what it is given") {
  const two_streams world;
  managed_tensor made = make_tensor({2, 3}, float32, cuda0, handle_of(world.user));
  use(world.user, made, true);
  const void* const data = made.view().data();
  const at::Tensor t = to_torch(std::move(made));
  check(t.is_cuda() && t.get_device() == 0 && t.data_ptr() == data && t.size(1) == 3);
  use(world.torch, {t.data_ptr(), t.sizes().data(), nullptr, 2, float32, cuda0}, true);
  check_no_race();
}

CASE("cuda: a copy to the host is complete") {
  const two_streams world;
  const managed_tensor array = from_torch(fake_torch::arange(4), {.device = device()});
  fake_cuda_host_access(array.view().data(), 16, 0);
  check(array.is_copied() && static_cast<const float*>(array.view().data())[3] == 3);
  check_no_race();
}

CASE("cuda: a tensor of the host is copied to the device and back") {
  const two_streams world;
  const at::Tensor t = to_torch(share(std::vector<float>{1, 2, 3}), {.device = cuda0});
  check(t.is_cuda());
  const managed_tensor back = from_torch(t, {.device = device()});
  check(static_cast<const float*>(back.view().data())[2] == 3);
  check_no_race();
}

CASE("cuda: a running copy holds the tensor") {
  const two_streams world;
  managed_tensor array = from_torch(fake_torch::arange(4), {.copy = copy_policy::always});
  check(array.is_copied() && array.stream() == handle_of(world.torch));
  use(world.torch, array, true);
  array.reset();
  cuda::backend().collect(true);
  check(fake_torch::reused() == 1);
  check_no_race();
}
