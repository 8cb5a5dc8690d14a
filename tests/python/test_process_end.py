"""The end of the process: whatever is still alive, exit code 0 and nothing on stderr."""

import isolated
import pytest

PRELUDE = """
import atexit, gc, os, sys, threading, time
import numpy as np
import dlpack_bridge as db, dlpack_lab as lab
from producers import *
TABLE = db.Array.__dlpack_c_exchange_api__
"""

WITHOUT_TORCH = {
    "arrays in globals": "a = np.arange(9.0); kept = [db.asarray(a), db.to_numpy(db.asarray(a))]",
    "arrays in a cycle": "c = [db.asarray(np.arange(9.0))]; c.append(c)",
    "an unconsumed capsule": "c = db.asarray(np.arange(9.0)).__dlpack__(max_version=(1, 3))",
    "a capsule of a counting producer": "c = export().capsule(); k = db.asarray(export().capsule())",
    "a consumed capsule": "c = db.asarray(np.arange(9.0)).__dlpack__(); n = db.to_numpy(c)",
    "a memoryview": "m = db.asarray(np.arange(9.0)).memoryview()",
    "pickle buffers": (
        "import pickle; b = []\n"
        "d = pickle.dumps(db.asarray(np.arange(9.0)), 5, buffer_callback=b.append)"
    ),
    "an array on a builtin module": "sys.kept = db.asarray(np.arange(9.0)); np.kept = sys.kept",
    "an open trace": "t = db.trace(); t.__enter__(); db.asarray(np.arange(9.0)); k = db.asarray(b'x')",
    "a handler at exit": "atexit.register(lambda: db.asarray(np.arange(9.0), copy=True).memoryview())",
    "an object that exchanges when it dies": (
        "class Last:\n"
        "    def __init__(self): self.db, self.a = db, np.arange(9.0)\n"
        "    def __del__(self): self.db.asarray(self.a).memoryview()\n"
        "last = Last(); sys.last_of_all = last"
    ),
    "a deleter that uses the hub": (
        "kept = db.asarray(export(callback=lambda: db and db.asarray(b'x')).capsule())"
    ),
    "released by C code after Python": (
        "kept = [lab.api_export(TABLE, db.asarray(np.arange(9.0))) for _ in range(100)]\n"
        "lab.release_at_exit(kept)"
    ),
    "legacy tensors released by C code after Python": (
        "kept = [lab.take(db.asarray(bytearray(9)).__dlpack__()) for _ in range(100)]\n"
        "lab.release_at_exit(kept)"
    ),
    "released by a thread of C code during the end": (
        "kept = [lab.api_export(TABLE, db.asarray(np.arange(9.0))) for _ in range(2000)]\n"
        "lab.release_at_exit(kept, 50)"
    ),
    "released by a thread of C code with producers behind": (
        "kept = [lab.api_export(TABLE, db.asarray(export_of(np.arange(9.0)).capsule()))\n"
        "        for _ in range(1000)]\n"
        "lab.release_at_exit(kept, 50)"
    ),
    "daemon threads that exchange": (
        "def work():\n"
        "    while True: db.to_numpy(db.asarray(np.arange(9.0)), copy=True)\n"
        "[threading.Thread(target=work, daemon=True).start() for _ in range(4)]\n"
        "time.sleep(0.05)"
    ),
    **{
        f"daemon threads in {name}": (
            "import dataclasses\n"
            "a, p = np.ones(30000, 'f4'), Producer(export(np.arange(9.0)))\n"
            "@dataclasses.dataclass\n"
            "class Leaves:\n"
            "    x: object\n"
            "def work():\n"
            f"    while True: {call}\n"
            "[threading.Thread(target=work, daemon=True).start() for _ in range(4)]\n"
            "time.sleep(0.2)"
        )
        for name, call in {
            "a copy without the GIL": "db.asarray(a, copy=True)",
            "a conversion": "db.to_numpy(a, dtype='float64')",
            "an export that copies": "db.asarray(a).__dlpack__(copy=True)",
            "collect": "db.collect(wait=True)",
            "a producer's own code": "db.to_numpy(p)",
            "a plan": "db.plan(p, 'numpy'); db.info(p)",
            "a tree": "db.convert_tree(Leaves([p, a]), 'array')",
            "a trace": "exec('with db.trace(): db.asarray(p)')",
            "a failing producer": (
                "exec('try: db.asarray(Raising(ValueError()))\\nexcept db.ExchangeError: pass')"
            ),
        }.items()
    },
    "a producer that answers a daemon thread when Python is gone": (
        "class Slow(Producer):\n"
        "    def __dlpack__(self, **keywords): time.sleep(0.7); return super().__dlpack__(**keywords)\n"
        "p = Slow(export(np.arange(9.0)))\n"
        "lab.release_at_exit([lab.api_export(TABLE, db.asarray(np.arange(9.0)))], 1_500_000)\n"
        "threading.Thread(target=lambda: db.to_numpy(p), daemon=True).start()\n"
        "time.sleep(0.1)"
    ),
    "threads that end after the main thread": (
        "def work():\n"
        "    time.sleep(0.1); db.to_numpy(db.asarray(np.arange(9.0)), copy=True)\n"
        "[threading.Thread(target=work).start() for _ in range(4)]"
    ),
    "the module removed from sys.modules": (
        "kept = db.asarray(np.arange(9.0))\n"
        "for name in [n for n in sys.modules if n.startswith('dlpack_bridge')]: del sys.modules[name]\n"
        "del db; gc.collect()"
    ),
}

WITH_TORCH = {
    "tensors in globals": "kept = [db.to_torch(np.arange(9.0)), db.to_numpy(torch.arange(9))]",
    "a tensor in autograd": (
        "t = db.to_torch(np.arange(9.0)).requires_grad_(True); kept = ((t * t).sum(), t)"
    ),
    "tensors of every protocol": (
        "kept = [db.to_torch(x) for x in (bytearray(9), export().capsule(), Producer(),\n"
        "        Table13(export()), db.asarray(np.arange(9.0)))]"
    ),
    "released by C code after Python": (
        "kept = [lab.api_export(TABLE, db.asarray(torch.arange(9))) for _ in range(100)]\n"
        "lab.release_at_exit(kept)"
    ),
    "a tensor on the module torch": "torch.kept = db.to_torch(np.arange(9.0))",
}


@pytest.mark.parametrize("case", WITHOUT_TORCH)
def test_the_process_ends_in_silence(case):
    isolated.expect_clean(PRELUDE + WITHOUT_TORCH[case], timeout=60)


@pytest.mark.parametrize("case", WITH_TORCH)
def test_the_process_ends_in_silence_with_torch(case):
    isolated.expect_clean(PRELUDE + "import torch\n" + WITH_TORCH[case], timeout=120)


FORKS = {
    "the child ends at once": "os._exit(0)",
    "the child ends in order": "sys.exit(0)",
    "the child drops and exchanges": (
        "kept.clear(); gc.collect(); db.to_numpy(db.asarray(np.arange(9.0))); db.collect(wait=True)\n"
        "    assert db.stats().live_arrays == 0; sys.exit(0)"
    ),
    "the child keeps and adds": (
        "assert db.to_numpy(kept[0]).sum() == 36; kept.append(db.asarray(b'x')); sys.exit(0)"
    ),
}


@pytest.mark.parametrize("case", FORKS)
def test_a_fork_with_live_arrays(case):
    isolated.expect_clean(
        PRELUDE
        + "kept = [db.asarray(np.arange(9.0)) for _ in range(3)]\n"
        + "child = os.fork()\n"
        + f"if child == 0:\n    {FORKS[case]}\n"
        + "assert os.waitpid(child, 0)[1] == 0\n"
        + "assert db.stats().live_arrays == 3 and db.to_numpy(kept[0]).sum() == 36\n",
        timeout=60,
        options=(),
    )


def test_a_fork_while_other_threads_exchange():
    isolated.expect_clean(
        PRELUDE
        + "stop = False\n"
        + "def work():\n"
        + "    while not stop:\n"
        + "        owned = lab.api_export(TABLE, db.asarray(np.arange(9.0)))\n"
        + "        owned.release_on_thread()\n"
        + "threads = [threading.Thread(target=work) for _ in range(3)]\n"
        + "[t.start() for t in threads]\n"
        + "for _ in range(20):\n"
        + "    child = os.fork()\n"
        + "    if child == 0:\n"
        + "        db.asarray(np.arange(9.0), copy=True); db.collect(); os._exit(0)\n"
        + "    assert os.waitpid(child, 0)[1] == 0\n"
        + "stop = True\n"
        + "[t.join() for t in threads]\n",
        timeout=120,
        options=(
            "-W",
            "ignore:This process:DeprecationWarning",
        ),  # fork beside threads, from 3.12 on
    )


def test_worker_processes_exchange():
    script = (
        "import multiprocessing as mp, numpy as np, dlpack_bridge as db\n"
        "def work(array):\n"
        "    return db.asarray(db.to_numpy(array) * 2)\n"
        "if __name__ == '__main__':\n"
        "    with mp.get_context('fork').Pool(2) as pool:\n"
        "        results = pool.map(work, [db.asarray(np.arange(3.0) + n) for n in range(8)])\n"
        "        pool.close(); pool.join()\n"
        "    print([db.to_numpy(r).tolist() for r in results] == [[2 * n, 2 * n + 2, 2 * n + 4] for n in range(8)])\n"
    )
    assert isolated.expect_clean(script, timeout=120, options=()) == "True\n"


def test_an_unhandled_refusal_ends_with_its_message_and_not_with_a_crash():
    done = isolated.interpreter(
        "import numpy as np, dlpack_bridge as db\nkept = db.asarray(np.arange(3.0))\n"
        "db.asarray(np.array([None]))"
    )
    assert done.returncode == 1
    assert "ExchangeError" in done.stderr and "object" in done.stderr
    assert done.stderr.rstrip().splitlines()[0].startswith("Traceback")
