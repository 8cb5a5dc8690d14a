#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <cuda.h>

namespace fake_cuda {

/// Counts and lists the calls of driver functions, and makes some of them fail or do nothing.
class call_book {
 public:
  /// What happens instead of a call.
  struct order {
    CUresult answer = CUDA_SUCCESS;
    bool sticky = false;  ///< the device answers the same from now on
  };

  /// The number of a function; -1 when the driver has none of this name.
  static int find(std::string_view function);

  /// Writes a call down. Has a value when an order is carried out instead of it.
  std::optional<order> write(int function);

  long count(int function) const;
  long count_all() const noexcept { return static_cast<long>(log_.size()); }
  std::string log() const;
  void clear_counts();

  /// The nth next call, or each for 0, becomes `what`.
  void instruct(int function, int nth, order what);
  /// Calls that answered success and did nothing.
  long ignored() const noexcept { return ignored_; }
  void clear_orders();

 private:
  struct instruction {
    int function;
    int left;
    bool every;
    order what;
  };

  std::vector<long> counts_;
  std::vector<std::uint8_t> log_;
  std::vector<instruction> instructions_;
  long ignored_ = 0;
};

}  // namespace fake_cuda
