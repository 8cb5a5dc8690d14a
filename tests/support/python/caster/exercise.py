"""Takes and gives every kind of array of caster_lab a few times, for a tool that watches the memory.
The folder of the module is the argument."""

import gc
import sys

import numpy as np

sys.path.insert(0, sys.argv[1])
import caster_lab as lab


class Producer:
    def __init__(self, values):
        self.values = values

    def __dlpack__(self, **keywords):
        return self.values.__dlpack__(**keywords)

    def __dlpack_device__(self):
        return self.values.__dlpack_device__()


def take(x):
    lab.sum(x)
    lab.sum_without_gil(x)
    lab.scale(x, 1.0)
    lab.back(x)
    lab.relu(x)
    lab.keep(x)
    lab.drop_kept()
    lab.keep(x)
    lab.drop_kept_elsewhere()
    lab.in_pair([x, x], int)
    lab.cast(x, int)


def refuse(function, x):
    try:
        function(x)
    except TypeError:
        return
    raise AssertionError(f"{x!r} was taken")


def give():
    for make in (lab.make_address, lambda n: lab.make_owned(), lambda n: lab.make_hub()):
        make(10)
    for make in (lab.make_matrix, lab.make_array, lab.make_const, lab.make_empty, lab.make_many):
        make()
    lab.owned_by([1])
    lab.like_tensor(values)
    cells = lab.Table().cells()
    gc.collect()
    cells.sum()


values = np.arange(6, dtype="float32")
for _ in range(20):
    for source in (values, values[::2], values[::-1], memoryview(values), Producer(values)):
        take(source)
    refuse(lab.matrix, values)
    refuse(lab.sum, values.astype("float64"))
    refuse(lab.sum, [1.0])
    give()
gc.collect()
print("done")
