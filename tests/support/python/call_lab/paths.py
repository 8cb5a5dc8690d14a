"""Takes every hot path often enough to be counted; `instruction_counts.py` runs it under callgrind.

paths.py FOLDER_OF_CALL_LAB ROUNDS
"""

import gc
import sys
from itertools import repeat

import numpy as np
import torch

import dlpack_bridge as db

sys.path.insert(0, sys.argv[1])
import call_lab as lab

ROUNDS = int(sys.argv[2])
WARM_UP = 50

vector, matrix = np.ones(4, np.float32), np.ones((3, 4), np.float32)
tensor, tensor_matrix = torch.ones(4), torch.ones(3, 4)
held = db.asarray(matrix)

PATHS = {
    "to_torch(numpy)": (db.to_torch, matrix),
    "to_torch(array)": (db.to_torch, held),
    "to_torch(torch)": (db.to_torch, tensor_matrix),
    "to_numpy(torch)": (db.to_numpy, tensor_matrix),
    "to_numpy(array)": (db.to_numpy, held),
    "to_numpy(numpy)": (db.to_numpy, matrix),
    "np.from_dlpack(Array)": (np.from_dlpack, held),
    "asarray(numpy)": (db.asarray, matrix),
    "asarray(torch)": (db.asarray, tensor_matrix),
    "f(array<float, 1>), numpy": (lab.take, vector),
    "f(array<const float, 1>), numpy": (lab.take_const, vector),
    "f(array<const float>), numpy": (lab.take_dynamic, vector),
    "f(array<float, 2, c_contiguous>), numpy": (lab.take_dense, matrix),
    "f(array<float, 1>), torch": (lab.take, tensor),
    "f(array<const float, 1>), torch": (lab.take_const, tensor),
    "f(array<const float>), torch": (lab.take_dynamic, tensor),
    "f(array<float, 2, c_contiguous>), Array": (lab.take_dense, db.asarray(tensor_matrix)),
    # What is no cost of ours, and a control: 1000 rounds more of a loop.
    "f(handle)": (lab.nothing, vector),
    "spend(1000)": (lab.spend, 1000),
    "spend(2000)": (lab.spend, 2000),
}

gc.disable()
for name, (function, argument) in PATHS.items():
    for _ in repeat(None, WARM_UP):
        function(argument)
    lab.begin()
    for _ in repeat(None, ROUNDS):
        function(argument)
    lab.end(name)
