#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>

#include <dlpack_bridge/cuda/loan_record.hpp>
#include <dlpack_bridge/cuda/settle.hpp>

namespace dlpack_bridge::cuda {

/// Releases loans, now or when their readers are through. What waits for events is looked after by a
/// thread that starts with the first such release and sleeps while there is none; it touches no
/// stream. What a capture holds up is tried again by the threads of the program, at their next
/// release or `collect`. Any thread may call; no owner is released under a lock.
class release_queue {
 public:
  using release_runner = void (*)(owner due) noexcept;

  /// Releases a record whose owner was dropped. Never blocks.
  void release(loan_record& record) noexcept;

  /// Lets go of what is due, on the calling thread, or finds it with the runner; with `wait` blocks
  /// the host until all is gone that no capture holds up. Inside a release nothing is waited for but
  /// streams. How many went.
  std::int64_t collect(bool wait) noexcept;

  /// Who runs what falls due on the queue's thread; null: that thread.
  void set_runner(release_runner run) noexcept { runner_.store(run, std::memory_order_release); }

  /// The process is exiting: the queue's thread makes no driver call after this returns.
  void stop() noexcept;

 private:
  // Records through their `next`, first in, first out.
  struct chain {
    loan_record* first = nullptr;
    loan_record* last = nullptr;
    std::int64_t length = 0;
    void append(loan_record& record) noexcept;
    loan_record* pop() noexcept;
  };
  enum class caller { queue_thread, collector, waiting_collector };

  std::int64_t sweep(caller who) noexcept;
  verdict judge(loan_record& record, caller who) noexcept;
  void let_go(loan_record& record) noexcept;
  void end_look(caller who) noexcept;
  void keep(loan_record& record, verdict v) noexcept;
  void retry_parked() noexcept;
  void start_thread() noexcept;
  void run() noexcept;

  std::mutex mutex_;
  std::condition_variable wake_;     // of the queue's thread
  std::condition_variable settled_;  // of collectors that wait for other threads
  chain waiting_;                    // for events
  chain parked_;                     // for the end of a capture
  chain abandoned_;
  std::uint64_t parked_by_queue_ = 0;  // what the queue's thread dropped last and could not settle
  std::int64_t in_hand_ = 0;           // taken from `waiting_` or `parked_` by a thread at work
  bool looking_ = false;  // the queue's thread has some of them in hand, not yet judged
  bool has_thread_ = false;
  std::mutex calls_;  // held by the queue's thread while it calls the driver
  std::atomic<bool> stopped_{false};
  std::atomic<release_runner> runner_{nullptr};
};

/// Whether this is a thread of the program. The queue's own thread uses no stream: a capture might
/// begin at that moment.
bool may_use_streams() noexcept;

/// The queue of this process.
release_queue& releases() noexcept;

}  // namespace dlpack_bridge::cuda
