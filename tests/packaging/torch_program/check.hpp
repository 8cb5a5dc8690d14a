#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <source_location>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <dlpack_bridge/dlpack_bridge.hpp>

/// A case of the program: its sentence and what it does. It fails by an exception.
struct test_case {
  test_case(const char* sentence, void (*body)()) { all().emplace_back(sentence, body); }
  static std::vector<std::pair<std::string, void (*)()>>& all() {
    static std::vector<std::pair<std::string, void (*)()>> cases;
    return cases;
  }
};
#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define CASE(sentence)                                                           \
  static void JOIN(case_, __LINE__)();                                           \
  static const test_case JOIN(made_, __LINE__)(sentence, JOIN(case_, __LINE__)); \
  static void JOIN(case_, __LINE__)()

inline void check(bool holds, std::source_location where = std::source_location::current()) {
  if (holds) return;
  const std::string file = where.file_name();
  throw std::logic_error(file.substr(file.rfind('/') + 1) + ":" + std::to_string(where.line()));
}

using codes = std::vector<dlpack_bridge::reason_code>;

/// The blockers of a refusal; empty when `body` is not refused.
inline codes refusal(const std::function<void()>& body) {
  try {
    body();
  } catch (const dlpack_bridge::exchange_error& error) {
    codes found;
    for (const auto& blocker : error.blockers()) found.push_back(blocker.code);
    return found;
  }
  return {};
}

/// The whole text of a refusal.
inline std::string refusal_words(const std::function<void()>& body) {
  try {
    body();
  } catch (const dlpack_bridge::exchange_error& error) {
    return error.what();
  }
  return "(no refusal)";
}

/// Memory that says when it is let go, as an owner: 64 bytes aligned, counted up from 0.
struct watched {
  static inline std::atomic<int> dropped = 0;

  alignas(64) float values[32];

  watched() {
    for (int i = 0; i < 32; ++i) values[i] = static_cast<float>(i);
  }
  watched(const watched&) = delete;
  watched& operator=(const watched&) = delete;
  ~watched() { ++dropped; }
};
