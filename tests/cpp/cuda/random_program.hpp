#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "fake_cuda/machine.hpp"
#include <dlpack_bridge/managed_tensor.hpp>
#include <dlpack_bridge/negotiation.hpp>

/// A random program of a user who keeps the rules: arrays are produced, handed on from stream to
/// stream and device to device through the hub, copied, read, written, dropped; freed blocks are
/// used again at once. Whatever goes wrong is the hub's doing.
class random_program {
 public:
  using machine = fake_cuda::machine;

  random_program(machine& m, std::uint32_t seed)
      : machine_(m), random_(seed), taken_before_(m.pool.taken()) {}

  /// Everything is dropped and has gone back when this returns.
  void run(int steps);

  /// The first thing that went wrong beyond the findings of the fake: wrong values, refusals without
  /// a capture, captures that were broken, driver errors, memory that did not go back. Empty when
  /// nothing did.
  const std::string& complaint() const { return complaint_; }
  std::size_t streams_used() const { return used_.size(); }
  int releases() const { return releases_; }
  int refusals() const { return refusals_; }
  int copies() const { return copies_; }
  int uses_in_graphs() const { return uses_in_graphs_; }

 private:
  struct array {
    dlpack_bridge::managed_tensor tensor;
    int device = 0;
    float stamp = 0;     ///< the value of each element
    bool alone = false;  ///< nobody else uses the memory: it may be written
    bool lent = false;   ///< went through the hub
  };

  /// Streams that go into one graph.
  struct graph_capture {
    const machine::lane* origin;
    std::vector<const machine::lane*> forks;
  };

  std::size_t below(std::size_t bound);
  const machine::lane& any_lane(std::optional<int> device = {});
  const machine::lane& idle_lane(std::optional<int> device = {});
  const machine::lane& lane_of(const array& a) const;
  bool captures(const machine::lane& at) const;
  bool touch(const machine::lane& at, const array& a, bool writes);
  void complain(const char* what);

  void step();
  void finish();
  void produce();
  void produce_in_hub();
  void import_from_host();
  void hand_on(std::size_t index, const machine::lane& to);
  void copy();
  void copy_to_other_device();
  void copy_to_host();
  void use();
  void use_elsewhere();
  void drop();
  void let_devices_run();
  void begin_capture();
  void fork_capture();
  const machine::lane* fork_of(const machine::lane& origin) const;
  void end_capture();

  void exchange(std::size_t index, const dlpack_bridge::requirements& wanted, bool fresh);

  machine& machine_;
  std::mt19937 random_;
  std::size_t taken_before_;
  std::vector<array> arrays_;
  std::vector<graph_capture> captures_;
  std::vector<const machine::lane*> used_;
  int releases_ = 0, refusals_ = 0, copies_ = 0, uses_in_graphs_ = 0;
  float last_stamp_ = 0;
  std::string complaint_;
};
