#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include <cuda.h>

#include "call_book.hpp"
#include "model.hpp"

namespace fake_cuda {

/// Records behind handles. A destroyed record is the first to be used again.
template <class T>
class handle_table {
 public:
  T* find(const void* handle) const {
    const auto found = by_handle_.find(handle);
    return found != by_handle_.end() && found->second->alive ? found->second : nullptr;
  }
  T& make() {
    if (free_.empty()) {
      records_.push_back(std::make_unique<T>());
      free_.push_back(records_.back().get());
      by_handle_.emplace(free_.back(), free_.back());
    }
    T& record = *free_.back();
    free_.pop_back();
    record = T{};
    record.alive = true;
    ++alive_;
    return record;
  }
  void destroy(T& record) {
    record.alive = false;
    free_.push_back(&record);
    --alive_;
  }
  long alive() const noexcept { return alive_; }
  template <class Visit>
  void each(Visit visit) {
    for (const auto& [handle, record] : by_handle_) {
      if (record->alive) visit(*record);
    }
  }
  /// Every handle is dead and stays dead.
  void reset() {
    by_handle_.clear();
    free_.clear();
    alive_ = 0;
  }

 private:
  std::vector<std::unique_ptr<T>> records_;
  std::unordered_map<const void*, T*> by_handle_;
  std::vector<T*> free_;
  long alive_ = 0;
};

/// What ran on a timeline, for people.
struct timeline_name {
  int device = -1;  ///< -1: the host
  stream_kind kind = stream_kind::legacy;
  std::uint64_t id = 0;
  bool green = false;  ///< of a green context
};

/// Everything the driver knows. Its mutex guards all of it.
struct world {
  std::mutex mutex;
  std::condition_variable let_go;

  bool initialised = false;
  bool forked = false;  ///< the child of a process that had called cuInit
  bool peers = true;
  std::uint64_t generation = 1;  ///< counts resets

  std::vector<std::unique_ptr<context>> devices;  ///< the primary contexts, by device
  std::vector<std::unique_ptr<context>> greens;   ///< made by tests; dead ones stay
  std::vector<CUresult> sticky;                   ///< by device
  handle_table<stream> streams;
  handle_table<event> events;
  handle_table<graph> graphs;
  handle_table<library> libraries;
  handle_table<kernel> kernels;
  handle_table<memory_pool> pools;                 ///< made by calls
  std::vector<std::unique_ptr<capture>> captures;  ///< begun and not ended

  std::map<address, std::unique_ptr<block>> blocks;  ///< by begin; freed ones too, for a while
  std::deque<block*> quarantine;                     ///< freed, oldest first
  std::vector<block*> free_blocks;  ///< of all pools, freed in stream order, latest last

  std::uint64_t last_id = 0;  ///< of streams, captures, blocks
  std::uint64_t operations = 0;

  vector_clock host;  ///< what the host has waited for
  tick host_ticks = 0;
  vector_clock ran;  ///< what has run, whether anybody knows it or not
  bool always_idle = false;
  std::vector<timeline_name> lines{timeline_name{}};  ///< the first is the host
  shadow_memory shadow;

  call_book calls;
  long host_waits = 0;
  long invalidated = 0;
  bool hold = false;
  int held = 0;
  std::vector<std::string> findings;
  int finding_count = 0;
};

inline constexpr timeline host_line = 0;

template <class Visit>
void each_context(const world& w, Visit visit) {
  for (const auto& c : w.devices) visit(*c);
  for (const auto& c : w.greens) visit(*c);
}

/// The driver of this process. Never destroyed.
world& the_world();

void reset(world& w);
void settle(world& w);

}  // namespace fake_cuda
