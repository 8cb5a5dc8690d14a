"""The problems that users of array exchange have reported over ten years, one test each.

Rows are numbered by topic: L lifetime, S streams, D data types, T layout, R read-only, V versions,
G devices, A autograd and torch, C extension authors, P performance, Q diagnostics, M processes.
A row that another file proves in full calls that test; rows about CUDA devices or about C++ stand
in ELSEWHERE with the place that proves them.
"""

import copy as copy_module
import gc
import pickle
import re
import sys

import dlpack_lab as lab
import isolated
import ml_dtypes
import numpy as np
import pytest
import samples
import test_array_dlpack
import test_array_into_frameworks
import test_capsules
import test_copy
import test_deleters
import test_devices
import test_dtypes
import test_errors
import test_hostile
import test_layout
import test_process_end
import test_readonly
import test_references
import test_sources
import test_sources_dlpack
import test_sources_exchange_api
import test_threads
import test_torch_state
import torch
import torch_states
from checks import address, assert_same_elements, codes, live, needs_copy, plan_of, refuses
from producers import OnlyStream, Producer, Raising, WithoutKeywords, export

import dlpack_bridge as db

ROWS = {
    "L": 17,
    "S": 14,
    "D": 12,
    "T": 14,
    "R": 11,
    "V": 8,
    "G": 9,
    "A": 9,
    "C": 10,
    "P": 8,
    "Q": 8,
    "M": 5,
}
ELSEWHERE = {
    **{f"S{n}": "CUDA streams: the fake driver and the GPU tests" for n in range(1, 15)},
    "L11": "the release of device memory after its last use: the fake driver and the GPU tests",
    "L14": "owner-less blobs: the C++ tests of the LibTorch adapter",
    "L15": "release hooks with state: the C++ tests of the LibTorch adapter",
    "D9": "half and bfloat16 in C++: the C++ tests of dtype",
    "T13": "layout requirements of C++ functions: the tests of the casters",
    "T14": "the CUDA array interface: the GPU tests; the host twin is in test_sources",
    "G4": "the current device: the fake driver and the GPU tests",
    "G5": "the primary context: the fake driver and the GPU tests",
    "C1": "the pybind11 caster: its own tests",
    "C2": "returning a vector: the C++ tests",
    "C3": "mutable parameters: the tests of the casters",
    "C7": "const parameters: the tests of the casters",
    "P1": "call cost: the benchmarks",
    "P3": "call cost: the benchmarks",
    "P4": "the CUDA array interface: the GPU tests",
    "P8": "call cost: the benchmarks",
    "M4": "out of scope: file descriptors of many shared tensors",
    "M5": "out of scope: CUDA IPC is not offered",
}


def test_every_row_has_a_test_or_a_place():
    all_rows = {f"{topic}{n}" for topic, count in ROWS.items() for n in range(1, count + 1)}
    tested = {match[1] for name in globals() if (match := re.match(r"test_([A-Z]\d+)_", name))}
    assert len(all_rows) == 125
    assert tested | set(ELSEWHERE) == all_rows
    assert tested & set(ELSEWHERE) == set()


# ---- lifetime -----------------------------------------------------------------------------------


def test_L1_unconsumed_capsules_of_both_names_are_released():
    test_array_dlpack.test_an_unconsumed_capsule_is_released()
    test_deleters.test_forgotten_capsules_are_all_released()


def test_L2_a_failed_export_leaves_nothing():
    array = db.asarray(np.frombuffer(b"abc", "u1"))
    before = live(), sys.getrefcount(array)
    for keywords in ({}, {"stream": 1}, {"dl_device": (99, 0)}, {"max_version": "x"}):
        with pytest.raises(Exception):  # noqa: B017
            array.__dlpack__(**keywords)
    gc.collect()
    assert (live(), sys.getrefcount(array)) == before


@pytest.mark.parametrize("to", ["numpy", "torch", "array"])
def test_L3_the_deleter_runs_once_when_the_last_view_dies(to):
    test_deleters.test_a_deleter_waits_for_the_last_result(to)


@pytest.mark.parametrize("versioned", [True, False])
def test_L4_dropping_a_consumed_capsule_is_nothing(versioned):
    test_capsules.test_dropping_the_capsule_after_use_does_nothing(versioned)


def test_L5_managed_structs_are_neither_copied_nor_touched_after_release():
    test_capsules.test_the_structs_of_the_producer_are_never_written()


@pytest.mark.parametrize("data", [None, b"memory"])
def test_L6_empty_tensors_are_released(data):
    test_deleters.test_empty_data_is_released_too("to torch", data, True)


def test_L7_a_null_deleter_is_legal():
    test_deleters.test_a_null_deleter_is_accepted_and_not_called("to torch", True)


@pytest.mark.parametrize("hold_gil", [False, True])
def test_L8_a_release_without_the_gil_is_safe(hold_gil):
    test_threads.test_a_release_on_a_foreign_thread_never_waits_for_the_gil("ndarray", hold_gil)


def test_L9_a_static_that_outlives_python_is_no_crash():
    test_process_end.test_the_process_ends_in_silence("released by C code after Python")


def test_L10_a_destructor_never_waits_while_the_gil_is_held():
    test_threads.test_a_producer_with_python_objects_is_released_from_a_foreign_thread()


def test_L12_shape_and_strides_live_as_long_as_the_tensor():
    owned = lab.api_export(db.Array.__dlpack_c_exchange_api__, db.asarray(np.zeros((3, 4, 5)).T))
    gc.collect()
    garbage = [np.zeros((7, 7, 7)) for _ in range(100)]
    assert owned.fields()["shape"] == (5, 4, 3) and owned.fields()["strides"] == (1, 5, 20)
    owned.release()
    del garbage


def test_L13_no_view_without_its_owner():
    test_references.test_views_of_the_result_keep_the_source_alive()


def test_L16_shared_memory_and_maps_cannot_be_closed_under_a_view(tmp_path):
    test_sources.test_a_memory_map_cannot_be_closed_under_a_view(tmp_path)
    test_sources.test_shared_memory_cannot_be_closed_under_a_view("torch")


def test_L17_memory_lives_until_the_last_view_whatever_scope_ended():
    def scope():
        a = np.arange(1000.0)
        with memoryview(a) as view:
            return db.to_torch(view)[::2]

    with pytest.raises(BufferError):
        scope()
    assert db.to_torch(np.arange(1000.0))[::2].sum().item() == 249500


# ---- data types ---------------------------------------------------------------------------------


def test_D1_bool_is_bool():
    test_dtypes.test_bool_is_bool_both_ways_and_never_uint8()


def test_D2_bfloat16_has_a_view_bits_and_an_error_that_names_both():
    t = torch.tensor([1.0, 2.0], dtype=torch.bfloat16)
    assert db.to_numpy(t).dtype == np.dtype(ml_dtypes.bfloat16)
    assert db.to_numpy(t, dtype="bits").tolist() == [0x3F80, 0x4000]
    assert db.to_numpy(t, dtype="float32").tolist() == [1.0, 2.0]


@pytest.mark.parametrize("case", ["code 99", "bits 0", "bits 24", "lanes 65535"])
def test_D3_unknown_types_are_exceptions_and_no_crashes(case):
    test_hostile.test_it_is_refused_and_released_once(case, "torch", test_hostile.as_capsule)


@pytest.mark.parametrize("dtype", samples.SMALL_FLOATS)
def test_D4_small_floats_are_exchanged(dtype):
    test_dtypes.test_small_floats_are_shared_as_their_ml_dtypes_type(dtype)


def test_D5_packed_types_are_carried_and_never_guessed():
    t = torch.tensor([0x21, 0x43], dtype=torch.uint8).view(torch.float4_e2m1fn_x2)
    assert db.to_torch(db.asarray(t)).dtype is t.dtype
    with refuses(says=['dtype="bits"']):
        db.to_numpy(t)
    assert db.to_numpy(t, dtype="bits").tolist() == [0x21, 0x43]


@pytest.mark.parametrize("dtype", ["uint16", "uint32", "uint64"])
def test_D6_unsigned_integers_are_exchanged(dtype):
    test_dtypes.test_numpy_and_torch_share_every_common_type(dtype)


def test_D7_the_real_type_is_named_and_c_aliases_are_one_type():
    test_dtypes.test_an_object_array_is_called_probably_ragged()
    test_dtypes.test_c_names_of_one_size_are_one_type("longlong")


@pytest.mark.parametrize("dtype", ["i4", "f8"])
def test_D8_foreign_byte_order_is_copied_or_refused_and_never_misread(dtype):
    test_dtypes.test_foreign_byte_order_becomes_a_native_copy(dtype, "torch")
    test_dtypes.test_native_byte_order_written_out_is_native()


def test_D10_a_failed_conversion_is_never_an_empty_view():
    for dtype in samples.SMALL_FLOATS:
        result = db.to_torch(np.ones(3), dtype=dtype)
        assert result.shape == (3,) and result.data_ptr() and result.float().tolist() == [1, 1, 1]


def test_D11_the_device_is_what_the_capsule_says():
    test_sources_dlpack.test_a_capsule_on_a_device_that_the_producer_did_not_announce_is_never_read()


@pytest.mark.parametrize("dtype", ["float32", "complex128"])
def test_D12_misaligned_memory_is_copied_or_refused(dtype):
    test_layout.test_misaligned_elements_are_copied(dtype, "torch")
    test_layout.test_complex_numbers_align_like_their_real_part("complex128", 8)
    t = db.to_torch(memoryview(bytearray(41))[1:].cast("f"), copy=None)
    assert t.data_ptr() % 4 == 0


# ---- layout -------------------------------------------------------------------------------------


def test_T1_flipped_images_become_tensors():
    image = np.arange(24, dtype="u1").reshape(2, 4, 3)
    for flipped in (image[..., ::-1], np.flip(image), np.flipud(image), np.rot90(image)):
        assert_same_elements(db.to_torch(flipped), flipped)
        with needs_copy("negative_stride"):
            db.to_torch(flipped, copy=False)


@pytest.mark.parametrize("layout", samples.MEANINGLESS_STRIDES)
def test_T2_size_one_axes_do_not_matter(layout):
    test_layout.test_strides_that_mean_nothing_look_contiguous(layout)


def test_T3_negative_strides_never_reach_torch():
    a = np.arange(6.0)[::-1]
    assert db.to_torch(a).tolist() == [5, 4, 3, 2, 1, 0]
    assert torch.from_dlpack(db.asarray(a)).tolist() == [5, 4, 3, 2, 1, 0]
    with needs_copy("negative_stride", says=["axis", "0"]):
        db.to_torch(a, copy=False)


@pytest.mark.parametrize("layout", samples.PLAIN_LAYOUTS)
def test_T4_transposed_and_sliced_arrays_arrive_whole(layout):
    test_array_into_frameworks.test_layouts_arrive_whole(layout)


def test_T5_layouts_are_compared_modulo_size_one_axes():
    a = np.arange(3.0).reshape(3, 1)[:, ::-1]
    array = db.asarray(a)
    assert array.c_contiguous and plan_of(a, "torch", order="C", copy=False).action == "share"
    assert lab.read(array.__dlpack__())["strides"] == (1, 1)


def test_T6_null_strides_are_row_major_and_exports_have_strides():
    test_layout.test_missing_strides_are_row_major()


@pytest.mark.parametrize("null", [True, False])
def test_T7_empty_arrays_are_valid(null):
    test_layout.test_empty_arrays_keep_their_address_null_or_not((0, 3), null)


@pytest.mark.parametrize("to", ["numpy", "torch", "array"])
def test_T8_zero_dimensions_need_no_shape(to):
    test_layout.test_zero_dimensions_with_null_shape_and_strides(to)
    test_layout.test_zero_dimensions_go_round()


def test_T9_the_byte_offset_is_added_and_exported_as_zero():
    test_layout.test_byte_offset_is_added((1,), "torch")
    test_layout.test_byte_offset_is_exported_as_zero()


def test_T10_metal_handles_are_opaque():
    test_devices.test_metal_memory_is_opaque()


def test_T11_alignment_is_asked_for_and_reported_and_nothing_is_printed():
    a = samples.misaligned(offset=4)
    assert address(db.to_torch(a)) == address(a)
    assert codes(plan_of(a, "torch", alignment=64).reasons) == {"alignment"}
    assert db.to_torch(a, alignment=64).data_ptr() % 64 == 0


def test_T12_a_consumer_states_its_layout_up_front():
    a = np.zeros((3, 4)).T
    assert db.to_torch(a, order="C").is_contiguous()
    assert plan_of(a, "torch", order="C").nbytes == 96


# ---- read-only memory ---------------------------------------------------------------------------


def test_R1_read_only_memory_is_never_aliased_by_accident():
    test_readonly.test_nothing_is_warned_in_a_fresh_process()
    test_readonly.test_a_copy_leaves_the_read_only_source_alone()


def test_R2_a_copy_says_nothing():
    isolated.expect_clean(
        "import numpy as np, torch, dlpack_bridge as db\n"
        "db.to_torch(b'abc', copy=True); db.to_torch(np.frombuffer(b'abc', 'u1'), copy=True)"
    )


def test_R3_the_alias_is_a_switch_per_call():
    test_readonly.test_torch_shares_read_only_memory_when_told_so()


def test_R4_a_read_only_map_is_never_writable_by_default():
    mapped = test_readonly.read_only_map()
    t = db.to_torch(mapped)
    t.zero_()
    assert mapped[:3] == b'"""'


def test_R5_writable_data_stays_writable():
    assert np.from_dlpack(db.asarray(np.arange(3.0))).flags.writeable
    assert db.to_numpy(torch.arange(3)).flags.writeable


def test_R6_producers_are_asked_with_max_version_and_legacy_requests_refused():
    frozen = np.arange(3.0)
    frozen.flags.writeable = False
    assert db.asarray(frozen).readonly
    producer = Producer()
    db.asarray(producer)
    assert producer.calls[0]["max_version"][0] == 1
    test_array_dlpack.test_a_legacy_capsule_of_read_only_data_is_refused_with_two_ways_out(None)


@pytest.mark.parametrize("source", test_readonly.READ_ONLY_SOURCES)
def test_R7_immutable_sources_do_not_change_through_torch(source):
    array = db.asarray(test_readonly.READ_ONLY_SOURCES[source]())
    before = db.to_numpy(array).tolist()
    db.to_torch(array).fill_(1)
    assert db.to_numpy(array).tolist() == before


@pytest.mark.parametrize("source", ["READ_ONLY capsule", "bytes", "read-only interface"])
def test_R8_the_flag_is_carried_through_every_hop(source):
    test_readonly.test_every_export_of_read_only_memory_says_so(source)


def test_R9_torch_can_read_memory_that_its_producer_calls_read_only():
    source = export(flags=1)
    assert db.to_torch(source.capsule(), readonly="share").data_ptr() == source.address


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu"), (1, 0)])
def test_R10_copy_true_is_distinct_memory_however_the_device_is_written(device):
    test_copy.test_copy_true_is_fresh_whatever_way_the_device_is_written(device)


def test_R11_whether_memory_is_shared_can_be_asked():
    a = np.arange(6.0)
    assert db.shares_memory(a, db.to_torch(a)) is True
    assert db.shares_memory(a, db.to_torch(a[::-1])) is False
    assert db.asarray(a).copied is False


# ---- versions and protocol ----------------------------------------------------------------------


def test_V1_both_capsules_in_both_directions():
    for versioned in (True, False):
        assert db.to_numpy(export(versioned=versioned).capsule()).tolist() == [0, 1, 2, 3, 4, 5]
    for max_version in (None, (1, 0)):
        capsule = db.asarray(np.arange(3)).__dlpack__(max_version=max_version)
        assert torch.from_dlpack(capsule).tolist() == [0, 1, 2]


@pytest.mark.parametrize("signature", [WithoutKeywords, OnlyStream])
def test_V2_older_producers_are_asked_with_what_they_take(signature):
    test_sources_dlpack.test_every_signature_is_asked_exactly_once(signature, True, "torch")
    test_sources_dlpack.test_copies_are_made_by_the_hub(signature)


@pytest.mark.parametrize("case", ["major 0", "major 2", "major 255 with poison"])
def test_V3_the_name_and_the_major_version_come_first(case):
    test_hostile.test_it_is_refused_and_released_once(case, "numpy", test_hostile.as_capsule)


def test_V4_objects_and_capsules_are_taken_and_objects_given():
    array = db.from_dlpack(export().capsule())
    assert hasattr(array, "__dlpack__") and hasattr(array, "__dlpack_device__")
    assert np.from_dlpack(array).tolist() == torch.from_dlpack(array).tolist()


@pytest.mark.parametrize("versioned", [True, False])
def test_V5_a_capsule_is_used_once_and_never_renamed_back(versioned):
    test_capsules.test_the_second_use_is_refused_and_the_name_is_never_put_back(versioned)


def test_V6_one_class_for_what_cannot_be_done_and_one_for_what_is_no_array():
    test_errors.test_every_refusal_can_be_caught_as_a_buffer_error()
    for error in (RuntimeError("r"), AssertionError("a"), ValueError("v")):
        with pytest.raises(BufferError):
            db.to_numpy(Raising(error))
    with pytest.raises(TypeError):
        db.to_numpy([1, 2])


def test_V7_copied_is_said_and_why():
    array = db.asarray(np.arange(3.0), dtype="float32")
    assert array.copied
    capsule = db.asarray(np.arange(3.0)).__dlpack__(max_version=(1, 0), copy=True)
    assert lab.read(capsule)["flags"] & 2
    assert codes(plan_of(np.arange(3.0), "array", dtype="float32").reasons) == {"dtype"}


def test_V8_any_number_of_exports():
    test_array_dlpack.test_any_number_of_exports_of_one_array()


# ---- devices ------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", [(2, 0), (8, 0)])
def test_G1_another_device_is_named_with_the_host(device):
    capsule = lab.Export(0x10, (3,), device=device).capsule()
    with pytest.raises((db.ExchangeError, db.CudaError)) as caught:
        db.to_numpy(capsule)
    assert ("cuda" if device[0] == 2 else str(db.info(capsule).device)) in str(caught.value)


@pytest.mark.parametrize("source", test_devices.PINNED_SOURCES)
def test_G2_pinned_memory_is_host_memory_and_keeps_its_label(source):
    test_devices.test_pinned_memory_is_host_memory_for_numpy_and_torch(source)
    test_devices.test_an_array_keeps_the_label_of_pinned_memory(source)


@pytest.mark.parametrize("to", ["numpy", "torch"])
def test_G3_managed_memory_without_a_driver_is_refused_by_name(to):
    test_devices.test_cuda_labels_are_described_and_refused_naming_the_device((13, 0), to)


def test_G6_rocm_memory_is_rocm_memory():
    array = db.asarray(lab.Export(0x10, (3,), device=(10, 0)).capsule())
    assert array.device == (10, 0) and array.__dlpack_device__() == (10, 0)


def test_G7_a_device_nobody_serves_is_a_clear_buffer_error():
    with pytest.raises(BufferError):
        db.to_torch(lab.Export(0x10, (3,), device=(8, 0)).capsule())


def test_G8_the_data_stays_where_it_is():
    a = np.arange(3.0)
    with torch.device("meta"):
        assert db.to_torch(a).device.type == "cpu"
    assert db.asarray(export(device=(3, 0)).capsule()).device == (3, 0)


@pytest.mark.parametrize("device", [14, 99])
def test_G9_an_unknown_device_is_refused_rather_than_read(device):
    test_hostile.test_memory_of_another_device_is_never_touched(device, "numpy")


# ---- autograd and torch -------------------------------------------------------------------------


@pytest.mark.parametrize("state", test_torch_state.GRAD)
def test_A1_requires_grad_is_refused_with_its_remedy(state):
    test_torch_state.test_a_tensor_that_requires_grad_is_refused_with_the_remedy(state, "numpy")
    test_torch_state.test_detach_shares_the_values_and_leaves_the_source_alone(state, "numpy")


def test_A2_grad_mode_off_is_respected_and_one_switch_serves_all():
    test_torch_state.test_with_grad_mode_off_nothing_is_lost_and_nothing_refused(
        torch.no_grad, "numpy"
    )
    t = torch.ones(2, dtype=torch.complex64, requires_grad=True).conj()
    assert db.to_numpy(t, detach=True).tolist() == [1, 1]


def test_A3_lazy_bits_are_resolved_with_their_reason():
    for code, make, expected in (
        ("conj", torch_states.conjugated, [1 - 2j, 3 + 4j, -5j]),
        ("neg", torch_states.negated, [-2.0, -4.0]),
    ):
        test_torch_state.test_lazy_bits_are_resolved_into_a_copy_with_their_reason(
            code, make, expected, "numpy"
        )


def test_A4_sparse_is_said_and_nothing_densified():
    test_torch_state.test_the_words_of_a_refusal_name_the_state("sparse COO")


@pytest.mark.parametrize("state", ["fake", "meta", "functional"])
def test_A5_tensors_without_memory_are_refused_before_a_pointer_is_read(state):
    code, make = torch_states.REFUSED[state]
    with refuses(code):
        db.to_numpy(make())


def test_A6_nothing_is_ever_iterated():
    from test_not_arrays import Sequence

    with pytest.raises(TypeError):
        db.to_torch(Sequence())


def test_A7_a_copy_can_be_asked_for_where_storage_must_be_own():
    t = db.to_torch(np.arange(3.0), copy=True)
    assert t.data_ptr() != 0 and t.untyped_storage().nbytes() >= 24


def test_A8_torch_and_the_hub_work_without_numpy():
    out = isolated.expect_clean(
        "import sys; sys.modules['numpy'] = None\n"
        "import warnings; warnings.simplefilter('ignore')\n"
        "import torch, dlpack_bridge as db\n"
        "t = db.to_torch(bytearray(b'abc')); print(t.tolist(), db.asarray(t).memoryview().tolist())",
        options=(),
    )
    assert out == "[97, 98, 99] [97, 98, 99]\n"


def test_A9_probing_prints_nothing():
    isolated.expect_clean(
        "import torch, dlpack_bridge as db\nt = torch.arange(3)\n"
        "db.info(t); db.to_numpy(t); db.asarray(t); db.plan(t, 'array')"
    )


# ---- extension authors --------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["numpy", "torch", "array"])
def test_C4_results_come_back_in_the_caller_s_framework(source):
    x = db.convert(np.arange(3.0), source)

    @db.compute_in("torch")
    def double(t):
        return t * 2

    assert type(double(x)) is type(x)


def test_C5_the_order_of_imports_does_not_matter():
    isolated.expect_clean(
        "import dlpack_bridge as db, numpy as np\nt = db.to_torch(np.arange(3))\n"
        "import torch\nassert type(t) is torch.Tensor"
    )


def test_C6_the_module_does_not_load_libtorch():
    out = isolated.expect_clean(
        "import dlpack_bridge, pathlib\n"
        "print('libtorch' in pathlib.Path('/proc/self/maps').read_text())"
    )
    assert out == "False\n"


def test_C8_empty_data_needs_no_special_case():
    for empty in (np.empty(0), b"", bytearray(), np.empty((3, 0, 2))):
        assert db.to_torch(empty).numel() == 0
        assert db.asarray(empty).size == 0


def test_C9_threads_are_safe(request):
    test_threads.test_new_types_in_many_threads(None)


def test_C10_copy_policy_is_a_parameter():
    a = np.arange(3.0)[::-1]
    assert db.to_torch(a, copy=None).tolist() == db.to_torch(a, copy=True).tolist()
    with pytest.raises(db.CopyRequiredError):
        db.to_torch(a, copy=False)


# ---- performance --------------------------------------------------------------------------------


def test_P2_contiguous_exports_are_not_normalised_by_extra_exchanges():
    with test_sources_exchange_api.Calls() as calls:
        db.to_numpy(test_sources_exchange_api.Table13(export()))
    assert calls.made["from_object"] == 1 and calls.made["borrow"] == 0


@pytest.mark.parametrize("kind", [list, tuple])
def test_P5_a_list_of_arrays_is_a_type_error_and_never_iterated(kind):
    with pytest.raises(db.NotAnArrayError):
        db.to_torch(kind([np.zeros(3)] * 1000))


def test_P6_copies_are_reported():
    with db.trace() as trace:
        db.to_torch(test_readonly.frozen())
    assert [record.action for record in trace.records] == ["copy"]
    assert codes(trace.records[0].reasons) == {"readonly"}


def test_P7_large_work_lets_other_threads_run():
    test_threads.test_large_copies_let_other_threads_run()


# ---- diagnostics --------------------------------------------------------------------------------


def test_Q1_one_call_that_works_and_an_error_with_its_fix():
    t = torch.ones(3, requires_grad=True)
    with refuses("requires_grad", says=["detach=True"]):
        db.to_numpy(t)
    assert db.to_numpy(t, detach=True).tolist() == [1, 1, 1]


def test_Q2_all_blockers_at_once():
    test_errors.test_every_blocker_is_in_the_message_with_its_remedy()


def test_Q3_each_function_has_its_contract_in_its_words():
    for function in (db.to_numpy, db.to_torch, db.convert, db.asarray, db.plan):
        assert len(function.__doc__) > 40


def test_Q4_nothing_is_printed_and_the_reason_is_returned(capfd):
    db.to_torch(np.arange(3.0)[::-1])
    assert tuple(capfd.readouterr()) == ("", "")
    assert plan_of(np.arange(3.0)[::-1], "torch").reasons


def test_Q5_each_result_is_reported_and_not_only_the_first():
    frozen = test_readonly.frozen()
    with db.trace() as trace:
        for _ in range(5):
            db.to_torch(frozen)
    assert [codes(record.reasons) for record in trace.records] == [{"readonly"}] * 5


@pytest.mark.parametrize("code", test_errors.REFUSALS)
def test_Q6_every_error_has_device_type_shape_and_strides(code):
    test_errors.test_a_message_names_source_target_and_blocker(code)


def test_Q7_one_function_and_one_copy_argument():
    for source in (np.arange(3.0), torch.arange(3.0), db.asarray(np.arange(3.0)), bytearray(3)):
        shared = db.convert(source, "array", copy=False)
        fresh = db.convert(source, "array", copy=True)
        assert db.shares_memory(shared, source) and not db.shares_memory(fresh, source)


@pytest.mark.parametrize("x", [[1], (1,), 3, None, "text"])
def test_Q8_a_list_is_called_a_list(x):
    with pytest.raises(TypeError, match=type(x).__name__):
        db.from_dlpack(x)


# ---- processes ----------------------------------------------------------------------------------


def test_M1_read_only_shared_memory_is_imported_without_a_copy_when_told_so():
    frozen = memoryview(bytearray(64)).toreadonly()
    assert db.asarray(frozen, copy=False).readonly
    assert db.shares_memory(db.to_torch(frozen, readonly="share"), frozen)


def test_M2_shared_memory_outlives_its_handle_object():
    from multiprocessing import shared_memory

    shared = shared_memory.SharedMemory(create=True, size=16)
    result = db.to_numpy(shared.buf)
    result[0] = 7
    assert shared.buf[0] == 7
    del result
    shared.close()
    shared.unlink()


def test_M3_memory_that_cannot_be_pickled_is_a_clear_error():
    def attempt():
        array = db.asarray(lab.Export(0x10, (3,), device=(8, 0)).capsule())
        for use in (copy_module.deepcopy, pickle.dumps):
            with pytest.raises(db.ExchangeError):
                use(array)

    isolated.forked(attempt)
