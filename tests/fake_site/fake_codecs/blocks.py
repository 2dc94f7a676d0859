"""The fake codec: patches as latents, quantised, deflated; counts its calls.

At the highest quality the step is 1, so integers come back exactly; each level below doubles it.
"""

from __future__ import annotations

import json
import os
import struct
import threading
import zlib
from collections import Counter

import numpy as np

from openeo_nc.codecs.base import LatentCodec, Latents
from openeo_nc.codecs.residual import Residual
from openeo_nc.errors import (
    BandMismatchError,
    DataTypeUnsupportedError,
    InvalidValuesError,
    PayloadError,
    PayloadModelError,
)

LOG = "FAKE_CODEC_LOG"
"""Environment variable: a file that gets one line a call, from every process."""

calls: Counter[str] = Counter()
loads: Counter[str] = Counter()
_lock = threading.Lock()


def load(card, *, device=None):
    with _lock:
        loads[card.codec_id] += 1
    return FakeCodec(card)


def _count(what):
    with _lock:
        calls[what] += 1
    if path := os.environ.get(LOG):
        with open(path, "a", encoding="utf-8") as log:
            log.write(f"{what} {os.getpid()}\n")


class FakeCodec(LatentCodec):
    def __init__(self, card):
        self.card = card

    def embedding_step(self, quality):
        return 2.0 ** (self.card.quality[1] - quality)

    def analyse(self, x, *, quality=None, nodata=None, basis="tile"):
        _count("analyse")
        if x.dtype.name not in self.card.dtypes:
            raise DataTypeUnsupportedError(f"given {x.dtype}")
        if self.card.bands is not None and len(x) != len(self.card.bands):
            raise BandMismatchError(f"given {len(x)} bands")
        quality = self.card.quality[2] if quality is None else quality
        floats = np.issubdtype(x.dtype, np.floating)
        if floats and np.isinf(x).any():
            raise InvalidValuesError("infinite values")
        gone = np.isnan(x) if floats else (x == nodata if nodata is not None else None)
        mask = gone if gone is not None and gone.any() else None
        values = x.astype(np.float64) if mask is None else np.where(mask, 0, x.astype(np.float64))
        s = self.card.stride
        bands, height, width = x.shape
        values = np.pad(values, ((0, 0), (0, -height % s), (0, -width % s)))
        _, rows, columns = values.shape
        cells = values.reshape(bands, rows // s, s, columns // s, s).transpose(0, 2, 4, 1, 3)
        y = np.rint(cells.reshape(-1, rows // s, columns // s) / self.embedding_step(quality))
        return Latents(
            y=y.astype(np.int32), quality=quality, shape=x.shape, dtype=x.dtype, basis=basis,
            mask=mask, nodata=None if floats else nodata,
        )  # fmt: skip

    def reconstruct(self, latents):
        _count("synthesise")
        s = self.card.stride
        bands, height, width = latents.shape
        rows, columns = latents.y.shape[1:]
        cells = latents.y * self.embedding_step(latents.quality)
        cells = cells.reshape(bands, s, s, rows, columns).transpose(0, 3, 1, 4, 2)
        return cells.reshape(bands, rows * s, columns * s)[:, :height, :width]

    def pack(self, latents):
        _count("pack")
        head = {
            "codec": self.card.codec_id, "quality": latents.quality, "shape": latents.shape,
            "dtype": latents.dtype.name, "basis": latents.basis, "nodata": latents.nodata,
            "y": latents.y.shape, "mask": latents.mask is not None,
        }  # fmt: skip
        body = latents.y.astype("<i4").tobytes()
        if latents.mask is not None:
            body += np.packbits(latents.mask).tobytes()
        if latents.residual is not None:
            residual = latents.residual.to_bytes(latents.mask)
            head["residual"] = len(residual)
            body += residual
        text = json.dumps(head).encode()
        return b"FAKE" + struct.pack("<I", len(text)) + text + zlib.compress(body)

    def unpack(self, payload):
        _count("unpack")
        if payload[:4] != b"FAKE":
            raise PayloadError("not a payload of the fake codec")
        (size,) = struct.unpack("<I", payload[4:8])
        head = json.loads(payload[8 : 8 + size])
        if head["codec"] != self.card.codec_id:
            raise PayloadModelError(f"payload of {head['codec']}")
        body = zlib.decompress(payload[8 + size :])
        count = int(np.prod(head["y"]))
        y = np.frombuffer(body[: 4 * count], "<i4").reshape(head["y"]).astype(np.int32)
        mask, residual = None, None
        if size := head.get("residual"):
            residual, body = body[-size:], body[:-size]
        if head["mask"]:
            bits = np.unpackbits(np.frombuffer(body[4 * count :], np.uint8))
            mask = bits[: int(np.prod(head["shape"]))].reshape(head["shape"]).astype(bool)
        shape = tuple(head["shape"])
        if residual is not None:
            residual = Residual.from_bytes(residual, shape, mask)
        return Latents(
            y=y, quality=head["quality"], shape=shape, dtype=np.dtype(head["dtype"]),
            basis=head["basis"], mask=mask, nodata=head["nodata"], residual=residual,
        )  # fmt: skip
