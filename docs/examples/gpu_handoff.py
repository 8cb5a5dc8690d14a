"""Producer and consumer on two streams of one GPU: the array changes hands without a copy, the
consumer's stream waits for the producer's, and the host waits for neither.
"""

import torch

import dlpack_bridge as db


def main():
    if not torch.cuda.is_available():
        print("needs a CUDA device")
        return
    producer, consumer = torch.cuda.Stream(), torch.cuda.Stream()

    with torch.cuda.stream(producer):
        x = torch.full((1_000_000,), 41.0, device="cuda")
        array = db.asarray(x)  # carries the order of the producer's stream

    with torch.cuda.stream(consumer):
        print(db.plan(array, "torch"))
        with db.trace() as trace:
            y = db.to_torch(array)  # this stream waits from here on; the host goes on at once
        y.add_(1.0)  # runs after the fill
    for waits, wrote in trace.records[0].waits:
        print(f"stream {waits:#x} waits for stream {wrote:#x}")
    print(f"shared: {y.data_ptr() == x.data_ptr()}")

    result = db.to_numpy(y, stream=consumer)  # host memory is complete on return
    print(f"values: {result.min()} to {result.max()}")


if __name__ == "__main__":
    main()
