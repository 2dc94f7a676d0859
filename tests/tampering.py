"""Workers that are slow, or fail, as tests tell them to."""

from __future__ import annotations

import os
import resource
import signal
import sys
import time

import cloudpickle
import numpy as np
from distributed import WorkerPlugin, get_worker

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers do not find this module


class Tampering(WorkerPlugin):
    """Has readers on all workers, and on those that replace them, sleep, or end at a file.

    `poison_codec` and `broken_codec` have the codec end the worker, or raise, at a date; `full` lets
    no worker write files of more than some bytes.
    """

    def __init__(self, seconds=0.0, poison=None, poison_codec=None, broken_codec=None, full=False):
        self.name, self.seconds, self.poison, self.full = "tampering", seconds, poison, full
        self.poison_codec, self.broken_codec = poison_codec, broken_codec

    def setup(self, worker):
        from openeo_nc.cubes import coding, reader

        real_read, real_encode = reader.BandReader._numbers, coding.Coding.encode

        def read(this, *where):
            time.sleep(self.seconds)
            asset = this.source.asset
            if self.poison is not None and (asset.item, asset.key) == self.poison:
                os.kill(os.getpid(), signal.SIGKILL)
            return real_read(this, *where)

        def encode(this, pixels, **more):
            date = get_worker().get_current_task()[1]
            if np.isfinite(pixels).any() and np.ptp(pixels):
                if date == self.poison_codec:
                    os.kill(os.getpid(), signal.SIGKILL)
                if date == self.broken_codec:
                    raise ZeroDivisionError("the codec divided by zero.")
            return real_encode(this, pixels, **more)

        if self.full:
            resource.setrlimit(resource.RLIMIT_FSIZE, (200, resource.RLIM_INFINITY))
        self.undo = lambda: (
            setattr(reader.BandReader, "_numbers", real_read),
            setattr(coding.Coding, "encode", real_encode),
        )
        reader.BandReader._numbers, coding.Coding.encode = read, encode

    def teardown(self, worker):
        self.undo()
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
