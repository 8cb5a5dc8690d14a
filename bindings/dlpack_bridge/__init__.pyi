from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, ClassVar, Literal, Protocol, TypeAlias, final, overload

# Neither has to be installed: what a type checker cannot find counts as Any.
import numpy
import torch
from numpy.typing import NDArray
from typing_extensions import Buffer, CapsuleType, Self

__all__ = [
    "Array",
    "CopyRequiredError",
    "CudaError",
    "ExchangeError",
    "NotAnArrayError",
    "Plan",
    "Reason",
    "__version__",
    "asarray",
    "collect",
    "compute_in",
    "convert",
    "convert_tree",
    "dtype",
    "from_dlpack",
    "info",
    "plan",
    "record_stream",
    "shares_memory",
    "stats",
    "to_numpy",
    "to_torch",
    "trace",
]

__version__: str

# ---- what is accepted ----------------------------------------------------------------------------

class _HasDLPack(Protocol):
    @property
    def __dlpack__(self) -> Callable[..., Any]: ...

class _HasExchangeAPI(Protocol):
    @property
    def __dlpack_c_exchange_api__(self) -> Any: ...

class _HasArrayInterface(Protocol):
    @property
    def __array_interface__(self) -> Any: ...

class _HasCudaArrayInterface(Protocol):
    @property
    def __cuda_array_interface__(self) -> Any: ...

class _HasCudaStream(Protocol):
    @property
    def __cuda_stream__(self) -> Callable[..., Any]: ...

class _CupyStream(Protocol):
    @property
    def ptr(self) -> int: ...

_Source: TypeAlias = (
    _HasDLPack
    | _HasExchangeAPI
    | _HasArrayInterface
    | _HasCudaArrayInterface
    | Buffer
    | CapsuleType
)
_DTypeLike: TypeAlias = (
    str | dtype | type[Any] | numpy.dtype[Any] | torch.dtype | tuple[int, int, int]
)
_DeviceLike: TypeAlias = str | device | tuple[int, int] | torch.device
_StreamLike: TypeAlias = int | _HasCudaStream | _CupyStream | torch.Stream
_Readonly: TypeAlias = Literal["copy", "share", "error"]
_Order: TypeAlias = Literal["C"]
_Name: TypeAlias = Literal["numpy", "torch", "jax", "cupy", "tensorflow", "tvm_ffi", "array"]
_Target: TypeAlias = _Name | ModuleType | type[Any]
_Action: TypeAlias = Literal["share", "copy", "refuse"]

# ---- conversions ---------------------------------------------------------------------------------

def to_numpy(
    x: _Source,
    /,
    *,
    dtype: _DTypeLike | None = None,
    copy: bool | None = None,
    detach: bool = False,
    order: _Order | None = None,
    alignment: int | None = None,
    stream: _StreamLike | None = None,
) -> NDArray[Any]: ...
def to_torch(
    x: _Source,
    /,
    *,
    dtype: _DTypeLike | None = None,
    device: _DeviceLike | None = None,
    copy: bool | None = None,
    detach: bool = False,
    readonly: _Readonly = "copy",
    order: _Order | None = None,
    alignment: int | None = None,
    stream: _StreamLike | None = None,
) -> torch.Tensor: ...
@overload
def convert(
    x: _Source,
    to: Literal["numpy"] | type[NDArray[Any]],
    /,
    *,
    dtype: _DTypeLike | None = None,
    device: _DeviceLike | None = None,
    copy: bool | None = None,
    detach: bool = False,
    readonly: _Readonly = "copy",
    order: _Order | None = None,
    alignment: int | None = None,
    stream: _StreamLike | None = None,
) -> NDArray[Any]: ...
@overload
def convert(
    x: _Source,
    to: Literal["torch"] | type[torch.Tensor],
    /,
    *,
    dtype: _DTypeLike | None = None,
    device: _DeviceLike | None = None,
    copy: bool | None = None,
    detach: bool = False,
    readonly: _Readonly = "copy",
    order: _Order | None = None,
    alignment: int | None = None,
    stream: _StreamLike | None = None,
) -> torch.Tensor: ...
@overload
def convert(
    x: _Source,
    to: Literal["array"] | type[Array],
    /,
    *,
    dtype: _DTypeLike | None = None,
    device: _DeviceLike | None = None,
    copy: bool | None = None,
    detach: bool = False,
    readonly: _Readonly = "copy",
    order: _Order | None = None,
    alignment: int | None = None,
    stream: _StreamLike | None = None,
) -> Array: ...
@overload
def convert(
    x: _Source,
    to: _Target,
    /,
    *,
    dtype: _DTypeLike | None = None,
    device: _DeviceLike | None = None,
    copy: bool | None = None,
    detach: bool = False,
    readonly: _Readonly = "copy",
    order: _Order | None = None,
    alignment: int | None = None,
    stream: _StreamLike | None = None,
) -> Any: ...
def asarray(
    x: _Source,
    /,
    *,
    dtype: _DTypeLike | None = None,
    device: _DeviceLike | None = None,
    copy: bool | None = None,
    detach: bool = False,
    order: _Order | None = None,
    alignment: int | None = None,
    stream: _StreamLike | None = None,
) -> Array: ...
def from_dlpack(
    x: _Source, /, *, device: _DeviceLike | None = None, copy: bool | None = None
) -> Array: ...
def plan(
    x: _Source,
    to: _Target,
    /,
    *,
    dtype: _DTypeLike | None = None,
    device: _DeviceLike | None = None,
    copy: bool | None = None,
    detach: bool = False,
    readonly: _Readonly = "copy",
    order: _Order | None = None,
    alignment: int | None = None,
    stream: _StreamLike | None = None,
) -> Plan: ...
def convert_tree(
    tree: Any,
    to: _Target,
    /,
    *,
    leaves: Literal["refuse", "keep"] = "refuse",
    dtype: _DTypeLike | None = None,
    device: _DeviceLike | None = None,
    copy: bool | None = None,
    detach: bool = False,
    readonly: _Readonly = "copy",
    order: _Order | None = None,
    alignment: int | None = None,
    stream: _StreamLike | None = None,
) -> Any: ...
def compute_in(
    to: _Target,
    /,
    *,
    dtype: _DTypeLike | None = None,
    device: _DeviceLike | None = None,
    copy: bool | None = None,
    detach: bool = False,
    readonly: _Readonly = "copy",
    order: _Order | None = None,
    alignment: int | None = None,
    stream: _StreamLike | None = None,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]: ...

# ---- arrays --------------------------------------------------------------------------------------

# Under another name for `Array`, whose properties are called the same.
_DType: TypeAlias = dtype
_Device: TypeAlias = device
_MemoryView: TypeAlias = memoryview

@final
class Array:
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def strides(self) -> tuple[int, ...]: ...
    @property
    def ndim(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def itemsize(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def dtype(self) -> _DType: ...
    @property
    def device(self) -> _Device: ...
    @property
    def readonly(self) -> bool: ...
    @property
    def data_ptr(self) -> int: ...
    @property
    def c_contiguous(self) -> bool: ...
    @property
    def copied(self) -> bool: ...
    __dlpack_c_exchange_api__: ClassVar[CapsuleType]
    def __dlpack__(
        self,
        *,
        stream: int | None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> CapsuleType: ...
    def __dlpack_device__(self) -> tuple[int, int]: ...
    def __array__(
        self, dtype: numpy.dtype[Any] | None = None, *, copy: bool | None = None
    ) -> NDArray[Any]: ...
    @property
    def __array_interface__(self) -> dict[str, Any]: ...
    @property
    def __cuda_array_interface__(self) -> dict[str, Any]: ...
    def memoryview(self) -> _MemoryView: ...
    def tobytes(self) -> bytes: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Any]: ...
    def __bool__(self) -> bool: ...
    def __copy__(self) -> Self: ...
    def __deepcopy__(self, memo: Any, /) -> Self: ...

@final
class dtype:
    def __new__(cls, x: _DTypeLike, /) -> Self: ...
    @property
    def name(self) -> str: ...
    @property
    def code(self) -> int: ...
    @property
    def bits(self) -> int: ...
    @property
    def lanes(self) -> int: ...
    @property
    def itemsize(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class device:
    def __new__(cls, x: _DeviceLike, /) -> Self: ...
    @property
    def name(self) -> str: ...
    @property
    def type(self) -> int: ...
    @property
    def id(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

# ---- reports -------------------------------------------------------------------------------------

@final
class Reason:
    def __new__(cls, code: str, message: str) -> Self: ...
    @property
    def code(self) -> str: ...
    @property
    def message(self) -> str: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

class _Unchanging:
    def __copy__(self) -> Self: ...
    def __deepcopy__(self, memo: Any, /) -> Self: ...

class _Report(_Unchanging):
    @property
    def action(self) -> _Action: ...
    @property
    def reasons(self) -> tuple[Reason, ...]: ...
    @property
    def blockers(self) -> tuple[Reason, ...]: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def readonly(self) -> bool: ...
    @property
    def protocol(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def target(self) -> str: ...
    @property
    def waits(self) -> tuple[tuple[Any, Any], ...]: ...

class Plan(_Report): ...
class _TraceRecord(_Report): ...

class trace:
    def __init__(self) -> None: ...
    @property
    def records(self) -> list[_TraceRecord]: ...
    @property
    def copied_bytes(self) -> int: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *args: object) -> None: ...

class _Info(_Unchanging):
    @property
    def framework(self) -> str: ...
    @property
    def dtype(self) -> _DType | None: ...
    @property
    def device(self) -> _Device | None: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def strides(self) -> tuple[int, ...] | None: ...
    @property
    def readonly(self) -> bool: ...
    @property
    def protocols(self) -> tuple[str, ...]: ...
    @property
    def alignment(self) -> int: ...
    @property
    def state(self) -> tuple[str, ...]: ...

class _Stats(_Unchanging):
    @property
    def live_arrays(self) -> int: ...
    @property
    def pending_releases(self) -> int: ...
    @property
    def copies(self) -> int: ...
    @property
    def copied_bytes(self) -> int: ...
    @property
    def leaked(self) -> int: ...

def info(x: _Source, /) -> _Info: ...
def shares_memory(a: _Source, b: _Source, /) -> bool: ...
def stats() -> _Stats: ...
def record_stream(x: _Source, stream: _StreamLike) -> None: ...
def collect(wait: bool = False) -> int: ...

# ---- errors --------------------------------------------------------------------------------------

class ExchangeError(BufferError):
    blockers: tuple[Reason, ...]

class CopyRequiredError(ExchangeError, ValueError): ...
class NotAnArrayError(TypeError, AttributeError): ...

class CudaError(RuntimeError):
    name: str
    code: int
    blockers: tuple[Reason, ...]
