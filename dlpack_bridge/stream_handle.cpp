#include <dlpack_bridge/stream_handle.hpp>

#include <cstdio>

namespace dlpack_bridge {

std::string stream_handle::name() const {
  if (!known()) return "an unknown stream";
  if (no_sync()) return "no stream";
  if (is_legacy()) return "the legacy default stream";
  if (per_thread()) return "the per-thread default stream";
  char text[32];
  std::snprintf(text, sizeof text, "stream 0x%llx", static_cast<unsigned long long>(protocol()));
  return text;
}

}  // namespace dlpack_bridge
