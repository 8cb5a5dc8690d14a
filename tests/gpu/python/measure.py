"""Costs on this machine: handshakes, whole hand-overs, copies on the device and between host and device,
beside what torch and CuPy take for the same. Prints a table and writes build/gpu/measured.json.

Rounds are interleaved, so that what disturbs one contender disturbs all; the figure is the minimum of
ROUNDS. Host times are what a call takes before it returns; the device is idle before each round.
"""

import gc
import importlib.util
import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("CUDA_DEVICE_MAX_CONNECTIONS", "32")
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import gpulab

ROUNDS = 21
CALLS = 300  # of a short call in one round
MIB = 1 << 20


def interleaved(contenders, run):
    """The best of ROUNDS for each contender, in turns."""
    for contender in contenders.values():
        run(contender)
    best = dict.fromkeys(contenders, float("inf"))
    gc.disable()
    for _ in range(ROUNDS):
        for name, contender in contenders.items():
            best[name] = min(best[name], run(contender))
    gc.enable()
    return best


def host_time(call):
    """Seconds of a call on the host; the device is done before and after."""
    import torch

    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(CALLS):
        call()
    took = (time.perf_counter() - start) / CALLS
    torch.cuda.synchronize()
    return took


def until_done(call):
    """Seconds until the device has done what a call enqueued."""
    import torch

    torch.cuda.synchronize()
    start = time.perf_counter()
    call()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def device_time(call):
    """Seconds between two events around a call on torch's current stream."""
    import torch

    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    begin.record()
    call()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1e3


# ---- what is measured ----------------------------------------------------------------------------


def handshakes():
    """An array changes streams, or stays on its own; nothing is copied."""
    import torch

    import dlpack_bridge as db

    p, c = torch.cuda.Stream(), torch.cuda.Stream()
    with torch.cuda.stream(p):
        x = torch.ones(1000, device="cuda")
    event = torch.cuda.Event()

    def torch_event():
        event.record(p)
        c.wait_event(event)

    contenders = {
        "db.to_torch(x, stream=), other stream": lambda: db.to_torch(x, stream=c),
        "db.to_torch(x, stream=), same stream": lambda: db.to_torch(x, stream=p),
        "db.asarray(x, stream=), other stream": lambda: db.asarray(x, stream=c),
        "db.asarray(x, stream=), same stream": lambda: db.asarray(x, stream=p),
        "db.asarray(x, stream=-1)": lambda: db.asarray(x, stream=-1),
        "torch: event.record, wait_event": torch_event,
        "torch: c.wait_stream(p)": lambda: c.wait_stream(p),
        "torch: x.__dlpack__(stream=c)": lambda: x.__dlpack__(stream=c.cuda_stream),
    }
    if importlib.util.find_spec("cupy"):
        import cupy

        with cupy.cuda.ExternalStream(p.cuda_stream):
            y = cupy.ones(1000, dtype=cupy.float32)
            contenders["db.to_torch(CuPy array), other stream"] = lambda: db.to_torch(y, stream=c)
            contenders["CuPy: y.__dlpack__(stream=c)"] = lambda: y.__dlpack__(stream=c.cuda_stream)
            with torch.cuda.stream(p):
                return interleaved(contenders, host_time)
    with torch.cuda.stream(p):
        return interleaved(contenders, host_time)


def hand_overs():
    """torch to CuPy and back, objects made and dropped, on two streams."""
    if importlib.util.find_spec("cupy") is None:
        return {}
    import cupy
    import torch

    import dlpack_bridge as db

    p, c = torch.cuda.Stream(), torch.cuda.Stream()
    with torch.cuda.stream(p):
        x = torch.ones(1000, device="cuda")
    y = cupy.ones(1000, dtype=cupy.float32)
    with torch.cuda.stream(p), cupy.cuda.ExternalStream(c.cuda_stream):
        return interleaved(
            {
                "torch -> Array -> CuPy": lambda: cupy.from_dlpack(db.asarray(x)),
                "torch -> CuPy, direct": lambda: cupy.from_dlpack(x),
                "CuPy -> Array -> torch": lambda: torch.from_dlpack(db.asarray(y)),
                "CuPy -> torch, db.to_torch": lambda: db.to_torch(y),
                "CuPy -> torch, direct": lambda: torch.from_dlpack(y),
            },
            host_time,
        )


def gathers():
    """Strided copies on the device, in GB/s read and written."""
    import torch

    import dlpack_bridge as db

    result = {}
    base = torch.ones(64 * MIB, device="cuda").reshape(8192, 8192)
    half = torch.ones(64 * MIB, device="cuda", dtype=torch.bfloat16).reshape(8192, 8192)
    views = {
        "float32 contiguous": base,
        "float32 transposed": base.t(),
        "float32 every second column": base[:, ::2],
        "float32 inner rows": base[100:-100, 100:-100],
        "bfloat16 transposed": half.t(),
        "float32 axes (0, 2, 1)": base.reshape(256, 256, 1024).permute(0, 2, 1),
    }
    for name, view in views.items():
        moved = 2 * view.numel() * view.element_size()
        best = interleaved(
            {
                f"{name}: hub": lambda view=view: db.to_torch(view, copy=True),
                f"{name}: torch": lambda view=view: view.clone(
                    memory_format=torch.contiguous_format
                ),
            },
            device_time,
        )
        result.update({key: moved / seconds / 1e9 for key, seconds in best.items()})
    moved = base.numel() * 6
    best = interleaved(
        {
            "float32 to bfloat16: hub": lambda: db.to_torch(base, dtype=torch.bfloat16),
            "float32 to bfloat16: torch": lambda: base.to(torch.bfloat16),
        },
        device_time,
    )
    result.update({key: moved / seconds / 1e9 for key, seconds in best.items()})
    return result


def transfers():
    """Between host and device, in GB/s of payload."""
    import torch

    import dlpack_bridge as db

    result = {}
    for size, label in ((256 * MIB, "256 MiB"), (MIB, "1 MiB")):
        device = torch.ones(size // 4, device="cuda")
        pageable = torch.ones(size // 4)
        pinned = torch.ones(size // 4).pin_memory()
        best = interleaved(
            {
                f"{label} to the host, pageable: hub": lambda d=device: db.to_torch(
                    d, device="cpu"
                ),
                f"{label} to the host, pageable: torch": lambda d=device: d.to("cpu"),
                f"{label} to the host, pinned: hub": lambda d=device: db.asarray(
                    d, device="cuda_host"
                ),
                f"{label} to the host, pinned: torch": lambda d=device, h=pinned: h.copy_(d),
                f"{label} to the device, pageable: hub": lambda h=pageable: db.to_torch(
                    h, device="cuda"
                ),
                f"{label} to the device, pageable: torch": lambda h=pageable: h.to("cuda"),
                f"{label} to the device, pinned: hub": lambda h=pinned: db.to_torch(
                    h, device="cuda"
                ),
                f"{label} to the device, pinned: torch": lambda h=pinned: h.to(
                    "cuda", non_blocking=True
                ),
            },
            until_done,
        )
        result.update({key: size / seconds / 1e9 for key, seconds in best.items()})
    return result


PARTS = [
    ("Handshakes, host time", "us", handshakes, 1e6),
    ("Whole hand-overs, host time", "us", hand_overs, 1e6),
    ("Copies on the device", "GB/s", gathers, 1.0),
    ("Copies between host and device", "GB/s", transfers, 1.0),
]


def main():
    if (why := gpulab.why_no_gpu()) is not None:
        print(f"skipped, needs a GPU: {why}")
        return 0
    import torch

    import dlpack_bridge as db

    measured = {"versions": gpulab.versions(), "rounds": ROUNDS, "parts": {}}
    print(", ".join(f"{key} {value}" for key, value in measured["versions"].items()))
    for title, unit, measure, scale in PARTS:
        figures = {name: value * scale for name, value in measure().items()}
        measured["parts"][title] = {"unit": unit, "figures": figures}
        print(f"\n{title} ({unit})")
        for name, value in figures.items():
            print(f"  {name:<46}{value:>10.2f}")
        db.collect(wait=True)
        torch.cuda.empty_cache()
    target = Path(os.environ.get("DLPACK_BRIDGE_GPU_MEASURED", "measured.json"))
    target.write_text(json.dumps(measured, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
