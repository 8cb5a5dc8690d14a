"""Real JAX on the host, both ways. In processes of their own: JAX starts threads when it is imported."""

import isolated
import pytest

SETTING = """
import gc, os
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
import jax, jax.numpy as jnp, ml_dtypes, numpy as np, torch
import dlpack_bridge as db

def codes(reasons):
    return [reason.code for reason in reasons]
"""

CASES = {
    "an array is shared, read-only, with the address that JAX gives": """
for j in (jnp.arange(6, dtype=jnp.float32).reshape(2, 3), jnp.arange(5) > 2, jnp.int8(3),
          jnp.ones((2, 0)), jnp.array([1 + 2j], jnp.complex64)):
    n = db.to_numpy(j)
    assert n.ctypes.data == j.unsafe_buffer_pointer() or n.size == 0
    assert n.shape == j.shape and n.dtype == j.dtype and (n == np.asarray(j)).all()
    assert not n.flags.writeable and db.asarray(j).readonly
    plan = db.plan(j, "numpy")
    assert (plan.action, plan.protocol, plan.readonly) == ("share", "buffer", True)
""",
    "what the buffer cannot say goes by __dlpack__": """
for dtype in (jnp.bfloat16, jnp.float8_e4m3fn):
    j = jnp.arange(4, dtype=dtype)
    n = db.to_numpy(j)
    assert n.dtype == j.dtype and n.ctypes.data == j.unsafe_buffer_pointer()
    assert n.tolist() == [0, 1, 2, 3] and not n.flags.writeable
    assert db.plan(j, "numpy").protocol == "dlpack"
""",
    "torch cannot say read-only: a copy, or the memory for those who promise not to write": """
j = jnp.arange(4, dtype=jnp.float32)
t = db.to_torch(j)
t[0] = 9
assert j.tolist() == [0, 1, 2, 3]
assert codes(db.plan(j, "torch").reasons) == ["readonly"]
assert db.to_torch(j, readonly="share").data_ptr() == j.unsafe_buffer_pointer()
half = jnp.ones(3, jnp.bfloat16)
assert db.to_torch(half, readonly="share").data_ptr() == half.unsafe_buffer_pointer()
""",
    "a result outlives the array, its deletion and its donation": """
j = jnp.arange(1000, dtype=jnp.float32)
n = db.to_numpy(j)
del j
gc.collect()
later = [jnp.full(1000, 7, jnp.float32) for _ in range(20)]
assert n.tolist() == list(range(1000))

j = jnp.arange(1000, dtype=jnp.float32)
n = db.to_numpy(j)
try:
    j.delete()
except Exception:
    pass
later = [jnp.full(1000, 7, jnp.float32) for _ in range(20)]
assert n.tolist() == list(range(1000))

j = jnp.arange(1000, dtype=jnp.float32)
n = db.to_numpy(j)
grown = jax.jit(lambda x: x + 1, donate_argnums=0)(j)
assert n.tolist() == list(range(1000)) and grown[0] == 1
""",
    "an array that was deleted is refused": """
for dtype in (jnp.float32, jnp.bfloat16):
    j = jnp.ones(3, dtype)
    j.delete()
    try:
        db.to_numpy(j)
    except db.ExchangeError as error:
        assert codes(error.blockers) == ["producer"] and error.__cause__ is not None, error
    else:
        raise AssertionError("not refused")
""",
    "another thread may delete what is still being computed": """
import threading
work = jax.jit(lambda x: jnp.linalg.matrix_power(x, 20) * 0 + 5)
work(jnp.eye(400)).block_until_ready()
for _ in range(5):
    j = work(jnp.eye(400))
    def delete():
        try:
            j.delete()
        except Exception:
            pass
    other = threading.Timer(0.003, delete)
    other.start()
    try:
        assert (db.to_numpy(j) == 5).all()
    except db.ExchangeError:
        pass
    other.join()
""",
    "a result is waited for": """
work = jax.jit(lambda x: jnp.linalg.matrix_power(x, 8) * 0 + 5)
for _ in range(5):
    j = work(jnp.eye(300))
    assert (db.to_numpy(j) == 5).all()
""",
    "an array of several shards is whole, or refused": """
from jax.sharding import NamedSharding, PartitionSpec
mesh = jax.make_mesh((2,), ("x",))
assert len(jax.devices()) == 2
whole = jnp.arange(8, dtype=jnp.float32).reshape(4, 2)
for spec in (PartitionSpec("x"), PartitionSpec(None, "x"), PartitionSpec()):
    j = jax.device_put(whole, NamedSharding(mesh, spec))
    for convert in (db.to_numpy, db.asarray, lambda x: db.to_torch(x, readonly="share")):
        try:
            assert db.to_numpy(convert(j)).tolist() == whole.tolist(), spec
        except db.ExchangeError:
            pass
second = jax.device_put(whole, jax.devices()[1])
assert db.to_numpy(second).ctypes.data == second.unsafe_buffer_pointer()
""",
    "tensors and arrays go to JAX's own function": """
t = torch.arange(6.0).reshape(2, 3)
j = jax.dlpack.from_dlpack(db.asarray(t))
assert j.shape == (2, 3) and j.tolist() == t.tolist()
a = np.arange(16, dtype=np.int32).reshape(4, 4)
assert jax.dlpack.from_dlpack(db.asarray(a)).tolist() == a.tolist()
""",
    "references and arrays that are alive end where they began": """
import sys
j = jnp.arange(4, dtype=jnp.float32)
def exchange():
    for keywords in ({}, {"copy": True}):
        db.to_numpy(j, **keywords), db.asarray(j, **keywords), db.to_torch(j, **keywords)
exchange()
before = sys.getrefcount(j), db.stats().live_arrays
for _ in range(50):
    exchange()
gc.collect()
assert (sys.getrefcount(j), db.stats().live_arrays) == before
""",
}


@pytest.mark.parametrize("case", CASES)
def test_arrays_of_jax(case):
    isolated.expect_clean(SETTING + CASES[case], options=("-W", "ignore"))
