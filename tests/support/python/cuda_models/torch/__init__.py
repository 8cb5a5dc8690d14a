"""A model of torch on the fake CUDA driver: what its users and the hub see of streams and memory.

Sources, as of torch 2.13: torch/_tensor.py (`__dlpack__`), torch/utils/dlpack.py,
torch/cuda/streams.py, c10/cuda/CUDACachingAllocator.cpp, aten/src/ATen/DLConvertor.cpp; measured
rows T07, E01, E03, E06 of the project's research.
"""

import contextlib

import cuda_lab
import device_model as model
import fake_driver as driver
import numpy as np
from device_model import CPU, CUDA

from . import version as version
from ._memory import FOREIGN, TorchPool

__version__ = "2.13.0"


class _DType:
    def __init__(self, name):
        self.name = name

    def __repr__(self):
        return "torch." + self.name


class _Device:
    def __init__(self, kind, index=None):
        if isinstance(kind, _Device):
            kind, index = kind.type, kind.index
        name, _, number = str(kind).partition(":")
        self.type, self.index = name, int(number) if number else index

    def __repr__(self):
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __eq__(self, other):
        return str(self) == str(other)

    def __hash__(self):
        return hash(str(self))


# The names of C types carry their package.
dtype = cuda_lab.named_type("torch.dtype", _DType)
device = cuda_lab.named_type("torch.device", _Device)

_NAMES = ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
_NAMES += ["float16", "float32", "float64", "complex64", "complex128"]
globals().update({name: dtype(name) for name in _NAMES})
_DTYPES = {model.dlpack_dtype(name): globals()[name] for name in _NAMES}
strided = "torch.strided"


class _C:
    """The private names that others read."""

    _disabled_torch_dispatch_impl = staticmethod(lambda *args, **kwargs: NotImplemented)
    DisableTorchFunction = contextlib.nullcontext

    @staticmethod
    def _len_torch_function_stack():
        return 0

    @staticmethod
    def _to_dlpack(tensor, dl_device=None, copy=None):
        return tensor.capsule(False)

    @staticmethod
    def _from_dlpack(capsule):
        return _wrap(cuda_lab.take(capsule, without_gil=True))


class UntypedStorage:
    def __init__(self, *, resizable):
        self.resizable = lambda: resizable


class Tensor(model.DeviceArray):
    __module__ = "torch"
    __torch_dispatch__ = _C._disabled_torch_dispatch_impl
    layout = strided
    is_sparse = is_quantized = is_nested = is_meta = False
    pinned = False

    # ---- what it says of itself --------------------------------------------------------------------

    @property
    def device(self):
        return device("cuda", self.dlpack_device[1]) if self.is_cuda else device("cpu")

    @property
    def is_cuda(self):
        return self.dlpack_device[0] == CUDA

    def is_pinned(self):
        return self.pinned

    def data_ptr(self):
        return self.address

    def stride(self):
        return self.strides_in_elements

    def is_contiguous(self):
        return self.strides_in_elements == model.row_major(self.shape)

    def detach(self):
        return self.view_of(0, self.shape, self.strides_in_elements)

    def t(self):
        return self.view_of(0, self.shape[::-1], self.strides_in_elements[::-1])

    # ---- kernels on the current stream of its device ----------------------------------------------

    def _stream(self):
        return cuda.current_stream(self.dlpack_device[1]).cuda_stream

    def fill_(self, value):
        self.write(self._stream(), value)
        return self

    def add_(self, value):
        self.update(self._stream(), lambda elements: elements + value)
        return self

    def clone(self):
        made = empty(self.shape, dtype=self.dtype, device=self.device)
        model.kernel(self.dlpack_device[1], self._stream(), reads=[self], writes=[made])
        model.host_view(made)[...] = model.host_view(self)
        return made

    def use(self):
        """A kernel that reads it; what that kernel saw (the model knows at once)."""
        return self.read(self._stream())

    def tolist(self):
        """Copies to the host: waits for the current stream and for nothing else."""
        if self.is_cuda:
            driver.synchronize_stream(self.dlpack_device[1], self._stream())
        return model.read_on_host(self).tolist()

    # ---- memory -----------------------------------------------------------------------------------

    def untyped_storage(self):
        """Memory of others cannot be resized: from_blob sets no allocator."""
        return UntypedStorage(resizable=not isinstance(self.storage, FOREIGN))

    def record_stream(self, stream):
        """CUDACachingAllocator::recordStream returns at once for memory of others (it compares
        `ptr.get_deleter()` with its own)."""
        if isinstance(self.storage, FOREIGN):
            return
        self.storage.pool.record_stream(self.storage, stream)

    # ---- exchange ---------------------------------------------------------------------------------

    def __dlpack_device__(self):
        """A pinned tensor says kDLCUDAHost here and kDLCPU in its capsule."""
        if self.pinned:
            return model.CUDA_HOST, 0
        return self.dlpack_device

    def __dlpack__(self, *, stream=-1, max_version=None, dl_device=None, copy=None):
        if self.requires_grad:
            raise BufferError("Can't export tensors that require gradient, use tensor.detach()")
        if self.is_conj():
            raise BufferError("Can't export tensors with the conjugate bit set")
        if self.is_cuda and self.device.index != cuda.current_device():
            raise BufferError("Can't export tensors on a different CUDA device index.")
        if stream is not None and type(stream) is not int:
            raise TypeError("stream must be ``int`` or ``none``")
        if self.is_cuda:
            self._order(stream)
        elif stream not in (None, -1):
            raise AssertionError("stream should be None on cpu.")
        return self.capsule(max_version is not None and max_version[0] >= 1)

    def _order(self, stream):
        """-1 (the default since pytorch#163242) orders nothing. What is ordered is torch's current
        stream: which stream wrote the tensor is not known."""
        if stream == -1:
            return
        if stream is None or stream == 1:
            stream = cuda.default_stream()
        elif stream == 2:
            raise BufferError("per-thread default stream is not supported.")
        elif stream == 0:
            raise AssertionError("unsupported stream on CUDA: 0.")
        else:
            stream = cuda.ExternalStream(stream)
        current = cuda.current_stream()
        if stream != current:
            event = cuda.Event()
            event.record(current)
            stream.wait_event(event)


class Parameter(Tensor):
    pass


class nn:
    Parameter = Parameter


# ---- making tensors --------------------------------------------------------------------------------

pool, pinned_pool = TorchPool("device"), TorchPool("host")


def empty(shape, *, dtype=None, device=None, pin_memory=False):
    element = globals()["float32"] if dtype is None else dtype
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    name, where = element.name, _Device(device or "cpu")
    nbytes = int(np.prod(shape)) * np.dtype(name).itemsize
    if where.type == "cuda":
        index = cuda.current_device() if where.index is None else where.index
        storage = pool.allocate(index, nbytes, cuda.current_stream(index).cuda_stream)
        return Tensor.in_block(storage, shape, name, CUDA, element)
    if pin_memory:
        made = Tensor.in_block(pinned_pool.allocate(0, nbytes, 0), shape, name, CPU, element)
        made.dlpack_device, made.pinned = (CPU, 0), True
        return made
    memory = np.empty(max(nbytes, 1), "u1")
    fields = {
        "address": memory.ctypes.data,
        "shape": shape,
        "strides": None,
        "dlpack_dtype": model.dlpack_dtype(name),
        "dlpack_device": (CPU, 0),
    }
    return Tensor.over(memory, fields, element)


def full(shape, value, **keywords):
    made = empty(shape, **keywords)
    if made.is_cuda:
        return made.fill_(value)
    model.host_view(made)[...] = value
    return made


def tensor(values, **keywords):
    values = np.asarray(values)
    keywords.setdefault("dtype", globals()["float32"])
    return full(values.shape, values, **keywords)


def arange(count, **keywords):
    keywords.setdefault("dtype", globals()["float32"])
    return full(count, np.arange(count), **keywords)


# ---- importing tensors -----------------------------------------------------------------------------


def _wrap(imported):
    """`at::fromDLPack`: from_blob, whose deleter runs when the storage dies, whatever the device
    does then. Other device types are refused (measured: T07)."""
    fields = imported.fields
    if fields["dlpack_device"][0] not in (CPU, CUDA):
        raise BufferError(f"Unsupported device_type: {fields['dlpack_device'][0]}")
    fields["flags"] = 0  # READ_ONLY is not known to torch
    return Tensor.over(imported, fields, _DTYPES[tuple(fields["dlpack_dtype"])])


def from_dlpack(source):
    """torch/utils/dlpack.py: the current stream is passed for CUDA, its 0 as 1."""
    if not hasattr(source, "__dlpack__"):
        return _C._from_dlpack(source)
    keywords = {"max_version": (1, 0)}
    where = source.__dlpack_device__()
    if where[0] == CUDA:
        keywords["stream"] = cuda.current_stream(where[1]).cuda_stream or 1
    return _C._from_dlpack(model.call_dlpack(source, keywords))


def is_grad_enabled():
    return True


from . import cuda  # makes streams of torch.device

Tensor.__dlpack_c_exchange_api__ = cuda_lab.exchange_table(
    _wrap,
    # at::cuda::getCurrentCUDAStream(id).stream(): NULL for the default stream
    lambda index: cuda.current_stream(index).cuda_stream,
)
