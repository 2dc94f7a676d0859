"""Pictures of cubes: true colour, error maps, embeddings, each as PNG bytes."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from openeo_nc.cubes.embedding_picture import rgb

if TYPE_CHECKING:
    import xarray as xr

Pixels = npt.NDArray[np.uint8]
Values = npt.NDArray[np.floating[Any]]

_GAMMA = 0.75
# Anchors of a map from dark to light whose lightness rises evenly, readable without colour.
_HEAT = np.array(
    [(0, 0, 4), (40, 17, 89), (114, 31, 129), (183, 55, 121), (241, 96, 93), (254, 176, 120), (252, 253, 191)],
    dtype=np.float64,
)  # fmt: skip


def png(pixels: Pixels) -> bytes:
    """A PNG file of `(y, x, 3)` RGB or `(y, x, 4)` RGBA uint8; lossless, so errors show as they are."""
    height, width, channels = pixels.shape
    rows = pixels.reshape(height, width * channels)
    filtered = np.concatenate([rows[:1], rows[1:] - rows[:-1]])  # PNG's filter 2, modulo 256
    raw = np.concatenate([np.full((height, 1), 2, np.uint8), filtered], axis=1).tobytes()
    header = struct.pack(">IIBBBBB", width, height, 8, {3: 2, 4: 6}[channels], 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(raw, 9)), (b"IEND", b""))
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def data_uri(pixels: Pixels) -> str:
    """The PNG as a `data:` address, so that a page needs no second file."""
    return "data:image/png;base64," + base64.b64encode(png(pixels)).decode("ascii")


def _with_alpha(colours: Values, valid: npt.NDArray[np.bool_]) -> Pixels:
    """`(3, y, x)` 0..1 to RGBA, transparent where there is no data."""
    scaled = np.rint(np.clip(np.nan_to_num(colours), 0, 1) * 255)
    alpha = np.where(valid, 255, 0)[None]
    return np.ascontiguousarray(np.concatenate([scaled, alpha]).transpose(1, 2, 0).astype(np.uint8))


def stretch(dates: Values) -> tuple[float, float]:
    """Lower and upper limit of `(t, 3, y, x)`, one for all channels so that colours stay natural.

    Clouds would push the upper limit up, so the date with the smallest one counts.
    """
    low, high = np.nanpercentile(dates, (0.5, 99.5), axis=(2, 3)).astype(float)
    floor = float(np.nanmin(low))
    return floor, max(float(np.nanmin(high, axis=0).max()), floor + 1e-6)


def true_colour(rgb: Values, limits: tuple[float, float]) -> Pixels:
    """`(3, y, x)` values to RGBA within the limits of `stretch`."""
    low, high = limits
    return _with_alpha(
        np.clip((rgb - low) / (high - low), 0, 1) ** _GAMMA,
        np.asarray(np.isfinite(rgb).all(axis=0)),
    )


def heat(share: Values) -> Values:
    """Values 0..1 of any shape to colours 0..1, `(3, ...)`."""
    position = np.clip(np.nan_to_num(share), 0, 1) * (len(_HEAT) - 1)
    anchors = np.arange(len(_HEAT))
    return np.stack([np.interp(position, anchors, _HEAT[:, c]) for c in range(3)]) / 255


def error_map(original: Values, reconstruction: Values, limit: float) -> Pixels:
    """Root mean square error over bands of `(bands, y, x)`, black is none, light is `limit`."""
    error = np.sqrt(np.mean((original - reconstruction) ** 2, axis=0))
    return _with_alpha(heat(error / limit), np.isfinite(error))


def principal_colours(embedding: xr.DataArray) -> list[Pixels]:
    """The picture of an embedding cube as RGBA, one a date; see `cubes.embedding_picture`."""
    return [_with_alpha(date / 255, (date > 0).all(axis=0)) for date in rgb(embedding).values]


def shrink(pixels: Pixels, longest: int) -> Pixels:
    """At most `longest` pixels wide and high, by means over blocks."""
    step = -(-max(pixels.shape[:2]) // longest)
    height, width = (n // step * step for n in pixels.shape[:2])
    blocks = pixels[:height, :width].reshape(height // step, step, width // step, step, -1)
    return np.ascontiguousarray(np.rint(blocks.mean(axis=(1, 3))).astype(np.uint8))
