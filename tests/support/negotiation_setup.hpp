#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include <dlpack_bridge/exchange.hpp>
#include <dlpack_bridge/negotiation.hpp>

// What the tests of negotiation ask it, and of its words.

namespace negotiation_setup {

using namespace dlpack_bridge;
using why = reason_code;
using extents = std::vector<extent>;

alignas(4096) inline std::byte memory[4096];

inline const dtype float8{kDLFloat8_e4m3fn, 8}, float4{kDLFloat4_e2m1fn, 4},
    float6{kDLFloat6_e2m3fn, 6}, float4_x2{kDLFloat4_e2m1fn, 4, 2};

/// All that `negotiate` is told: a plain array, nothing asked, a target that takes everything.
struct setup {
  extents shape = {4, 3}, strides;
  dtype type = float32;
  device where;
  std::size_t offset = 0;  // of the first element from a page
  bool read_only = false;
  description source;
  requirements wanted;
  capabilities target = capabilities_of(framework::cpp);

  void to(framework id) { target = capabilities_of(id); }

  description described() const {
    description d = source;
    d.view = tensor_view(memory + offset, shape.data(), strides.empty() ? nullptr : strides.data(),
                         static_cast<std::int32_t>(shape.size()), type, where, read_only);
    if (d.has_layout) describe_layout(d);
    return d;
  }
  decision decided() const { return negotiate(described(), wanted, target); }
  decision decided(copy_policy policy) const {
    requirements other = wanted;
    other.copy = policy;
    return negotiate(described(), other, target);
  }
  std::string said(why code) const { return explain(code, described(), wanted, target); }
};

using change = std::function<void(setup&)>;

inline setup changed(const change& apply) {
  setup s;
  apply(s);
  return s;
}

inline reason_set none() { return {}; }

template <class... Codes>
reason_set are(Codes... codes) {
  return reason_set(codes...);
}

struct row {
  const char* name;
  reason_set reasons, blockers;
  change apply;
};

inline change state(why code) {
  return [code](setup& s) { s.source.state.add(code); };
}

/// Without layout, dtype and device, as a source reports what it cannot read.
inline change unreadable(why code) {
  return [code](setup& s) {
    s.source.state.add(code);
    s.source.has_layout = s.source.has_dtype = s.source.has_device = false;
  };
}

}  // namespace negotiation_setup
