"""Random arrays and random histories: the contract holds for what nobody thought of."""

import gc

import dlpack_lab as lab
import numpy as np
import samples
import torch
from checks import address, bits, codes, live
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from producers import Producer, Table13, export

import dlpack_bridge as db

SETTINGS = settings(max_examples=250, deadline=None, derandomize=True, database=None)
TABLE = db.Array.__dlpack_c_exchange_api__

DTYPES = st.sampled_from(list(samples.COMMON_DTYPES))
TARGETS = st.sampled_from(["numpy", "torch", "array"])


@st.composite
def index(draw, extent):
    step = draw(st.sampled_from([1, 1, 1, 2, 3, -1, -2]))
    low = draw(st.integers(0, extent))
    high = draw(st.integers(low, extent))
    return slice(low, high, step) if step > 0 else slice(high - 1 if high else None, None, step)


@st.composite
def arrays(draw):
    """Any view that slicing, transposing, broadcasting and byte order can make."""
    shape = draw(st.lists(st.integers(0, 5), max_size=4).map(tuple))
    dtype = np.dtype(draw(DTYPES))
    a = np.arange(int(np.prod(shape))).reshape(shape).astype(dtype)
    if draw(st.integers(0, 9)) == 0:
        a = a.astype(dtype.newbyteorder("S"))
    a = a[(*(draw(index(extent)) for extent in shape), ...)]
    a = a.transpose(draw(st.permutations(range(a.ndim))))
    if draw(st.integers(0, 9)) == 0:
        a = np.broadcast_to(a, (2, *a.shape))
    elif draw(st.integers(0, 9)) == 0:
        a = a.view()
        a.flags.writeable = False
    return a


@SETTINGS
@given(arrays(), TARGETS, st.sampled_from([None, "C"]), st.sampled_from([None, True, False]))
def test_any_view_arrives_whole_or_is_refused_as_planned(a, to, order, copy):
    source = db.asarray(a) if to == "numpy" and a.dtype.isnative else a
    plan = db.plan(source, to, order=order, copy=copy)
    try:
        result = db.convert(source, to, order=order, copy=copy)
    except db.CopyRequiredError as error:
        assert copy is False and plan.action == "refuse"
        assert codes(error.blockers) == codes(plan.blockers)
        return
    assert plan.action == ("copy" if plan.reasons else "share")
    values = db.to_numpy(result)
    native = a.astype(a.dtype.newbyteorder("="))
    assert values.shape == a.shape
    assert result is a or bits(values) == bits(native)
    if a.size and result is not a:
        assert db.shares_memory(result, a) == (plan.action == "share")
    if copy is True or order == "C":
        assert values.flags.c_contiguous


@SETTINGS
@given(arrays(), DTYPES)
def test_any_conversion_equals_astype(a, dtype):
    values = np.abs(a) if a.dtype.kind in "if" else a
    expected = values.astype(dtype) if values.dtype.kind != "c" else values.real.astype(dtype)
    assert bits(db.to_numpy(values, dtype=dtype)) == bits(expected)


@SETTINGS
@given(arrays())
def test_any_view_survives_torch_and_back(a):
    if a.dtype.isnative:
        back = db.to_numpy(db.to_torch(a))
        assert bits(back) == bits(a) and back.shape == a.shape and back.dtype == a.dtype


@SETTINGS
@given(arrays(), arrays())
def test_memory_is_shared_exactly_when_numpy_says_so(a, b):
    views = [a, a[..., ::-1] if a.ndim else a, a.T, b]
    for first in views:
        for second in views:
            assert db.shares_memory(first, second) == np.shares_memory(first, second)


class Histories(RuleBasedStateMachine):
    """Exchanges, exports, consumptions and releases in any order: every deleter runs once."""

    def __init__(self):
        super().__init__()
        self.start = live()
        self.sources = []
        self.capsules = []
        self.objects = []
        self.owned = []

    @rule(versioned=st.booleans(), empty=st.booleans())
    def produce(self, versioned, empty):
        source = (
            lab.Export(None, (0, 2), versioned=versioned) if empty else export(versioned=versioned)
        )
        self.sources.append(source)
        self.capsules.append(source.capsule())

    @rule(kind=st.sampled_from([Producer, Table13]), to=TARGETS, copy=st.sampled_from([None, True]))
    def exchange_producer(self, kind, to, copy):
        source = export()
        self.sources.append(source)
        self.objects.append(db.convert(kind(source), to, copy=copy))

    @precondition(lambda self: self.capsules)
    @rule(data=st.data(), to=TARGETS, copy=st.sampled_from([None, True, False]))
    def consume(self, data, to, copy):
        capsule = data.draw(st.sampled_from(self.capsules))
        used = lab.name(capsule).startswith("used_")
        try:
            self.objects.append(db.convert(capsule, to, copy=copy))
            assert not used
        except db.ExchangeError as error:
            assert used and codes(error.blockers) == {"capsule"}

    @precondition(lambda self: self.objects)
    @rule(data=st.data(), to=TARGETS, copy=st.sampled_from([None, True]))
    def exchange(self, data, to, copy):
        x = data.draw(st.sampled_from(self.objects))
        self.objects.append(db.convert(x, to, copy=copy))

    @precondition(lambda self: self.objects)
    @rule(data=st.data(), max_version=st.sampled_from([None, (1, 3)]))
    def export(self, data, max_version):
        x = db.asarray(data.draw(st.sampled_from(self.objects)))
        self.capsules.append(x.__dlpack__(max_version=max_version))

    @precondition(lambda self: self.objects)
    @rule(data=st.data())
    def export_by_table(self, data):
        x = db.asarray(data.draw(st.sampled_from(self.objects)))
        self.owned.append(lab.api_export(TABLE, x))

    @precondition(lambda self: self.owned)
    @rule(data=st.data(), foreign=st.booleans())
    def release(self, data, foreign):
        owned = self.owned.pop(data.draw(st.integers(0, len(self.owned) - 1)))
        if foreign:
            assert owned.release_on_thread()
        else:
            owned.release()

    @precondition(lambda self: self.objects)
    @rule(data=st.data())
    def drop_object(self, data):
        del self.objects[data.draw(st.integers(0, len(self.objects) - 1))]

    @precondition(lambda self: self.capsules)
    @rule(data=st.data())
    def drop_capsule(self, data):
        del self.capsules[data.draw(st.integers(0, len(self.capsules) - 1))]

    @precondition(lambda self: self.objects)
    @rule(data=st.data(), to=TARGETS)
    def look(self, data, to):
        x = data.draw(st.sampled_from(self.objects))
        db.plan(x, to)
        db.info(x)
        values = db.to_numpy(x)
        assert values.size == 0 or values.tolist() == [0, 1, 2, 3, 4, 5]

    @invariant()
    def no_deleter_runs_twice(self):
        for source in self.sources:
            assert source.deleter_calls <= source.exports

    def teardown(self):
        for owned in self.owned:
            owned.release()
        self.owned.clear()
        self.objects.clear()
        self.capsules.clear()
        gc.collect()
        db.collect()
        for source in self.sources:
            assert source.deleter_calls == source.exports
        assert live() == self.start


test_any_history_releases_everything_once = Histories.TestCase
test_any_history_releases_everything_once.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, derandomize=True, database=None
)


def test_addresses_survive_any_chain_of_targets():
    a = np.arange(6.0)
    for first in ("torch", "array"):
        for second in ("numpy", "torch", "array"):
            for third in ("numpy", "torch", "array"):
                x = db.convert(db.convert(db.convert(a, first), second), third)
                assert address(x) == address(a)
                assert db.to_torch(x).dtype is torch.float64
