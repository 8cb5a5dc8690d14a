# Every source of the project, by component. Nothing is globbed: a file that is not listed here is
# not built, and tests/packaging/test_architecture.py compares the lists with the folders.

# dlpack_bridge/: what is installed, and what is for the sources beside it only.
set(dlpack_bridge_core_headers
    capabilities.hpp
    copy.hpp
    counters.hpp
    device.hpp
    device_backend.hpp
    dlpack_bridge.hpp
    dtype.hpp
    error.hpp
    exchange.hpp
    layout.hpp
    managed_tensor.hpp
    negotiation.hpp
    owner.hpp
    reason.hpp
    stream_handle.hpp
    tensor_view.hpp
    version.hpp)
set(dlpack_bridge_core_internal_headers
    copy_blocks.hpp
    copy_float8.hpp
    copy_kernels.hpp
    copy_move.hpp
    copy_ops.hpp
    copy_plan.hpp
    copy_road.hpp
    copy_shuffles.hpp
    copy_stream.hpp
    copy_threads.hpp
    copy_transpose.hpp)
set(dlpack_bridge_core_sources
    capabilities.cpp
    copy.cpp
    copy_blocks.cpp
    copy_kernels.cpp
    copy_move.cpp
    copy_plan.cpp
    copy_road.cpp
    copy_shuffles.cpp
    copy_stream.cpp
    copy_threads.cpp
    copy_transpose.cpp
    counters.cpp
    device.cpp
    device_backend.cpp
    dtype.cpp
    error.cpp
    exchange.cpp
    layout.cpp
    managed_tensor.cpp
    negotiation.cpp
    negotiation_text.cpp
    reason.cpp
    tensor_view.cpp)

# dlpack_bridge/python/
set(dlpack_bridge_python_headers
    array.hpp
    capsule.hpp
    descriptor.hpp
    device_object.hpp
    dtype_object.hpp
    entry.hpp
    errors.hpp
    holder.hpp
    inspect.hpp
    keywords.hpp
    numpy.hpp
    object.hpp
    process_state.hpp
    release.hpp
    road.hpp
    source.hpp
    target.hpp
    torch.hpp)
set(dlpack_bridge_python_internal_headers
    numpy_api.hpp
    torch_library.hpp
    values.hpp)
set(dlpack_bridge_python_sources
    array.cpp
    array_buffer.cpp
    array_export.cpp
    array_interface.cpp
    buffer.cpp
    capsule.cpp
    describe.cpp
    descriptor.cpp
    device_object.cpp
    dlpack_protocol.cpp
    dtype_object.cpp
    entry.cpp
    errors.cpp
    exchange_api.cpp
    holder.cpp
    inspect.cpp
    keywords.cpp
    numpy.cpp
    numpy_api.cpp
    object.cpp
    process_state.cpp
    release.cpp
    road.cpp
    target.cpp
    torch.cpp
    torch_library.cpp
    type_cache.cpp
    values.cpp)

# bindings/
set(dlpack_bridge_bindings_sources
    info.cpp
    module.cpp
    plan.cpp
    stats.cpp
    trace.cpp)

# tests/cpp/test_<stem>.cpp, one executable each.
set(dlpack_bridge_test_stems
    abi_layout
    capabilities
    copy
    counters
    device
    device_backend
    dtype
    error
    exchange
    layout
    managed_tensor
    negotiation
    owner
    reason
    stream_handle
    tensor_view
    version)

list(TRANSFORM dlpack_bridge_core_headers PREPEND dlpack_bridge/)
list(TRANSFORM dlpack_bridge_core_sources PREPEND dlpack_bridge/)
list(TRANSFORM dlpack_bridge_python_headers PREPEND dlpack_bridge/python/)
list(TRANSFORM dlpack_bridge_python_sources PREPEND dlpack_bridge/python/)
