"""torch's caching allocator (c10/cuda/CUDACachingAllocator.cpp) as far as streams matter."""

import cuda_lab
import device_model as model
import fake_driver as driver
import numpy as np

FOREIGN = (cuda_lab.Imported, np.ndarray)  # storages that are not the allocator's


class TorchPool(model.Pool):
    """Blocks go back to the free list of the stream they were allocated on; at once, unless
    `record_stream` has named another one: then events are recorded at the free, and the block comes
    back when they are found complete (`insert_events`, `process_events`)."""

    def __init__(self, kind):
        super().__init__(kind)
        self.recorded = 0  # calls of record_stream that had an effect
        self.waiting = []  # (block, streams of its uses, events or None during captures)

    def record_stream(self, storage, stream):
        if stream.cuda_stream == storage.block.home:
            return  # "ignore uses on the allocation stream, since those don't require any sync"
        self.recorded += 1
        storage.uses.add((stream.device_index, stream.cuda_stream))

    def take_back(self, storage):
        if not storage.uses:
            super().take_back(storage)
            return
        # needs_events_deferred_until_no_capture
        events = None if self.captures_underway() else self.record(storage.uses)
        self.waiting.append((storage.block, storage.uses, events))

    @staticmethod
    def captures_underway():
        from . import cuda

        return cuda.captures_underway > 0

    @staticmethod
    def record(streams):
        events = []
        for device, stream in streams:
            event = driver.Event(device)
            event.record(stream)
            events.append(event)
        return events

    def process_events(self):
        if self.captures_underway():
            return
        still = []
        for block, streams, events in self.waiting:
            if events is None:
                events = self.record(streams)
            if all(event.is_complete() for event in events):
                key = block.device, self.home_of(block.home), block.nbytes
                self.free[key].append(block)
            else:
                still.append((block, streams, events))
        self.waiting = still

    def allocate(self, device, nbytes, stream):
        self.process_events()
        return super().allocate(device, nbytes, stream)

    def empty(self):
        """empty_cache waits for the events first (synchronize_and_free_events)."""
        for _, _, events in self.waiting:
            for event in events or ():
                event.synchronize()
        self.process_events()
        super().empty()
