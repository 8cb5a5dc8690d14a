// Runs the cases for host memory; with the argument `cuda` or `no device` those whose sentence begins
// with it. Each of them needs a process of its own, whose torch is built with CUDA.
#include <cstdio>
#include <exception>
#include <string>

#include "check.hpp"

namespace {

std::string group_of(const std::string& sentence) {
  for (const char* group : {"cuda", "no device"}) {
    if (sentence.starts_with(std::string(group) + ": ")) return group;
  }
  return "";
}

}  // namespace

int main(int argc, char** argv) {
  const std::string wanted = argc > 1 ? argv[1] : "";
  int run = 0, failed = 0;
  for (const auto& [sentence, body] : test_case::all()) {
    if (group_of(sentence) != wanted) continue;
    ++run;
    std::string trouble;
    try {
      body();
    } catch (const std::exception& error) {
      trouble = error.what();
    }
    if (trouble.empty() && dlpack_bridge::live_managed_tensors() != 0) trouble = "an array is left";
    if (trouble.empty()) continue;
    std::printf("FAILED %s: %s\n", sentence.c_str(), trouble.c_str());
    ++failed;
  }
  std::printf("%d cases, %d failed\n", run, failed);
  return failed == 0 && run != 0 ? 0 : 1;
}
