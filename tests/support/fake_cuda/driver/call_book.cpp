#include <algorithm>

#include "call_book.hpp"
#include "entry_table.hpp"

namespace fake_cuda {

int call_book::find(std::string_view function) {
  const auto names = entry_names();
  const auto at = std::ranges::lower_bound(names, function);
  return at == names.end() || *at != function ? -1 : static_cast<int>(at - names.begin());
}

std::optional<call_book::order> call_book::write(int function) {
  const auto index = static_cast<std::size_t>(function);
  if (counts_.size() <= index) counts_.resize(index + 1, 0);
  ++counts_[index];
  log_.push_back(static_cast<std::uint8_t>(function));
  std::optional<order> due;
  for (instruction& i : instructions_) {
    if (i.function != function || i.left < 0) continue;
    if (!i.every && --i.left > 0) continue;
    due = i.what;
    if (!i.every) i.left = -1;  // carried out
  }
  if (due && due->answer == CUDA_SUCCESS) ++ignored_;
  return due;
}

long call_book::count(int function) const {
  const auto index = static_cast<std::size_t>(function);
  return index < counts_.size() ? counts_[index] : 0;
}

std::string call_book::log() const {
  const auto names = entry_names();
  std::string text;
  for (const std::uint8_t function : log_) {
    if (!text.empty()) text += ' ';
    text += names[function];
  }
  return text;
}

void call_book::clear_counts() {
  counts_.clear();
  log_.clear();
}

void call_book::instruct(int function, int nth, order what) {
  instructions_.push_back({function, nth, nth == 0, what});
}

void call_book::clear_orders() {
  instructions_.clear();
  ignored_ = 0;
}

}  // namespace fake_cuda
