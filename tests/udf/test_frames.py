"""Arrays keep their values and their order in memory from one end of a channel to the other."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

from openeo_nc.udf.frames import Channel, FrameError

PLAIN = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)


@pytest.fixture
def channel():
    """One that reads what it writes."""
    reading, writing = os.pipe()
    yield Channel(reading, writing)
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize(
    "array",
    [
        PLAIN,
        np.moveaxis(PLAIN, -1, 1),
        PLAIN.T,
        PLAIN[:, ::2, 1:],
        PLAIN[:, ::-1],
        np.broadcast_to(PLAIN[:1, :, :1], PLAIN[:, :, :, :].shape),
        np.float32(3).reshape(()),
        PLAIN[:0],
    ],
)
def test_an_array_arrives_as_it_is(channel, array):
    channel.send({"id": 1}, array)
    header, found = channel.receive(largest=PLAIN.nbytes)
    assert header == {"id": 1}
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)
    assert found.flags.writeable


def test_an_array_keeps_its_order_in_memory(channel):
    """Bands that lie last come as bands that lie last: nothing is put in order on the way."""
    array = np.moveaxis(PLAIN, -1, 1)
    channel.send({}, array)
    assert channel.receive()[1].strides == array.strides


@pytest.mark.parametrize("axes", [None, [0, 1], [0, 0, 1, 2], [0, 1, 2, 4], "abcd", 3])
def test_axes_that_are_none_are_not_believed(axes):
    reading, writing = os.pipe()
    text = json.dumps({"array": {"dtype": "<f4", "shape": PLAIN.shape, "axes": axes}}).encode()
    os.write(writing, len(text).to_bytes(4, "big") + text + PLAIN.tobytes())
    with pytest.raises(FrameError):
        Channel(reading, writing).receive()
    os.close(reading)
    os.close(writing)
