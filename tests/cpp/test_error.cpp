#include <stdexcept>
#include <string>
#include <type_traits>

#include <catch2/catch_test_macros.hpp>

#include <dlpack_bridge/error.hpp>

using namespace dlpack_bridge;

static_assert(std::is_base_of_v<std::runtime_error, exchange_error>);
static_assert(std::is_base_of_v<exchange_error, version_error>);

TEST_CASE("an exchange error carries its text and every blocker", "[error]") {
  const exchange_error error("no", {{reason_code::sparse, "sparse, pass x.to_dense()"},
                                    {reason_code::device, "elsewhere"}});
  CHECK(std::string(error.what()) == "no");
  REQUIRE(error.blockers().size() == 2);
  CHECK(error.blockers()[0].code == reason_code::sparse);
  CHECK(error.blockers()[0].message == "sparse, pass x.to_dense()");
  CHECK(error.blockers()[1].code == reason_code::device);
}

TEST_CASE("a copied error says the same", "[error]") {
  const exchange_error error("no", {{reason_code::meta, "no data"}});
  const exchange_error copy = error;
  CHECK(std::string(copy.what()) == "no");
  REQUIRE(copy.blockers().size() == 1);
  CHECK(copy.blockers()[0].message == "no data");
}

TEST_CASE("a version error names the version that was found and the one that is read", "[error]") {
  const version_error error({7, 42});
  CHECK(error.found().major == 7);
  CHECK(error.found().minor == 42);
  const std::string text = error.what();
  CHECK(text.find("7.42") != std::string::npos);
  CHECK(text.find("major version 1") != std::string::npos);
  CHECK(text.find("max_version=(1, ") != std::string::npos);
}

TEST_CASE("a version error has one blocker, version, with its text", "[error]") {
  const version_error error({2, 0});
  REQUIRE(error.blockers().size() == 1);
  CHECK(error.blockers()[0].code == reason_code::version);
  CHECK(error.blockers()[0].message == error.what());
}

TEST_CASE("a version error is caught as an exchange error", "[error]") {
  CHECK_THROWS_AS(throw version_error({0, 5}), exchange_error);
  CHECK_THROWS_AS(throw version_error({0, 5}), std::runtime_error);
}
