#pragma once

#include <string>

#include <catch2/catch_tostring.hpp>

#include <dlpack_bridge/negotiation.hpp>

// How Catch2 shows the values of a decision.

template <>
struct Catch::StringMaker<dlpack_bridge::reason_code> {
  static std::string convert(dlpack_bridge::reason_code code) {
    return dlpack_bridge::to_string(code);
  }
};

template <>
struct Catch::StringMaker<dlpack_bridge::reason_set> {
  static std::string convert(dlpack_bridge::reason_set set) {
    std::string text = "{";
    set.for_each([&](dlpack_bridge::reason_code code) {
      text.append(text.size() > 1 ? " " : "").append(dlpack_bridge::to_string(code));
    });
    return text + "}";
  }
};

template <>
struct Catch::StringMaker<dlpack_bridge::action> {
  static std::string convert(dlpack_bridge::action action) {
    constexpr const char* names[] = {"share", "copy", "refuse"};
    return names[static_cast<int>(action)];
  }
};

template <>
struct Catch::StringMaker<dlpack_bridge::device> {
  static std::string convert(dlpack_bridge::device where) { return where.name(); }
};

template <>
struct Catch::StringMaker<dlpack_bridge::dtype> {
  static std::string convert(dlpack_bridge::dtype type) { return type.name(); }
};
