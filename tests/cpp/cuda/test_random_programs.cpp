#include <cstdint>
#include <cstdlib>
#include <string>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include "fake_cuda/fake_device.hpp"
#include "fake_cuda/machine.hpp"
#include "random_program.hpp"
#include <dlpack_bridge/cuda/backend.hpp>

namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int slowdown = 20;
#else
constexpr int slowdown = 1;
#endif

/// Programs of one case: a quarter of DLPACK_BRIDGE_RANDOM_PROGRAMS, else of 10^5.
std::uint32_t programs_of_a_case() {
  const char* wanted = std::getenv("DLPACK_BRIDGE_RANDOM_PROGRAMS");
  const long all = wanted == nullptr ? 100000 / slowdown : std::atol(wanted);
  return static_cast<std::uint32_t>(all / 4);
}

constexpr int steps = 30;

fake_cuda::machine& the_machine() {
  static fake_cuda::machine* const only = [] {
    dlpack_bridge::cuda::use();
    return new fake_cuda::machine;
  }();
  return *only;
}

void clean() {
  fake_cuda_heal();
  fake_cuda_settle();
  fake_cuda_clear_races();
  fake_cuda_reset_calls();
}

struct outcome {
  int findings;
  std::string text;
};

/// Runs one program; `ignored` calls of the hub do nothing.
outcome run_program(std::uint32_t seed, std::initializer_list<const char*> ignored = {}) {
  for (const char* function : ignored) fake_cuda_ignore(function, 0);
  random_program program(the_machine(), seed);
  program.run(steps);
  outcome o{fake_cuda_races(), program.complaint() + "\n" + fake_cuda::findings()};
  o.findings += !program.complaint().empty();
  if (program.streams_used() < 2 || program.releases() < 1) {
    o = {o.findings + 1, "a program with less than two streams or no release"};
  }
  clean();
  return o;
}

void expect_no_finding(std::uint32_t part) {
  const std::uint32_t count = programs_of_a_case();
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uint32_t seed = part * 1000000 + i;
    const outcome o = run_program(seed);
    if (o.findings == 0) continue;
    FAIL_CHECK("program " << seed << ": " << o.text);
    break;
  }
}

}  // namespace

TEST_CASE("random programs find no race, part 1", "[random]") { expect_no_finding(1); }
TEST_CASE("random programs find no race, part 2", "[random]") { expect_no_finding(2); }
TEST_CASE("random programs find no race, part 3", "[random]") { expect_no_finding(3); }
TEST_CASE("random programs find no race, part 4", "[random]") { expect_no_finding(4); }

TEST_CASE("random programs copy, capture and are refused", "[random]") {
  int copies = 0, refusals = 0, uses_in_graphs = 0, waited = 0;
  for (std::uint32_t seed = 0; seed < 1000; ++seed) {
    random_program program(the_machine(), seed);
    program.run(steps);
    copies += program.copies();
    refusals += program.refusals();
    uses_in_graphs += program.uses_in_graphs();
    waited += fake_cuda_calls("cuEventQuery") > 0;
    clean();
  }
  CHECK(copies > 1000);
  CHECK(refusals > 300);
  CHECK(uses_in_graphs > 50);
  CHECK(waited > 800);  // releases that were not due at once
}

TEST_CASE("the same programs race when the hub's waits are ignored", "[random]") {
  const std::uint32_t count = programs_of_a_case();
  std::uint32_t racing = 0;
  for (std::uint32_t i = 0; i < count; ++i) {
    racing += run_program(1000000 + i, {"cuStreamWaitEvent", "cuEventQuery", "cuEventSynchronize",
                                        "cuStreamSynchronize"})
                  .findings != 0;
  }
  CAPTURE(racing, count);
  CHECK(racing > count - count / 10);
}

TEST_CASE("the same programs find out when one kind of call is ignored", "[random]") {
  struct row {
    const char* function;
    double least;  // of the programs
  };
  const row r =
      GENERATE(row{"cuEventRecord", 0.9}, row{"cuStreamWaitEvent", 0.9}, row{"cuEventQuery", 0.5},
               row{"cuEventSynchronize", 0.5}, row{"cuThreadExchangeStreamCaptureMode", 0.1});
  const std::uint32_t count = programs_of_a_case() / 20;
  std::uint32_t noticed = 0;
  for (std::uint32_t i = 0; i < count; ++i) {
    noticed += run_program(1000000 + i, {r.function}).findings != 0;
  }
  CAPTURE(r.function, noticed, count);
  CHECK(noticed > r.least * count);
}
