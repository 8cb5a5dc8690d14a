// Runs the cases for host memory; with the argument `cuda` those whose sentence begins with it, which
// need a process of their own: they give torch a CUDA device.
#include <cstdio>
#include <exception>

#include "check.hpp"

int main(int argc, char** argv) {
  const bool on_cuda = argc > 1 && std::string(argv[1]) == "cuda";
  int run = 0, failed = 0;
  for (const auto& [sentence, body] : test_case::all()) {
    if (sentence.starts_with("cuda: ") != on_cuda) continue;
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
