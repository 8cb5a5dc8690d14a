#include <dlpack_bridge/array_form.hpp>

#include <dlpack_bridge/error.hpp>
#include <dlpack_bridge/exchange.hpp>
#include <dlpack_bridge/negotiation_text.hpp>

namespace dlpack_bridge {
namespace {

using why = reason_code;

bool extents_fit(const array_form& form, const tensor_view& view) noexcept {
  for (std::size_t i = 0; i < form.extents.size(); ++i) {
    if (form.extents[i] != dynamic && form.extents[i] != view.shape()[i]) return false;
  }
  return true;
}

bool column_major_fits(const array_form& form, const description& s) noexcept {
  if (form.order != memory_order::f) return true;
  return !s.byte_strides && is_f_contiguous(s.view.shape(), s.view.strides());
}

std::string axes_text(std::int32_t count) {
  return std::to_string(count) + (count == 1 ? " axis" : " axes");
}

std::string expected(const std::string& what, const std::string& found) {
  return "expected " + what + ", found " + found;
}

const char* place_text(memory_place place) noexcept {
  return place == memory_place::cuda ? "a CUDA device" : "memory that the CPU reads";
}

// The words of negotiation advise keywords of Python functions; a parameter has none.
std::string text_of(why code, const array_form& form, const description& s) {
  switch (code) {
    case why::dtype:
      return expected(form.dtype.name(),
                      s.has_dtype ? s.view.dtype().name() : std::string(s.dtype_name));
    case why::device: return expected(place_text(form.place), s.view.device().name());
    case why::readonly:
      return expected("writable memory", s.view.read_only()
                                             ? "read-only memory"
                                             : "elements that share memory with each other");
    case why::order:
      return expected("a row-major, dense array",
                      s.has_layout ? "strides " + strides_text(s.view) : "another layout");
    case why::requires_grad:
      return "the tensor requires grad, which C++ would not see; pass x.detach()";
    case why::conj:
      return "the conjugate bit is set: the memory holds the unconjugated values; pass "
             "x.resolve_conj()";
    case why::neg:
      return "the negative bit is set: the memory holds the opposite values; pass x.resolve_neg()";
    case why::framework: return "its framework made a copy, so that what is written would be lost";
    default: return explain(code, s, requirements_of(form, false), capabilities_of(form));
  }
}

void add_shape_mismatches(std::vector<reason>& all, const array_form& form, const description& s) {
  if (!s.has_layout && s.view.shape().data() == nullptr) return;
  const auto add = [&all](std::string text) { all.push_back({why::layout, std::move(text)}); };
  if (!rank_fits(form, s)) {
    add(expected(axes_text(form.rank), axes_text(s.view.ndim())));
  } else if (!extents_fit(form, s.view)) {
    add(expected("shape " + tuple_text(form.extents, dynamic), tuple_text(s.view.shape())));
  }
  if (s.has_layout && !column_major_fits(form, s)) {
    add(expected("a column-major, dense array", "strides " + strides_text(s.view)));
  }
}

[[noreturn]] void refuse_empty(const array_form& form) {
  const std::vector<reason> all{{why::malformed, "the managed tensor is empty"}};
  throw exchange_error(expected(std::string(form.name), "no array") + list_text(all), all);
}

}  // namespace

bool axes_fit(const array_form& form, const description& s) noexcept {
  return extents_fit(form, s.view) && column_major_fits(form, s);
}

std::vector<reason> mismatches(const array_form& form, const description& s, const decision& d,
                               bool may_convert) {
  reason_set codes = d.blockers;
  if (!form.converts || !may_convert) codes = codes | d.reasons;
  if (form.read_only) codes.remove(why::framework);            // who made the copy does not matter
  if (codes.contains(why::device)) codes.remove(why::driver);  // it would only be needed to copy
  std::vector<reason> all;
  codes.for_each([&](why code) { all.push_back({code, text_of(code, form, s)}); });
  add_shape_mismatches(all, form, s);
  return all;
}

std::string mismatch_text(const array_form& form, std::string_view what, const description& s,
                          const std::vector<reason>& all) {
  return expected(std::string(form.name), std::string(what)) + " (" + summary(s) + ")" +
         list_text(all);
}

managed_tensor fit(managed_tensor t, const array_form& form) {
  if (!t) refuse_empty(form);
  const requirements wanted = requirements_of(form, true);
  const capabilities holds = capabilities_of(form);
  description source = describe(t);
  find_facts(source, wanted);
  const decision decided = negotiate(source, wanted, holds);
  if (!fits(form, source, decided, true)) {
    const std::vector<reason> all = mismatches(form, source, decided, true);
    throw exchange_error(mismatch_text(form, "an array", source, all), all);
  }
  return exchange(std::move(t), wanted, holds);
}

}  // namespace dlpack_bridge
