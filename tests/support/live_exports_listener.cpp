// After each case the number of live managed tensors is what it was when the case started, or the
// case fails. A leak in one case is not blamed on the next.
#include <cstdint>

#include <catch2/catch_test_macros.hpp>
#include <catch2/reporters/catch_reporter_event_listener.hpp>
#include <catch2/reporters/catch_reporter_registrars.hpp>

#include <dlpack_bridge/managed_tensor.hpp>

namespace {

class live_exports_listener : public Catch::EventListenerBase {
 public:
  using EventListenerBase::EventListenerBase;

  void sectionStarting(const Catch::SectionInfo&) override {
    if (depth_++ == 0) live_before_ = dlpack_bridge::live_managed_tensors();
  }

  // The outermost section is the case itself: its locals are gone and a failure still counts.
  void sectionEnded(const Catch::SectionStats&) override {
    if (--depth_ > 0) return;
    const std::int64_t left = dlpack_bridge::live_managed_tensors() - live_before_;
    if (left != 0) FAIL_CHECK("managed tensors left alive by this case: " << left);
  }

 private:
  int depth_ = 0;
  std::int64_t live_before_ = 0;
};

CATCH_REGISTER_LISTENER(live_exports_listener)

}  // namespace
