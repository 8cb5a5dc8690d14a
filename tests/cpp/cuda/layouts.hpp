#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include <dlpack_bridge/copy.hpp>

/// A way for an array to lie in memory, in elements, so that it serves every type.
struct layout {
  std::string name;
  std::vector<dlpack_bridge::extent> shape;
  std::vector<dlpack_bridge::extent> strides;
  dlpack_bridge::extent skew = 0;  ///< bytes that every address is off

  std::vector<dlpack_bridge::extent> byte_strides(dlpack_bridge::extent itemsize) const {
    std::vector<dlpack_bridge::extent> bytes = strides;
    for (auto& stride : bytes) stride *= itemsize;
    return bytes;
  }
  /// The bytes it reaches, from the first element.
  std::pair<dlpack_bridge::extent, dlpack_bridge::extent> span(
      dlpack_bridge::extent itemsize) const {
    dlpack_bridge::extent low = 0, high = itemsize;
    for (std::size_t i = 0; i < shape.size(); ++i) {
      if (shape[i] == 0) return {0, itemsize};
      (strides[i] < 0 ? low : high) += (shape[i] - 1) * strides[i] * itemsize;
    }
    return {low, high};
  }
};

inline layout dense(std::vector<dlpack_bridge::extent> shape) {
  std::vector<dlpack_bridge::extent> strides(shape.size());
  dlpack_bridge::extent step = 1;
  for (std::size_t i = shape.size(); i-- > 0; step *= shape[i]) strides[i] = step;
  return {"dense", std::move(shape), std::move(strides)};
}

/// Every kind of source, with what a copy of it can be.
inline std::vector<layout> source_layouts() {
  return {
      {"scalar", {}, {}},
      {"row", {1000}, {1}},
      {"matrix", {20, 50}, {50, 1}},
      {"rows with gaps", {20, 50}, {64, 1}},
      {"planes with gaps", {4, 5, 50}, {1000, 64, 1}},
      {"planes with gaps that are no rows", {4, 5, 50}, {1001, 64, 1}},
      {"nested gaps", {3, 4, 5, 40}, {10000, 1000, 64, 1}},
      {"every second", {500}, {2}},
      {"column", {30, 1}, {7, 1}},
      {"transposed", {50, 40}, {1, 50}},
      {"pixels to planes", {3, 20, 30}, {1, 90, 3}},
      {"planes to pixels", {20, 30, 3}, {30, 1, 600}},
      {"backward", {300}, {-1}},
      {"rows backward", {20, 50}, {-50, 1}},
      {"one for all", {20, 50}, {0, 0}},
      {"one row for all", {20, 50}, {0, 1}},
      {"one element per row", {20, 50}, {1, 0}},
      {"windows", {90, 8}, {1, 1}},
      {"off its alignment", {20, 50}, {50, 1}, 1},
      {"off its alignment, with gaps", {20, 50}, {64, 1}, 3},
      {"ten axes", {2, 2, 2, 2, 2, 2, 2, 2, 2, 2}, {1, 3, 7, 15, 31, 63, 127, 255, 511, 1023}},
      {"nothing", {3, 0, 4}, {1, 1, 1}},
  };
}

/// Layouts that can be written to, of any shape: each index reaches a place of its own.
inline std::vector<layout> target_layouts(const std::vector<dlpack_bridge::extent>& shape) {
  std::vector<layout> made{dense(shape)};
  if (shape.size() < 2) return made;
  layout turned = dense({shape.rbegin(), shape.rend()});
  turned.name = "turned";
  turned.shape = shape;
  std::ranges::reverse(turned.strides);
  made.push_back(turned);
  layout gaps = dense(shape);
  gaps.name = "gaps";
  for (std::size_t i = 0; i + 1 < shape.size(); ++i) gaps.strides[i] *= 3;
  made.push_back(gaps);
  layout backward = dense(shape);
  backward.name = "backward";
  for (auto& stride : backward.strides) stride = -stride;
  made.push_back(backward);
  return made;
}
