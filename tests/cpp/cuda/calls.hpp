#pragma once

#include <map>
#include <sstream>
#include <string>

#include "fake_cuda.h"

/// How often each driver function was called since the last reset of the counts.
inline std::map<std::string, int> calls_by_name() {
  std::map<std::string, int> calls;
  std::istringstream log(fake_cuda_call_log());
  for (std::string name; log >> name;) ++calls[name];
  return calls;
}

/// Runs `action` once to learn which driver calls it makes, then again for each of them with that
/// one failing; `after` is told which.
template <class Action, class After>
void with_each_call_failing(CUresult code, Action action, After after) {
  fake_cuda_reset_calls();
  action();
  for (const auto& [name, times] : calls_by_name()) {
    for (int nth = 1; nth <= times; ++nth) {
      fake_cuda_fail(name.c_str(), nth, code, 0);
      action();
      fake_cuda_heal();
      after(name + " " + std::to_string(nth));
    }
  }
}
