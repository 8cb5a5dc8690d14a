#pragma once

namespace dlpack_bridge::python {

/// Sees to it that the interpreter can go away while threads are in the hub: from its beginning to end on
/// `process_state::finalizing` is set, and threads that CPython ends then sleep. To be called once for a
/// process. False with an error set.
bool register_process_end() noexcept;

}  // namespace dlpack_bridge::python
