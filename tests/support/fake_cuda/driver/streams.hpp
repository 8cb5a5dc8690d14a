#pragma once

#include "world.hpp"

namespace fake_cuda {

/// A stream as cuStreamCreate makes it.
stream& make_stream(world& w, context& home, unsigned flags);

/// Its work still runs; the handle may come back for another stream.
void destroy_stream(world& w, stream& s);

}  // namespace fake_cuda
