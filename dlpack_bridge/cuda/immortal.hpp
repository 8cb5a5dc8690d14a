#pragma once

#include <memory>
#include <utility>

namespace dlpack_bridge::cuda {

/// Holds a static object that is never destroyed, since arrays may be released while statics die.
/// Allocates nothing itself.
template <class T>
class immortal {
 public:
  template <class... Arguments>
  explicit immortal(Arguments&&... arguments) {
    std::construct_at(&value_, std::forward<Arguments>(arguments)...);
  }
  immortal(const immortal&) = delete;
  immortal& operator=(const immortal&) = delete;
  ~immortal() {}

  T& get() noexcept { return value_; }

 private:
  union {
    T value_;
  };
};

}  // namespace dlpack_bridge::cuda
