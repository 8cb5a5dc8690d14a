#include <algorithm>

#include "captures.hpp"
#include "streams.hpp"

namespace fake_cuda {

stream& make_stream(world& w, context& home, unsigned flags) {
  stream& s = w.streams.make();
  s.home = &home;
  s.kind = flags == CU_STREAM_NON_BLOCKING ? stream_kind::non_blocking : stream_kind::blocking;
  s.id = ++w.last_id;
  s.line = static_cast<timeline>(w.lines.size());
  w.lines.push_back({home.device, s.kind, s.id, home.green});
  home.streams.push_back(&s);
  return s;
}

void destroy_stream(world& w, stream& s) {
  abandon_capture(w, s);
  s.home->retired.join(s.known);
  std::erase(s.home->streams, &s);
  w.streams.destroy(s);
}

}  // namespace fake_cuda
