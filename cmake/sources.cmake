# Every source of the project, by component. Nothing is globbed: a file that is not listed here is
# not built, and tests/packaging/test_architecture.py compares the lists with the folders.

# dlpack_bridge/: what is installed, and what is for the sources beside it only.
set(dlpack_bridge_core_headers
    array.hpp
    array_axes.hpp
    array_form.hpp
    array_iterator.hpp
    capabilities.hpp
    copy.hpp
    counters.hpp
    device.hpp
    device_backend.hpp
    dlpack_bridge.hpp
    dtype.hpp
    element_types.hpp
    error.hpp
    exchange.hpp
    layout.hpp
    managed_tensor.hpp
    negotiation.hpp
    owner.hpp
    reason.hpp
    stream_facts.hpp
    stream_handle.hpp
    tensor_view.hpp
    version.hpp)
set(dlpack_bridge_core_internal_headers
    copy_arithmetic.hpp
    copy_blocks.hpp
    copy_float8.hpp
    copy_instructions.hpp
    copy_kernels.hpp
    copy_move.hpp
    copy_ops.hpp
    copy_plan.hpp
    copy_road.hpp
    copy_shuffles.hpp
    copy_stream.hpp
    copy_threads.hpp
    copy_transpose.hpp
    negotiation_streams.hpp)
set(dlpack_bridge_core_sources
    array_form.cpp
    capabilities.cpp
    copy.cpp
    copy_blocks.cpp
    copy_instructions.cpp
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
    element_types.cpp
    error.cpp
    exchange.cpp
    layout.cpp
    managed_tensor.cpp
    negotiation.cpp
    negotiation_streams.cpp
    negotiation_text.cpp
    reason.cpp
    tensor_view.cpp)

# dlpack_bridge/python/
set(dlpack_bridge_python_headers
    argument.hpp
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
    result.hpp
    road.hpp
    source.hpp
    stream_use.hpp
    target.hpp
    torch.hpp
    torch_functions.hpp)
set(dlpack_bridge_python_internal_headers
    buffer.hpp
    dlpack_call.hpp
    jax.hpp
    numpy_api.hpp
    torch_library.hpp
    torch_stream.hpp
    tree.hpp
    values.hpp)
set(dlpack_bridge_python_sources
    argument.cpp
    array.cpp
    array_buffer.cpp
    array_export.cpp
    array_interface.cpp
    array_table.cpp
    buffer.cpp
    capsule.cpp
    describe.cpp
    descriptor.cpp
    device_object.cpp
    dlpack_call.cpp
    dlpack_protocol.cpp
    dtype_object.cpp
    entry.cpp
    errors.cpp
    exchange_api.cpp
    holder.cpp
    inspect.cpp
    jax.cpp
    keywords.cpp
    numpy.cpp
    numpy_api.cpp
    object.cpp
    process_state.cpp
    release.cpp
    result.cpp
    road.cpp
    stream_use.cpp
    target.cpp
    torch.cpp
    torch_functions.cpp
    torch_library.cpp
    torch_stream.cpp
    tree.cpp
    type_cache.cpp
    values.cpp)

# dlpack_bridge/cuda/
set(dlpack_bridge_cuda_headers
    backend.hpp
    error.hpp
    event.hpp
    handshake.hpp
    release.hpp
    stream.hpp
    stream_ref.hpp)
set(dlpack_bridge_cuda_internal_headers
    block_cache.hpp
    block_copy.hpp
    context.hpp
    copy.hpp
    copy_engine.hpp
    device_copy.hpp
    driver.hpp
    event_pool.hpp
    gather.hpp
    gather_element.hpp
    gather_image.hpp
    gather_launch.hpp
    gather_module.hpp
    immortal.hpp
    loan_record.hpp
    loan_table.hpp
    memory.hpp
    peer_copy.hpp
    placement.hpp
    planned_copy.hpp
    release_queue.hpp
    settle.hpp
    staged_copy.hpp
    staging.hpp)
set(dlpack_bridge_cuda_sources
    backend.cpp
    block_cache.cpp
    block_copy.cpp
    context.cpp
    copy.cpp
    copy_engine.cpp
    device_copy.cpp
    driver.cpp
    event.cpp
    event_pool.cpp
    gather_image.cpp
    gather_launch.cpp
    gather_module.cpp
    handshake.cpp
    loan_table.cpp
    memory.cpp
    peer_copy.cpp
    placement.cpp
    planned_copy.cpp
    release.cpp
    release_queue.cpp
    settle.cpp
    staged_copy.cpp
    staging.cpp
    stream.cpp
    stream_ref.cpp)

# dlpack_bridge/adapters/torch*: compiled by whoever links it, so all of it is installed.
set(dlpack_bridge_torch_headers
    torch.hpp
    torch_dtype.hpp
    torch_facts.hpp
    torch_stream.hpp)
set(dlpack_bridge_torch_sources
    torch.cpp
    torch_dtype.cpp
    torch_facts.cpp
    torch_stream.cpp)

# dlpack_bridge/adapters/pybind11*
set(dlpack_bridge_pybind11_headers
    pybind11.hpp
    pybind11_loader.hpp)

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
    array
    capabilities
    copy
    copy_instructions
    copy_threads
    counters
    device
    device_backend
    dtype
    element_types
    error
    exchange
    layout
    managed_tensor
    negotiation
    negotiation_streams
    owner
    reason
    stream_facts
    stream_handle
    tensor_view
    version)

# tests/cpp/cuda/test_<stem>.cpp, one executable each; they run on the fake driver.
set(dlpack_bridge_cuda_test_stems
    backend
    context
    copy
    driver
    event
    fake_captures
    fake_clocks
    fake_driver
    fake_memory
    gather
    handshake
    ignored_calls
    memory
    random_programs
    release
    release_queue
    stream
    stream_ref)

list(TRANSFORM dlpack_bridge_core_headers PREPEND dlpack_bridge/)
list(TRANSFORM dlpack_bridge_core_sources PREPEND dlpack_bridge/)
list(TRANSFORM dlpack_bridge_python_headers PREPEND dlpack_bridge/python/)
list(TRANSFORM dlpack_bridge_python_sources PREPEND dlpack_bridge/python/)
list(TRANSFORM dlpack_bridge_cuda_headers PREPEND dlpack_bridge/cuda/)
list(TRANSFORM dlpack_bridge_cuda_sources PREPEND dlpack_bridge/cuda/)
list(TRANSFORM dlpack_bridge_torch_headers PREPEND dlpack_bridge/adapters/)
list(TRANSFORM dlpack_bridge_torch_sources PREPEND dlpack_bridge/adapters/)
list(TRANSFORM dlpack_bridge_pybind11_headers PREPEND dlpack_bridge/adapters/)
