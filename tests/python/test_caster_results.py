"""Arrays that C++ functions return."""

import gc

import caster_build
import ml_dtypes
import numpy as np
import pytest
import torch
import tvm_ffi
from checks import address, live

import dlpack_bridge as db

lab = caster_build.module()


def test_a_moved_vector_becomes_a_numpy_array_without_a_copy():
    a, address_in_cpp = lab.make_address(1000)
    assert type(a) is np.ndarray and a.dtype == np.float32
    assert address(a) == address_in_cpp
    assert a.flags.writeable
    assert a.tolist() == list(range(1000))


def test_shapes_and_layouts():
    assert lab.make_matrix().tolist() == [[0, 1, 2], [3, 4, 5]]
    assert lab.make_array().tolist() == [[0, 1, 2], [3, 4, 5]]
    assert lab.make_empty().shape == (0,)
    assert [a.shape for a in lab.make_many()] == [(1,), (2,), (3,)]


def test_const_elements_stay_read_only():
    assert not lab.make_const().flags.writeable
    a = np.ones(3, "float32")
    assert not lab.back(a).flags.writeable
    assert lab.back_to_write(a).flags.writeable
    assert address(lab.back(a)) == address(a)


def test_element_types():
    assert lab.make_complex().tolist() == [1 + 2j]
    assert lab.make_half().dtype == np.float16 and lab.make_half()[0] == 1.5
    assert lab.make_bfloat().dtype == ml_dtypes.bfloat16 and lab.make_bfloat()[0] == 1.5


def test_the_owner_goes_once_with_the_last_user():
    lab.released()
    a = lab.make_owned()
    view = a[1:]
    del a
    gc.collect()
    assert lab.released() == 0
    assert view.tolist() == [2, 3, 4]
    del view
    assert lab.released() == 1


def test_a_members_memory_keeps_its_owner_alive():
    lab.released()
    table = lab.Table()
    cells = table.cells()
    cells[0, 0] = 5
    assert table.cells()[0, 0] == 5
    del table
    gc.collect()
    assert lab.released() == 0
    assert cells.sum() == 10
    del cells
    gc.collect()
    assert lab.released() == 1


def test_what_numpy_cannot_hold_is_an_array():
    x = lab.make_on(2, 1)
    assert type(x) is db.Array
    assert x.device == "cuda:1" and x.dtype == "float64"
    assert lab.released() == 0
    del x
    assert lab.released() == 1
    assert type(lab.make_on(3)) is np.ndarray  # pinned memory is host memory
    lab.released()


def test_the_result_says_which_framework():
    assert type(lab.make_numpy()) is np.ndarray
    assert type(lab.make_torch()) is torch.Tensor
    assert type(lab.make_hub()) is db.Array
    assert lab.make_hub().memoryview().tolist() == [0, 1, 2]


def test_a_framework_that_cannot_hold_it_refuses_by_name():
    lab.released()
    with pytest.raises(db.ExchangeError, match="vpi"):
        lab.make_refused()
    assert lab.released() == 1


@pytest.mark.parametrize(
    ("x", "kind"),
    [
        (np.array([-1, 2], "float32"), np.ndarray),
        (torch.tensor([-1.0, 2.0]), torch.Tensor),
        (db.asarray(np.array([-1, 2], "float32")), db.Array),
        (memoryview(np.array([-1, 2], "float32")), np.ndarray),
        (tvm_ffi.from_dlpack(np.array([-1, 2], "float32")), tvm_ffi.Tensor),
    ],
)
def test_like_gives_back_what_came(x, kind):
    result = lab.relu(x)
    assert type(result) is kind
    assert db.to_numpy(result).tolist() == [0, 2]


def test_like_can_share_the_argument():
    a = np.arange(6, dtype="float32").reshape(2, 3)
    same = lab.same(db.asarray(a.T))
    assert type(same) is db.Array and same.data_ptr == address(a)
    assert same.shape == (3, 2) and same.readonly


def test_results_are_traced():
    with db.trace() as trace:
        lab.make(3)
    (record,) = trace.records
    assert (record.action, record.source, record.target) == ("share", "cpp", "numpy")


def test_results_of_a_function_without_the_gil():
    assert lab.make_without_gil().tolist() == [0, 1, 2]


def test_nothing_is_left():
    before = live()
    for _ in range(50):
        lab.make(10), lab.make_hub(), lab.make_torch(), lab.make_many()
    assert live() == before
