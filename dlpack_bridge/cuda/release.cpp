#include <dlpack_bridge/cuda/release.hpp>

#include <memory>
#include <utility>

#include <dlpack_bridge/counters.hpp>
#include <dlpack_bridge/cuda/driver.hpp>
#include <dlpack_bridge/cuda/loan_table.hpp>
#include <dlpack_bridge/cuda/memory.hpp>
#include <dlpack_bridge/cuda/release_queue.hpp>
#include <dlpack_bridge/error.hpp>

namespace dlpack_bridge::cuda {
namespace {

// The driver has ended, or was never ours to use after a fork: the locks may be held by threads
// that are gone. What nobody else reads can go, the rest is left alone.
void drop_without_driver(loan_record& record) noexcept {
  if (settle(record) == verdict::due) record.memory.reset();
  else active_counters().leaked.fetch_add(1, std::memory_order_relaxed);
}

void drop(void* object) noexcept {
  auto& record = *static_cast<loan_record*>(object);
  if (driver() == nullptr) {
    drop_without_driver(record);
    return;
  }
  loans().leave(record);
  releases().release(record);
}

}  // namespace

owner lend(owner memory, loan terms) {
  if (driver() == nullptr) return memory;
  return owner(loans().enter(memory, terms), drop);
}

bool record_use(device where, const void* address, stream_handle stream, owner keep) {
  const driver_api* api = driver();
  if (api == nullptr) return false;
  const auto shared = keep ? std::make_shared<owner>(std::move(keep)) : nullptr;
  return loans().add_reader(address, stream_of_thread::here(*api, stream, where.id), shared);
}

bool record_use(const tensor_view& array, const stream_ref& stream, owner keep) {
  if (!stream.is_usable_here()) {
    const std::string message = "the per-thread default stream of another thread cannot be reached";
    throw exchange_error(message, {{reason_code::stream, message}});
  }
  return record_use(array.device(), array.data(), stream.handle(), std::move(keep));
}

std::int64_t collect(bool wait) {
  if (driver() == nullptr) return 0;
  const std::int64_t went = releases().collect(wait);
  if (wait) trim();
  else release_held_memory();
  return went;
}

void set_release_runner(void (*run)(owner due) noexcept) noexcept { releases().set_runner(run); }

}  // namespace dlpack_bridge::cuda
