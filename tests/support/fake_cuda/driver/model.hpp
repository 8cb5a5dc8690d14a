#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include <cuda.h>

#include "clock.hpp"
#include "shadow.hpp"

// What the driver keeps. Handles are the addresses of these records. A record lives to the end of
// the process, so that a dead handle is never an address of something else; streams and events come
// back from the dead under the same handle, as they do in a driver.
namespace fake_cuda {

struct capture;
struct context;

/// A driver call goes no further: its result.
struct call_failed {
  CUresult code;
};

enum class stream_kind : std::uint8_t { legacy, per_thread, blocking, non_blocking };

struct stream {
  context* home = nullptr;
  stream_kind kind = stream_kind::non_blocking;
  bool alive = false;
  int priority = 0;
  std::uint64_t id = 0;      ///< never used twice
  std::uint64_t thread = 0;  ///< of a per-thread stream
  timeline line = 0;
  tick issued = 0;
  vector_clock known;  ///< what is ordered before the next operation here
  capture* capturing = nullptr;
  vector_clock captured;  ///< inside the capture: what the next operation depends on
  timeline capture_line = 0;
};

struct event {
  context* home = nullptr;
  bool alive = false;
  bool recorded = false;
  vector_clock state;             ///< what the last record saw
  std::uint64_t captured_in = 0;  ///< id of the capture of the last record; 0: none
  vector_clock captured;
};

/// One sequence of streams that goes into a graph.
struct capture {
  std::uint64_t id = 0;
  stream* origin = nullptr;
  CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_GLOBAL;
  std::uint64_t thread = 0;  ///< that began it
  bool valid = true;
  std::vector<stream*> members;  ///< a member's place is its timeline inside the capture
  std::vector<tick> issued;      ///< by member
  shadow_memory shadow;          ///< what its own nodes touch
};

/// A pool of stream-ordered memory of one device.
struct memory_pool {
  bool alive = false;
  int device = 0;
  std::uint64_t threshold = 0;  ///< what it holds beyond goes back at a synchronisation
  std::uint64_t held = 0;       ///< bytes of its blocks, in use or free
  std::vector<int> peers;       ///< other devices that reach its memory
  bool broken = false;          ///< a device was let in that cannot reach it
};

struct context {
  int device = 0;
  int retained = 0;  ///< primary contexts; 0: not active
  bool green = false;
  std::uint64_t holder = 0;  ///< the thread that has a green context current, ...
  int held = 0;              ///< ... and how many times
  stream legacy;
  std::vector<stream*> streams;                                 ///< alive, made by calls
  std::map<std::uint64_t, std::unique_ptr<stream>> per_thread;  ///< by host thread
  std::vector<context*> peers;  ///< whose memory this one's kernels can reach
  vector_clock retired;         ///< the work of destroyed streams
  memory_pool default_pool;
};

enum class block_kind : std::uint8_t { device, pooled, managed, host, registered, adopted };

struct block {
  block_kind kind = block_kind::device;
  byte_range bytes;
  std::size_t capacity = 0;     ///< of pooled memory, what a later allocation can have
  memory_pool* pool = nullptr;  ///< of pooled memory outside graphs
  int device = 0;
  context* home = nullptr;
  std::uint64_t id = 0;
  std::uint64_t graph = 0;         ///< allocated inside this capture
  const char* freed_by = nullptr;  ///< null while it is alive
  moment freed_at;
  void* storage = nullptr;  ///< null when the memory is the test's
};

/// A finished capture.
struct graph {
  bool alive = false;
};

/// A loaded image. It is taken at its word: every kernel that the fake knows is in it.
struct library {
  bool alive = false;
};

struct kernel {
  bool alive = false;
  const library* from = nullptr;
  const char* name = "";
  context* home = nullptr;  ///< null: not yet of any context (a CUkernel)
};

/// What one host thread has of its own.
struct thread_state {
  std::uint64_t id = 0;
  std::uint64_t generation = 0;  ///< a reset of the world empties the rest
  std::vector<context*> contexts;
  CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_GLOBAL;
  bool quiet = false;
};

}  // namespace fake_cuda
