"""Arrays of JAX and TensorFlow in host memory: these say so themselves, and JAX lends a buffer.

The stand-ins have what the hub looks at: the module of the type, the framework's own word, the protocols.
"""

import array
import mmap

import isolated
import pytest
from checks import codes, is_writable, live, plan_of, refuses
from producers import Producer, export

import dlpack_bridge as db


class Asked(Producer):
    """Notes in `asked` which methods run."""

    def __init__(self, source=None):
        super().__init__(source)
        self.asked = []

    def __dlpack__(self, **keywords):
        self.asked.append("__dlpack__")
        return super().__dlpack__(**keywords)

    def __dlpack_device__(self):
        self.asked.append("__dlpack_device__")
        return super().__dlpack_device__()


class Jax(array.array):
    """Four floats of JAX with a buffer; a buffer of JAX's own is read-only."""

    __module__ = "jaxlib._jax"

    def __new__(cls):
        made = super().__new__(cls, "f", [0, 1, 2, 3])
        made.dlpack = Asked()
        return made

    def is_deleted(self):
        return False

    def is_ready(self):
        return True

    def __dlpack__(self, **keywords):
        return self.dlpack.__dlpack__(**keywords)

    def __dlpack_device__(self):
        return self.dlpack.__dlpack_device__()

    @property
    def address(self):
        return self.buffer_info()[0]


class JaxWithoutBuffer(mmap.mmap):
    """What JAX does for bfloat16: the type has the buffer protocol, and asking for a buffer fails."""

    __module__ = "jaxlib._jax"

    def __new__(cls):
        made = super().__new__(cls, -1, 16)
        made.dlpack = Asked(export([1.0, 2.0]))
        made.close()
        return made

    is_deleted, is_ready = Jax.is_deleted, Jax.is_ready
    __dlpack__ = Jax.__dlpack__
    __dlpack_device__ = Jax.__dlpack_device__


def test_jax_on_the_host_travels_by_its_buffer_and_is_asked_for_no_export():
    x = Jax()
    result = db.to_numpy(x)
    assert result.ctypes.data == x.address and result.tolist() == [0, 1, 2, 3]
    assert x.dlpack.asked == []
    assert db.plan(x, "numpy").protocol == "buffer" and db.info(x).framework == "jax"


def test_the_buffer_is_held_as_long_as_the_result_lives():
    before = live()
    x = Jax()
    result = db.asarray(x)
    with pytest.raises(BufferError):
        x.append(4)
    del result
    x.append(4)
    assert live() == before


def test_jax_arrays_stay_read_only_whatever_their_buffer_says():
    x = Jax()
    assert not is_writable(db.to_numpy(x)) and db.asarray(x).readonly
    assert db.to_torch(x).data_ptr() != x.address
    assert codes(plan_of(x, "torch").reasons) == {"readonly"}
    assert db.to_torch(x, readonly="share").data_ptr() == x.address
    with refuses("readonly"):
        db.to_torch(x, readonly="error")


def test_jax_without_a_buffer_is_asked_for_a_capsule():
    x = JaxWithoutBuffer()
    assert db.to_numpy(x).tolist() == [1, 2]
    assert x.dlpack.asked == ["__dlpack_device__", "__dlpack__"]
    assert db.plan(x, "numpy").protocol == "dlpack"


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interrupt_passes_through_the_word_of_a_framework(error):
    class Asked(Jax):
        __module__ = Jax.__module__

        def is_deleted(self):
            raise error

    with pytest.raises(error):
        db.to_numpy(Asked())


@pytest.mark.parametrize("says", [{"is_deleted": True}, {"is_ready": False}])
def test_jax_that_is_deleted_or_not_ready_is_not_asked_for_its_buffer(says):
    class Other(Jax):
        __module__ = Jax.__module__

    for name, answer in says.items():
        setattr(Other, name, lambda self, answer=answer: answer)
    x = Other()
    assert db.to_numpy(x).tolist() == [0, 1, 2, 3, 4, 5]
    assert x.dlpack.asked == ["__dlpack_device__", "__dlpack__"]


# TensorFlow's modules as far as the hub looks at them: the type's own `__dlpack__` calls `to_dlpack`.
TENSORFLOW = """
import sys, types
import numpy as np
from producers import Producer, export
import dlpack_bridge as db

asked = []
raises = None

class EagerTensor(Producer):
    __module__ = "tensorflow.python.framework.ops"

    def __init__(self, **fields):
        super().__init__(export(versioned=False, **fields))

    def __dlpack__(self, **keywords):
        asked.append("__dlpack__")
        return super().__dlpack__(**keywords)

    def __dlpack_device__(self):
        asked.append("__dlpack_device__")
        return self.device

    device = (1, 0)

def to_dlpack(x):
    asked.append("to_dlpack")
    if raises is not None:
        raise raises
    return x.answer()

for name, attributes in (
    ("tensorflow.python.framework.ops", {"EagerTensor": EagerTensor}),
    ("tensorflow.python.dlpack.dlpack", {"to_dlpack": to_dlpack}),
):
    sys.modules[name] = types.ModuleType(name)
    vars(sys.modules[name]).update(attributes)
"""

TENSORFLOW_CASES = {
    "a tensor on the host is asked for a capsule and nothing else": """
x = EagerTensor()
n = db.to_numpy(x)
assert n.ctypes.data == x.export.address and not n.flags.writeable
assert db.to_torch(x, copy=False, readonly="share").data_ptr() == x.export.address
assert asked == ["to_dlpack"] * 2
del n
assert x.export.deleter_calls == 2
""",
    "a tensor elsewhere is asked by the protocol": """
x = EagerTensor(device=(2, 0))
x.device = (2, 0)
assert db.plan(x, "numpy").action == "refuse"
assert asked == ["to_dlpack", "__dlpack_device__", "__dlpack__"]
assert x.export.deleter_calls == 2
""",
    "what it raises is reported by the protocol": """
raises = ValueError("no such dtype")
x = EagerTensor()
assert db.to_numpy(x).tolist() == [0, 1, 2, 3, 4, 5]
assert asked == ["to_dlpack", "__dlpack_device__", "__dlpack__"]
""",
    "interrupts pass through": """
for raises in (KeyboardInterrupt(), MemoryError()):
    try:
        db.to_numpy(EagerTensor())
    except type(raises):
        continue
    raise AssertionError("nothing was raised")
assert asked == ["to_dlpack"] * 2
""",
    "a tensor of strings is not asked for its memory, nor for a method that it lacks": """
class Strings(EagerTensor):
    __module__ = "tensorflow.python.framework.ops"
    __dlpack_device__ = None
    shape = (2,)

    def _datatype_enum(self):
        return 7

plan = db.plan(Strings(), "numpy")
assert "dtype" in [blocker.code for blocker in plan.blockers]
assert "dtype string, shape (2,)" in str(plan)
assert asked == []
""",
    "a method of a subclass is not passed over": """
class Own(EagerTensor):
    def __dlpack__(self, **keywords):
        return super().__dlpack__(**keywords)

db.to_numpy(EagerTensor())
asked.clear()
assert db.to_numpy(Own()).tolist() == [0, 1, 2, 3, 4, 5]
assert asked == ["__dlpack_device__", "__dlpack__"]
""",
}


# The functions of TensorFlow 2.21, word by word as far as their names go, and what they call.
TENSORFLOW_FUNCTIONS = """
import sys, types

def module(name, **attributes):
    sys.modules[name] = types.ModuleType(name)
    vars(sys.modules[name]).update(attributes)
    return sys.modules[name]

class Context:
    def __init__(self, handle):
        self._initialized = False
        self._context_handle = None
        self.own_handle = handle

    def ensure_initialized(self):
        calls.append("ensure_initialized")
        self._initialized, self._context_handle = True, self.own_handle

    @property
    def _handle(self):
        return self._context_handle

calls = []
context = module("tensorflow.python.eager.context", _context=Context("first"))
context.context = lambda: context._context

def make(capsule, handle):
    calls.append(handle)
    return torch.utils.dlpack.from_dlpack(capsule)

def give(x):
    calls.append("library")
    return x.answer()

pywrap_tfe = module(
    "tensorflow.python.pywrap_tfe", TFE_FromDlpackCapsule=make, TFE_ToDlpackCapsule=give
)

def to_dlpack(tensor):
    return pywrap_tfe.TFE_ToDlpackCapsule(tensor)

def from_dlpack(capsule):
    context.context().ensure_initialized()
    return pywrap_tfe.TFE_FromDlpackCapsule(capsule, context.context()._handle)

def other_from_dlpack(capsule):
    calls.append("other")
    return from_dlpack(capsule)

def install(function):
    dlpack = types.SimpleNamespace(from_dlpack=function)
    config = types.SimpleNamespace(list_physical_devices=lambda kind: [])
    module("tensorflow", experimental=types.SimpleNamespace(dlpack=dlpack), config=config)
"""

TENSORFLOW_FUNCTION_CASES = {
    "to_dlpack is passed over for what it calls": """
sys.modules["tensorflow.python.dlpack.dlpack"].to_dlpack = to_dlpack
x = EagerTensor()
assert db.to_numpy(x).ctypes.data == x.export.address
assert calls == ["library"] and asked == []
""",
    "from_dlpack is passed over for what it calls, once the context is there": """
install(from_dlpack)
x = np.ones(3, np.float32)
made = [db.convert(x, "tensorflow") for _ in range(2)]
assert calls == ["ensure_initialized", "first", "first"]
assert [t.tolist() for t in made] == [[1, 1, 1]] * 2
""",
    "a context that was replaced is made ready, and its own handle given": """
install(from_dlpack)
x = np.ones(3, np.float32)
db.convert(x, "tensorflow")
context._context = Context("second")
db.convert(x, "tensorflow")
db.convert(x, "tensorflow")
assert calls == ["ensure_initialized", "first", "ensure_initialized", "second", "second"]
""",
    "a from_dlpack that does something else is called": """
install(other_from_dlpack)
x = np.ones(3, np.float32)
db.convert(x, "tensorflow")
db.convert(x, "tensorflow")
assert calls == ["other", "ensure_initialized", "first"] * 2
""",
    "what the library raises is raised": """
def make(capsule, handle):
    raise RuntimeError("no such element type")

pywrap_tfe.TFE_FromDlpackCapsule = make
install(from_dlpack)
context.context().ensure_initialized()
x = np.ones(3, np.float32)
try:
    db.convert(x, "tensorflow")
except RuntimeError as error:
    assert str(error) == "no such element type"
else:
    raise AssertionError("nothing was raised")
assert sys.getrefcount(x) == 2
""",
}


@pytest.mark.parametrize("case", TENSORFLOW_FUNCTION_CASES)
def test_functions_of_tensorflow(case):
    program = TENSORFLOW + "import torch\n" + TENSORFLOW_FUNCTIONS
    isolated.expect_clean(program + TENSORFLOW_FUNCTION_CASES[case])


@pytest.mark.parametrize("case", TENSORFLOW_CASES)
def test_tensors_of_tensorflow(case):
    isolated.expect_clean(TENSORFLOW + TENSORFLOW_CASES[case])
