#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include <dlpack_bridge/cuda/loan_record.hpp>

namespace dlpack_bridge::cuda {

/// The living loans of the process, found by address. Any thread; nothing is released under its
/// lock.
class loan_table {
 public:
  /// Takes a loan in. Nothing was moved from after a throw.
  /// @throws std::bad_alloc
  /// @throws cuda_error
  loan_record* enter(owner& memory, loan& terms);

  /// The loan's owner was dropped: no reader is added any more.
  void leave(loan_record& record) noexcept;

  /// Takes back a record whose release is through and which holds nothing any more.
  void recycle(loan_record& record) noexcept;

  /// Adds a reader to each loan that an address lies in; false when there is none. One that is
  /// known already stays, and takes over what keeps its stream when nothing did.
  /// @throws std::bad_alloc
  bool add_reader(const void* address, const stream_of_thread& stream,
                  const std::shared_ptr<owner>& stream_object);

 private:
  struct entry {
    std::uintptr_t begin;
    std::uintptr_t end;  // one past the last byte; at least begin + 1
    loan_record* record;
  };

  std::mutex mutex_;
  std::vector<entry> living_;
  loan_record* free_ = nullptr;
};

/// The table of this process.
loan_table& loans() noexcept;

}  // namespace dlpack_bridge::cuda
