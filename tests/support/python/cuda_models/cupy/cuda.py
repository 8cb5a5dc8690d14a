"""cupy.cuda: devices and streams (cupy/cuda/stream.pyx, cupy/cuda/device.pyx)."""

import contextlib
import threading

import fake_driver as driver

_local = threading.local()  # the current stream of each device on this thread


class Device:
    def __init__(self, device=None):
        self.id = driver.current_device() if device is None else int(device)
        self._entered = contextlib.ExitStack()

    def __enter__(self):
        self._entered.enter_context(driver.on_device(self.id))
        return self

    def __exit__(self, *error):
        self._entered.close()


class BaseStream:
    def __init__(self, ptr, device_id):
        self.ptr, self.device_id = ptr, device_id
        self._before = []

    def __cuda_stream__(self):
        return (0, self.ptr)

    def use(self):
        vars(_local)[str(driver.current_device())] = self
        return self

    def __enter__(self):
        self._before.append(get_current_stream())
        return self.use()

    def __exit__(self, *error):
        self._before.pop().use()

    def synchronize(self):
        driver.synchronize_stream(self.device_id, self.ptr)


class Stream(BaseStream):
    """A blocking stream unless told otherwise; destroyed with the object."""

    def __init__(self, null=False, non_blocking=False, ptds=False):
        device = driver.current_device()
        self._owned = not null and not ptds
        handle = driver.create_stream(device, non_blocking) if self._owned else 2 if ptds else 0
        super().__init__(handle, device)

    def __del__(self):
        if self._owned:
            driver.destroy_stream(self.device_id, self.ptr)


class ExternalStream(BaseStream):
    def __init__(self, ptr, device_id=-1):
        super().__init__(ptr, driver.current_device() if device_id < 0 else device_id)


def get_current_stream(device_id=-1):
    device = driver.current_device() if device_id < 0 else device_id
    return vars(_local).get(str(device)) or BaseStream(0, device)
