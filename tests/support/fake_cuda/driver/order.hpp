#pragma once

#include "frame.hpp"

namespace fake_cuda {

// Which work is ordered before which. None of this looks at captures.

/// What is ordered before the next operation on the stream: its own past, what the host has waited
/// for, and by the rule of the legacy stream that of others.
const vector_clock& past_of(world& w, stream& s);

/// The next operation on the stream happens. `s.known` is then what is ordered before it.
moment happen(world& w, stream& s);
/// The same on the host; `w.host` is then what is ordered before it.
moment happen_on_host(world& w);

/// Whether all of it has run, as far as the host can find out by asking.
bool has_run(const world& w, const vector_clock& work);
void host_learns(world& w, const vector_clock& work);

/// The call takes as long as a test wants; see fake_cuda_hold.
void take_time(frame& f);
/// The host blocks until all of it has run.
void host_waits_for(frame& f, const vector_clock& work);

/// All work of a context, that of destroyed streams too.
vector_clock work_of(const context& c);

}  // namespace fake_cuda
