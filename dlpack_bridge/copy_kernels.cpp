#include <dlpack_bridge/copy_kernels.hpp>

#if defined(__x86_64__) && defined(__GNUC__)
#define DLPACK_BRIDGE_X86 1
#endif

namespace dlpack_bridge::detail {
namespace {

/// An element at any address, whatever type wrote it.
template <class T>
struct [[gnu::packed, gnu::may_alias]] loose {
  T value;
};

template <class Op>
[[gnu::always_inline]] inline void each(const void* from, void* to, std::size_t count) {
  const auto* __restrict in = static_cast<const loose<typename Op::from>*>(from);
  auto* __restrict out = static_cast<loose<typename Op::to>*>(to);
  for (std::size_t i = 0; i < count; ++i) out[i].value = Op::apply(in[i].value);
}

// One binary for every processor: the same loops compiled for more instructions. No fused
// multiply-add among them, which would round differently.
template <class Op>
void baseline_kernel(const void* from, void* to, std::size_t count) {
  each<Op>(from, to, count);
}

template <class... Ops>
constexpr kernel_table baseline_table(operation_list<Ops...>) {
  return {&baseline_kernel<Ops>...};
}
constexpr kernel_table baseline = baseline_table(operations{});

#ifdef DLPACK_BRIDGE_X86
template <class Op>
[[gnu::target("avx2,f16c")]] void avx2_kernel(const void* from, void* to, std::size_t count) {
  each<Op>(from, to, count);
}

template <class Op>
[[gnu::target("avx512f,avx512bw,avx512dq,avx512vl,f16c,prefer-vector-width=512")]] void
avx512_kernel(const void* from, void* to, std::size_t count) {
  each<Op>(from, to, count);
}

template <class... Ops>
constexpr kernel_table avx2_table(operation_list<Ops...>) {
  return {&avx2_kernel<Ops>...};
}
template <class... Ops>
constexpr kernel_table avx512_table(operation_list<Ops...>) {
  return {&avx512_kernel<Ops>...};
}
constexpr kernel_table avx2 = avx2_table(operations{});
constexpr kernel_table avx512 = avx512_table(operations{});
#endif

instruction_set best_set() noexcept {
  if (is_supported(instruction_set::avx512)) return instruction_set::avx512;
  if (is_supported(instruction_set::avx2)) return instruction_set::avx2;
  return instruction_set::baseline;
}

}  // namespace

bool is_supported(instruction_set set) noexcept {
  if (set == instruction_set::baseline) return true;
#ifdef DLPACK_BRIDGE_X86
  __builtin_cpu_init();
  if (set == instruction_set::avx2) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("f16c");
  }
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#else
  return false;
#endif
}

const kernel_table& kernels_of(instruction_set set) noexcept {
#ifdef DLPACK_BRIDGE_X86
  if (set == instruction_set::avx512) return avx512;
  if (set == instruction_set::avx2) return avx2;
#endif
  static_cast<void>(set);
  return baseline;
}

const kernel_table& kernels() noexcept {
  static const kernel_table& best = kernels_of(best_set());
  return best;
}

}  // namespace dlpack_bridge::detail
