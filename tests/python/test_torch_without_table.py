"""torch before 2.10 has no exchange table: the hub reaches it through its capsules.

The real torch is used with the table taken off its type, in an interpreter of its own: what runs
then is the road for older builds, against torch's own capsule functions.
"""

import subprocess
import sys

import pytest

PRELUDE = """
import gc, sys
import numpy as np, torch
del torch.Tensor.__dlpack_c_exchange_api__
import dlpack_bridge as db

def raises(call, *words):
    try:
        call()
    except db.ExchangeError as error:
        assert all(word in str(error) for word in words), error
    else:
        raise AssertionError("not refused")
"""

CASES = {
    "a tensor is shared with NumPy": """
t = torch.arange(6.0).reshape(2, 3).T
n = db.to_numpy(t)
assert n.ctypes.data == t.data_ptr() and n.tolist() == t.tolist() and n.flags.writeable
n[0, 0] = 9
assert t[0, 0] == 9
""",
    "an array is shared with torch": """
a = np.arange(6, dtype=np.int16).reshape(2, 3)[:, ::2]
t = db.to_torch(a)
assert t.data_ptr() == a.ctypes.data and t.tolist() == a.tolist() and t.dtype == torch.int16
""",
    "the source is held exactly once and let go with the result": """
a = np.zeros(3)
before, live = sys.getrefcount(a), db.stats().live_arrays
t = db.to_torch(a)
assert sys.getrefcount(a) == before + 1
assert db.stats().live_arrays == live + 1
del t
gc.collect()
assert sys.getrefcount(a) == before
assert db.stats().live_arrays == live
""",
    "state is respected": """
raises(lambda: db.to_numpy(torch.ones(2, requires_grad=True)), "requires_grad", "detach=True")
assert db.to_numpy(torch.ones(2, requires_grad=True), detach=True).tolist() == [1, 1]
assert db.to_numpy(torch.tensor([1 + 2j]).conj()).tolist() == [1 - 2j]
assert db.to_numpy(torch.tensor([1 + 2j]).conj().imag).tolist() == [-2]
raises(lambda: db.to_numpy(torch.eye(2).to_sparse()), "sparse")
raises(lambda: db.to_numpy(torch.ones(2, device="meta")), "meta")
""",
    "a plan exports nothing that stays": """
t = torch.ones(3)
live = db.stats().live_arrays
plan = db.plan(t, "numpy")
assert plan.action == "share" and db.stats().live_arrays == live
""",
    "negative strides are copied and read-only memory is not shared": """
a = np.arange(3.0)
assert db.to_torch(a[::-1]).tolist() == [2, 1, 0]
a.flags.writeable = False
t = db.to_torch(a)
t[0] = 9
assert a[0] == 0
""",
}


@pytest.mark.parametrize("case", CASES)
def test_the_road_for_older_torch(case, tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PRELUDE + CASES[case]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
