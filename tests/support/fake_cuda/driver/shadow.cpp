#include <algorithm>

#include "shadow.hpp"

namespace fake_cuda {

// The first cell that begins at `where` or after it, once none reaches over it.
shadow_memory::cell_map::iterator shadow_memory::split_at(address where) {
  const auto after = cells_.lower_bound(where);
  if (after == cells_.begin()) return after;
  const auto before = std::prev(after);
  if (before->second.end <= where) return after;
  cell upper = before->second;
  before->second.end = where;
  return cells_.emplace_hint(after, where, std::move(upper));
}

void shadow_memory::touch(byte_range range, const access& now, const vector_clock& known,
                          const conflict& found) {
  if (range.empty()) return;
  std::vector<moment> told;
  const auto judge = [&](const access& earlier, byte_range where) {
    if (earlier.at.when == 0 || known.covers(earlier.at)) return;
    if (std::ranges::find(told, earlier.at) != told.end()) return;
    told.push_back(earlier.at);
    found(earlier, where);
  };
  auto at = split_at(range.begin);
  split_at(range.end);
  for (address begin = range.begin; begin < range.end;) {
    if (at == cells_.end() || at->first > begin) {  // a gap that nobody has touched
      const address end = at == cells_.end() ? range.end : std::min(range.end, at->first);
      at = cells_.emplace_hint(at, begin, cell{.end = end});
    }
    cell& c = at->second;
    judge(c.write, {begin, c.end});
    if (now.writes) {
      for (const access& read : c.reads) judge(read, {begin, c.end});
      c.reads.clear();
      c.write = now;
    } else {
      // A read that is ordered before this one adds nothing: what comes after this comes after it.
      std::erase_if(c.reads, [&](const access& read) { return known.covers(read.at); });
      c.reads.push_back(now);
    }
    begin = c.end;
    ++at;
  }
}

void shadow_memory::forget(byte_range range) {
  if (range.empty()) return;
  const auto first = split_at(range.begin);
  cells_.erase(first, split_at(range.end));
}

}  // namespace fake_cuda
