#include <dlpack_bridge/layout.hpp>

#include <algorithm>
#include <array>
#include <numeric>
#include <utility>

namespace dlpack_bridge {
namespace {

__extension__ using wide = __int128;

/// `step * x` for x in [0, count].
struct term {
  std::int64_t step;
  std::int64_t count;
};

constexpr std::int64_t largest_span = std::int64_t{1} << 61;  // sums of two spans stay in 63 bits

/// The axes that move the address, turned so that all of them go forward from `low`.
struct forward_axes {
  std::array<term, most_moving_axes> terms;
  int size = 0;
  std::int64_t low = 0;    // from the first element to the lowest one, in bytes
  std::int64_t reach = 0;  // from the lowest element to the highest one, in bytes
  bool broadcast = false;  // an axis longer than 1 does not move the address
  bool empty = false;
  bool addressable = true;  // false: the numbers leave the range this file calculates in
};

void add_axis(forward_axes& axes, extent n, std::int64_t stride) noexcept {
  if (stride == 0) {
    axes.broadcast = true;
    return;
  }
  std::int64_t last;
  if (axes.size == most_moving_axes || __builtin_mul_overflow(stride, n - 1, &last) ||
      last > largest_span || last < -largest_span) {
    axes.addressable = false;
    return;
  }
  if (last < 0) axes.low += last;
  axes.reach += last < 0 ? -last : last;
  axes.terms[axes.size++] = {stride < 0 ? -stride : stride, n - 1};
  if (axes.reach > largest_span) {
    axes.addressable = false;
    axes.reach = 0;
  }
}

forward_axes forward(std::span<const extent> shape, const extent* byte_strides,
                     std::int64_t itemsize) noexcept {
  forward_axes axes;
  for (const extent n : shape) axes.empty |= n <= 0;
  if (axes.empty || itemsize <= 0) {
    axes.empty = true;
    return axes;
  }
  if (byte_strides == nullptr) {
    const std::optional<std::int64_t> count = element_count(shape);
    if (!count) axes.addressable = false;
    if (count && *count > 1) add_axis(axes, *count, itemsize);
    return axes;
  }
  for (std::size_t i = 0; i < shape.size() && axes.addressable; ++i) {
    if (shape[i] > 1) add_axis(axes, shape[i], byte_strides[i]);
  }
  return axes;
}

/// Does a sum of terms reach an interval? A bounded linear Diophantine equation: the general case
/// is NP-hard, layouts of arrays are not. Depth-first from the largest step to the smallest; what
/// is left of the interval bounds the next factor from both sides, divisibility by what the later
/// steps have in common skips the others, and as soon as the later steps are known to reach every
/// multiple of their common divisor there is nothing left to search.
class bounded_sum {
 public:
  void add(std::int64_t step, std::int64_t count) noexcept {
    if (count > 0) terms_[size_++] = {step, count};
  }

  /// Whether a value in [low, high] is reached. `steps_left` is what the search may still cost;
  /// `unknown` when it is spent.
  answer reaches(std::int64_t low, std::int64_t high, std::int64_t& steps_left) noexcept {
    std::int64_t divisor = 0;
    for (int i = 0; i < size_; ++i) divisor = std::gcd(divisor, terms_[i].step);
    if (divisor == 0) return low <= 0 && 0 <= high ? answer::yes : answer::no;
    low = std::max<std::int64_t>(low, 0);
    if (high < low) return answer::no;
    // Only multiples of the divisor can be met: the interval becomes one more term.
    const std::int64_t first = (low + divisor - 1) / divisor;
    const std::int64_t last = high / divisor;
    if (last < first) return answer::no;
    add(divisor, last - first);
    prepare();
    return search(0, last * divisor, steps_left);
  }

 private:
  /// What the terms from some index on can do together.
  struct tail {
    std::int64_t divisor = 0;
    std::int64_t reach = 0;
    std::int64_t inverse = 0;  // of this step modulo the period of its factor
    std::int64_t period = 1;   // factors that keep the rest divisible are this far apart
    bool gapless = true;       // every multiple of divisor in [0, reach] is a sum
  };

  void prepare() noexcept {
    const auto end = terms_.begin() + size_;
    std::sort(terms_.begin(), end, [](term a, term b) { return a.step > b.step; });
    int kept = 0;
    for (int i = 0; i < size_; ++i) {
      if (kept > 0 && terms_[kept - 1].step == terms_[i].step) {
        terms_[kept - 1].count += terms_[i].count;
      } else {
        terms_[kept++] = terms_[i];
      }
    }
    size_ = kept;
    tails_[size_] = tail{};
    for (int i = size_; i-- > 0;) tails_[i] = extended(tails_[i + 1], terms_[i]);
  }

  static tail extended(const tail& rest, term t) noexcept {
    tail all;
    all.divisor = std::gcd(rest.divisor, t.step);
    all.reach = rest.reach + t.step * t.count;
    if (rest.divisor == 0) return all;
    all.period = rest.divisor / all.divisor;
    all.inverse = inverse_of(t.step / all.divisor, all.period);
    all.gapless = rest.gapless && all.period == 1 && t.step <= rest.reach + rest.divisor;
    return all;
  }

  /// x with (x * a) % modulus == 1 % modulus. Precondition: no common divisor.
  static std::int64_t inverse_of(std::int64_t a, std::int64_t modulus) noexcept {
    std::int64_t r0 = modulus, r1 = a % modulus, t0 = 0, t1 = 1;
    while (r1 != 0) {
      const std::int64_t q = r0 / r1;
      t0 = std::exchange(t1, t0 - q * t1);
      r0 = std::exchange(r1, r0 - q * r1);
    }
    return t0 < 0 ? t0 + modulus : t0;
  }

  answer search(int i, std::int64_t target, std::int64_t& steps_left) const noexcept {
    const tail& all = tails_[i];
    if (target < 0 || target > all.reach || target % all.divisor != 0) return answer::no;
    if (all.gapless) return answer::yes;

    const term t = terms_[i];
    const tail& rest = tails_[i + 1];
    const std::int64_t over = target - rest.reach;
    const std::int64_t lowest = over <= 0 ? 0 : (over - 1) / t.step + 1;
    const std::int64_t highest = std::min(t.count, target / t.step);
    const wide product = wide{target / all.divisor % all.period} * all.inverse;
    const auto residue = static_cast<std::int64_t>(product % all.period);
    std::int64_t factor = lowest + (residue - lowest % all.period + all.period) % all.period;
    for (; factor <= highest; factor += all.period) {
      if (steps_left-- <= 0) return answer::unknown;
      const answer found = search(i + 1, target - factor * t.step, steps_left);
      if (found != answer::no) return found;
    }
    return answer::no;
  }

  std::array<term, 2 * most_moving_axes + 1> terms_;
  std::array<tail, 2 * most_moving_axes + 2> tails_;
  int size_ = 0;
};

/// Steps one question may cost: about two milliseconds.
constexpr std::int64_t search_budget = 200'000;

/// Whether two of the axes alone lead to one address: `p` steps of one are `q` of the other.
bool some_pair_meets(const forward_axes& axes) noexcept {
  for (int i = 0; i < axes.size; ++i) {
    for (int j = 0; j < i; ++j) {
      const term a = axes.terms[i], b = axes.terms[j];
      const std::int64_t common = std::gcd(a.step, b.step);
      if (b.step / common <= a.count && a.step / common <= b.count) return true;
    }
  }
  return false;
}

std::int64_t checked_reach(extent n, std::int64_t stride) noexcept {
  std::int64_t reach;
  const bool overflow = __builtin_mul_overflow(n, stride, &reach) || reach == INT64_MIN;
  if (overflow) return 0;
  return reach < 0 ? -reach : reach;
}

}  // namespace

std::optional<std::int64_t> element_count(std::span<const extent> shape) noexcept {
  const layout_facts facts =
      facts_of(shape.data(), nullptr, static_cast<std::int32_t>(shape.size()));
  if (facts.overflow) return std::nullopt;
  return facts.size;
}

bool is_c_contiguous(std::span<const extent> shape, const extent* strides,
                     std::int64_t step) noexcept {
  return facts_of(shape.data(), strides, static_cast<std::int32_t>(shape.size()), step)
      .c_contiguous;
}

bool is_f_contiguous(std::span<const extent> shape, const extent* strides,
                     std::int64_t step) noexcept {
  if (std::ranges::any_of(shape, [](extent n) { return n <= 0; })) return true;
  if (strides == nullptr) {
    return std::ranges::count_if(shape, [](extent n) { return n > 1; }) <= 1;
  }
  std::int64_t dense = step;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == 1) continue;
    if (strides[i] != dense) return false;
    if (__builtin_mul_overflow(dense, shape[i], &dense)) dense = 0;
  }
  return true;
}

void canonical_strides(std::span<const extent> shape, const extent* strides, extent* out,
                       std::int64_t step) noexcept {
  const bool empty = std::ranges::any_of(shape, [](extent n) { return n <= 0; });
  if (empty || strides == nullptr) return row_major_strides(shape, out, step);

  // An axis of extent 1 gets the stride that continues what its inner axes reach, which are the
  // axes before it in a column-major array and the axes behind it everywhere else.
  const bool backward =
      is_c_contiguous(shape, strides, step) || !is_f_contiguous(shape, strides, step);
  std::int64_t reached = step;
  for (std::size_t k = 0; k < shape.size(); ++k) {
    const std::size_t i = backward ? shape.size() - 1 - k : k;
    out[i] = shape[i] == 1 ? reached : strides[i];
    if (shape[i] != 1) reached = std::max(reached, checked_reach(shape[i], strides[i]));
  }
}

std::optional<byte_span> span_of(std::span<const extent> shape, const extent* byte_strides,
                                 std::int64_t itemsize) noexcept {
  if (std::ranges::any_of(shape, [](extent n) { return n <= 0; })) return byte_span{};
  byte_span span{0, itemsize};
  if (byte_strides == nullptr) {
    const std::optional<std::int64_t> count = element_count(shape);
    if (!count || __builtin_mul_overflow(*count, itemsize, &span.high)) return std::nullopt;
    return span;
  }
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == 1) continue;
    std::int64_t last;
    if (__builtin_mul_overflow(byte_strides[i], shape[i] - 1, &last)) return std::nullopt;
    std::int64_t& end = last < 0 ? span.low : span.high;
    if (__builtin_add_overflow(end, last, &end)) return std::nullopt;
  }
  std::int64_t length;
  if (__builtin_sub_overflow(span.high, span.low, &length)) return std::nullopt;
  return span;
}

answer overlaps_itself(std::span<const extent> shape, const extent* byte_strides,
                       std::int64_t itemsize) noexcept {
  forward_axes axes = forward(shape, byte_strides, itemsize);
  if (axes.empty) return answer::no;
  if (axes.broadcast) return answer::yes;
  if (!axes.addressable) return answer::unknown;
  const auto end = axes.terms.begin() + axes.size;
  std::sort(axes.terms.begin(), end, [](term a, term b) { return a.step < b.step; });

  // For each axis: the difference of two indices is at least 1 there, 0 on the axes of larger
  // strides and anything on the axes of smaller ones. Where an axis steps over all that the smaller
  // ones touch there is nothing to ask: this answers every dense, sliced and transposed array.
  std::int64_t steps_left = search_budget;
  std::int64_t inner = 0;  // what the smaller strides reach
  answer result = answer::no;
  for (int k = 0; k < axes.size; ++k) {
    const term t = axes.terms[k];
    if (t.step < inner + itemsize) {
      if (result == answer::no && some_pair_meets(axes)) return answer::yes;
      bounded_sum differences;
      differences.add(t.step, t.count - 1);
      for (int j = 0; j < k; ++j) differences.add(axes.terms[j].step, 2 * axes.terms[j].count);
      const std::int64_t zero = inner - t.step;
      const answer found =
          differences.reaches(zero - (itemsize - 1), zero + (itemsize - 1), steps_left);
      if (found == answer::yes) return found;
      if (found == answer::unknown) result = found;
    }
    inner += t.step * t.count;
  }
  return result;
}

answer share_memory(const address_layout& a, const address_layout& b) noexcept {
  const forward_axes first = forward(a.shape, a.byte_strides, a.itemsize);
  const forward_axes second = forward(b.shape, b.byte_strides, b.itemsize);
  if (first.empty || second.empty) return answer::no;
  if (a.address == b.address) return answer::yes;
  if (!first.addressable || !second.addressable) return answer::unknown;

  const wide distance = (wide{b.address} + second.low) - (wide{a.address} + first.low);
  if (distance >= first.reach + a.itemsize || -distance >= second.reach + b.itemsize) {
    return answer::no;
  }
  // Indices of the second array counted from its end make all terms positive.
  bounded_sum sum;
  for (int i = 0; i < first.size; ++i) sum.add(first.terms[i].step, first.terms[i].count);
  for (int i = 0; i < second.size; ++i) sum.add(second.terms[i].step, second.terms[i].count);
  const std::int64_t zero = static_cast<std::int64_t>(distance) + second.reach;
  std::int64_t steps_left = search_budget;
  return sum.reaches(zero - (a.itemsize - 1), zero + (b.itemsize - 1), steps_left);
}

}  // namespace dlpack_bridge
