"""Python producers of DLPack capsules: well-behaved ones that count, and ones with quirks."""

import dlpack_lab as lab
import numpy as np

CODES = {"i": 0, "u": 1, "f": 2, "c": 5, "b": 6}


def dtype_of(array):
    """(code, bits, lanes) of a NumPy array."""
    return CODES[array.dtype.kind], array.dtype.itemsize * 8, 1


def export(values=(0.0, 1.0, 2.0, 3.0, 4.0, 5.0), element="float32", /, **fields):
    """An Export of a copy of `values`; every field can be overridden."""
    array = np.asarray(values, dtype=element)
    fields.setdefault("shape", array.shape)
    fields.setdefault("dtype", dtype_of(array))
    return lab.Export(array, **fields)


def export_of(array, **fields):
    """An Export that shares `array` and holds one reference to it per managed tensor."""
    strides = tuple(stride // array.itemsize for stride in array.strides)
    pointer = array.__array_interface__["data"][0]
    return lab.Export(pointer, array.shape, strides, dtype=dtype_of(array), owner=array, **fields)


class Producer:
    """A producer with the full `__dlpack__` signature, which notes each call."""

    def __init__(self, source=None):
        self.export = export() if source is None else source
        self.calls = []

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
        given = {"stream": stream, "max_version": max_version, "dl_device": dl_device, "copy": copy}
        self.calls.append(given)
        return self.answer()

    def __dlpack_device__(self):
        return (1, 0)

    def answer(self):
        return self.export.capsule()


class WithoutKeywords(Producer):
    """As in the first versions of the protocol, minus the stream."""

    def __dlpack__(self):
        self.calls.append({})
        return self.answer()


class OnlyStream(Producer):
    """As in the array API of 2021."""

    def __dlpack__(self, stream=None):
        self.calls.append({"stream": stream})
        return self.answer()


class UpToVersion(Producer):
    """Takes `max_version`, but neither `dl_device` nor `copy`."""

    def __dlpack__(self, *, stream=None, max_version=None):
        self.calls.append({"stream": stream, "max_version": max_version})
        return self.answer()


class AnyKeyword(Producer):
    """Takes everything by name."""

    def __dlpack__(self, **keywords):
        self.calls.append(keywords)
        return self.answer()


class Raising(Producer):
    """`__dlpack__` raises `error`, after it was called."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def answer(self):
        raise self.error


class Returning(Producer):
    """`__dlpack__` returns `value`, whatever it is."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def answer(self):
        return self.value


class OnDevice(Producer):
    """`__dlpack_device__` gives `device` (an exception is raised), whatever the capsule says."""

    def __init__(self, device, source=None):
        super().__init__(source)
        self.device = device

    def __dlpack_device__(self):
        if isinstance(self.device, BaseException):
            raise self.device
        return self.device


class ByInterface:
    """A producer of `__array_interface__`; `fields` override those of `array`."""

    def __init__(self, array, **fields):
        self.interface = {**array.__array_interface__, **fields}
        self.array = array

    @property
    def __array_interface__(self):
        return self.interface


class Table13(lab.Held):
    """Has the exchange table as DLPack 1.3 says: a capsule on the type."""

    __dlpack_c_exchange_api__ = lab.table_capsule(lab.make_table())


class Table12(lab.Held):
    """Has the exchange table as DLPack 1.2 says: an int on the type."""

    __c_dlpack_exchange_api__ = lab.make_table(minor=2)


class TableAndMethod(Table13):
    """Has the table and the slower `__dlpack__`, which counts."""

    dlpack_calls = 0

    def __dlpack__(self, **keywords):
        type(self).dlpack_calls += 1
        raise AssertionError("the slow road")

    def __dlpack_device__(self):
        return (1, 0)


def held_with_table(**fields):
    """A new type whose table has these header fields."""
    capsule = lab.table_capsule(lab.make_table(**fields))
    return type("HeldWithTable", (lab.Held,), {"__dlpack_c_exchange_api__": capsule})
