"""The Dask tasks of coding: one whole tile each, and never copied into another task.

        source (t, bands, y, x)  --encode-->  payloads (t, tile_y, tile_x)  --decode-->  pixels
                                 --analyse->  latents  --pack-->  payloads
                                                       --embed->  embedding (t, embedding, y, x)

Dask fuses a task into the only task that needs its result. Arrays are optimised one collection at
a time, so a store that writes payloads and a GeoTIFF that shows the pixels decoded from them
would each get a fused copy of `encode`, and every tile would be encoded twice. `TileTask` says
that it is not to be fused; both then name one key, and one `dask.compute` runs it once.

Names are tokens of what goes in, so that compressing one cube twice is one computation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import numpy.typing as npt
from dask._task_spec import Task, TaskRef
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

from openeo_nc.codecs.base import Latents
from openeo_nc.cubes.scaling import from_card
from openeo_nc.errors import EmbeddingChangedError
from openeo_nc.inference.cache import get_codec
from openeo_nc.inference.placement import placed

if TYPE_CHECKING:
    from openeo_nc.codecs.base import Basis
    from openeo_nc.inference.spec import CodecSpec

Array = npt.NDArray[Any]
LATTICE_TOLERANCE = 1e-3
"""Largest deviation from a lattice point, in steps, that float32 rounding can explain."""


class TileTask(Task):
    """A task that Dask's optimiser leaves whole, so that its result is computed once."""

    __slots__ = ()

    @property
    def block_fusion(self) -> bool:
        """Tells `fuse_linear_task_spec` to keep this task as it is."""
        return True


@dataclass(frozen=True, kw_only=True)
class Form:
    """What decoded tiles are turned into."""

    bands: int
    """Bands of a tile."""
    tile: int
    """Side of a tile in pixels."""
    dtype: np.dtype[Any]
    """dtype of the raster cube."""
    ratio: float
    """Card number = cube number * ratio."""
    nodata: float | None
    """No data of an integer cube."""

    def restore(self, numbers: Array) -> Array:
        """Card numbers as the cube's."""
        return from_card(numbers, self.ratio, self.dtype, self.nodata)


@dataclass(frozen=True, kw_only=True)
class Lattice:
    """How an embedding's values stand for latents."""

    stride: int
    """Pixels of a patch side."""
    step: float
    """Value = latent * step."""
    quality: float
    """Quality that the step belongs to."""
    dtype: np.dtype[Any]
    """dtype that the codec decodes to."""
    nodata: float | None
    """No data of that dtype if it is an integer one."""


# --- layers ------------------------------------------------------------------------------------


def encode_tiles(
    source: da.Array,
    spec: CodecSpec,
    *,
    quality: float,
    nodata: float | None,
    basis: Basis = "tile",
) -> da.Array:
    """Payloads `(t, tile_y, tile_x)` object of a source with one tile a chunk, in card numbers."""
    return _per_tile("encode", _encode, source, (spec, quality, nodata, basis))


def analyse_tiles(
    source: da.Array, spec: CodecSpec, *, quality: float, nodata: float | None, basis: Basis
) -> da.Array:
    """`Latents` objects `(t, tile_y, tile_x)` of a source with one tile a chunk."""
    return _per_tile("analyse", _analyse, source, (spec, quality, nodata, basis))


def pack_tiles(latents: da.Array, spec: CodecSpec) -> da.Array:
    """Payloads `(t, tile_y, tile_x)` object of latents."""
    return _per_tile("pack", _pack, latents, (spec,))


def embed_tiles(
    latents: da.Array, *, channels: int, stride: int, side: int, step: float
) -> da.Array:
    """Embedding `(t, embedding, y, x)` float32 of latents; `side` patches a tile side."""
    return _per_pixel(
        "embed", _embed, [latents], (stride, step), np.dtype(np.float32), channels, side
    )


def decode_tiles(blocks: da.Array, spec: CodecSpec, form: Form) -> da.Array:
    """Pixels `(t, bands, y, x)` of payloads, in the numbers and dtype of the cube."""
    return _per_pixel("decode", _decode, [blocks], (spec, form), form.dtype, form.bands, form.tile)


def decode_compared(
    blocks: da.Array, given: da.Array, spec: CodecSpec, form: Form, lattice: Lattice
) -> da.Array:
    """As `decode_tiles`, if the embedding `given` is still that of the payloads; its NaN is no data."""
    arguments = (spec, form, lattice)
    sources = [blocks, given]
    return _per_pixel(
        "redecode", _decode_compared, sources, arguments, form.dtype, form.bands, form.tile
    )


def synthesise_tiles(given: da.Array, spec: CodecSpec, form: Form, lattice: Lattice) -> da.Array:
    """Pixels of an embedding that comes without payloads, one tile a chunk."""
    arguments = (spec, form, lattice)
    return _per_pixel(
        "synthesise", _synthesise, [given], arguments, form.dtype, form.bands, form.tile
    )


# --- what the tasks do ---------------------------------------------------------------------------


def _encode(
    block: Array, spec: CodecSpec, quality: float, nodata: float | None, basis: Basis
) -> Array:
    return _cell(get_codec(spec).encode(block[0], quality, nodata=nodata, basis=basis))


def _analyse(
    block: Array, spec: CodecSpec, quality: float, nodata: float | None, basis: Basis
) -> Array:
    return _cell(get_codec(spec).analyse(block[0], quality=quality, nodata=nodata, basis=basis))


def _pack(block: Array, spec: CodecSpec) -> Array:
    return _cell(get_codec(spec).pack(block.item()))


def _embed(block: Array, stride: int, step: float) -> Array:
    return _vectors(block.item(), stride, step)[None]


def _decode(block: Array, spec: CodecSpec, form: Form) -> Array:
    return form.restore(get_codec(spec).decode(block.item()))[None]


def _decode_compared(
    block: Array, given: Array, spec: CodecSpec, form: Form, lattice: Lattice
) -> Array:
    codec = get_codec(spec)
    latents = codec.unpack(block.item())
    vectors = _vectors(latents, lattice.stride, lattice.step)
    gone = np.isnan(given[0])
    same = gone | (np.abs(given[0] - vectors) <= LATTICE_TOLERANCE * lattice.step)
    if not np.all(same) or np.any(gone.any(axis=0) != gone.all(axis=0)):
        raise EmbeddingChangedError(
            "The embedding's values are not those that were encoded: a process changed them. "
            "Decode before arithmetic, or use the embedding as it is."
        )
    pixels = form.restore(codec.synthesise(latents))
    masked = (gone & ~np.isnan(vectors)).all(axis=0)
    return _blank(pixels, masked, lattice.stride, form.nodata)[None]


def _synthesise(given: Array, spec: CodecSpec, form: Form, lattice: Lattice) -> Array:
    codec = get_codec(spec)
    if not math.isclose(codec.embedding_step(lattice.quality), lattice.step, rel_tol=1e-6):
        raise EmbeddingChangedError(
            f"The embedding says step {lattice.step:g} and quality {lattice.quality:g}, which has "
            f"the step {codec.embedding_step(lattice.quality):g}: its attributes were changed."
        )
    gone = np.isnan(given[0])
    values = np.where(gone, 0, given[0])
    y = np.rint(values / np.float64(lattice.step))
    patches = gone.all(axis=0)
    if (
        np.any(gone.any(axis=0) != patches)
        or np.any(np.abs(values - y * lattice.step) > LATTICE_TOLERANCE * lattice.step)
        or not np.all(np.abs(y) <= np.iinfo(np.int32).max)
    ):
        raise EmbeddingChangedError(
            f"The embedding has values off the lattice of its quantiser (step {lattice.step:g}): "
            "a process changed them. Decode before arithmetic."
        )
    shape = (form.bands, form.tile, form.tile)
    floats = np.issubdtype(lattice.dtype, np.floating)
    if patches.any() and not floats and lattice.nodata is None:
        raise EmbeddingChangedError(
            f"The embedding has patches without data, but its pixels are {lattice.dtype.name} "
            "without a nodata value: a process masked them. Mask after decoding."
        )
    latents = Latents(
        y=y.astype(np.int32),
        quality=lattice.quality,
        shape=shape,
        dtype=lattice.dtype,
        basis="card",
        mask=_spread(patches, lattice.stride, shape) if patches.any() else None,
        nodata=lattice.nodata,
    )
    return form.restore(codec.synthesise(latents))[None]


def _vectors(latents: Latents, stride: int, step: float) -> Array:
    """`(channels, y, x)` float32: step * y, NaN in patches without a valid pixel."""
    vectors = (latents.y * np.float64(step)).astype(np.float32)
    if latents.mask is not None:
        bands, height, width = latents.mask.shape
        patches = latents.mask.reshape(bands, height // stride, stride, width // stride, stride)
        vectors[:, patches.all(axis=(0, 2, 4))] = np.nan
    return vectors


def _spread(patches: Array, stride: int, shape: tuple[int, int, int]) -> npt.NDArray[np.bool_]:
    """A flag a patch as a mask `(bands, y, x)`."""
    return np.broadcast_to(np.kron(patches, np.ones((stride, stride), bool)) > 0, shape).copy()


def _blank(pixels: Array, patches: Array, stride: int, nodata: float | None) -> Array:
    """Pixels with no data where a patch is flagged; integers without a nodata value stay."""
    if patches.any() and (nodata is not None or np.issubdtype(pixels.dtype, np.floating)):
        bands, height, width = pixels.shape
        flags = _spread(patches, stride, (bands, height, width))
        return np.where(flags, np.nan if nodata is None else nodata, pixels).astype(pixels.dtype)
    return pixels


def _cell(value: object) -> Array:
    cell = np.empty((1, 1, 1), object)
    cell[0, 0, 0] = value
    return cell


# --- graph ---------------------------------------------------------------------------------------


def _per_tile(
    label: str, function: Callable[..., Array], source: da.Array, arguments: tuple[Any, ...]
) -> da.Array:
    """An object array with one cell a tile, from pixels or from another such array."""
    counts = tuple(n for axis, n in enumerate(source.numblocks) if source.ndim == 3 or axis != 1)
    chunks = tuple((1,) * n for n in counts)
    return _layer(label, function, [source], arguments, chunks, np.dtype(object))


def _per_pixel(
    label: str, function: Callable[..., Array], sources: Sequence[da.Array],
    arguments: tuple[Any, ...], dtype: np.dtype[Any], channels: int, side: int,
) -> da.Array:  # fmt: skip
    """An array `(t, channels, y, x)` with one tile a chunk."""
    counts = sources[0].numblocks
    dates, rows, columns = counts[0], counts[-2], counts[-1]
    chunks = ((1,) * dates, (channels,), (side,) * rows, (side,) * columns)
    return _layer(label, function, sources, arguments, chunks, dtype)


def _layer(
    label: str, function: Callable[..., Array], sources: Sequence[da.Array],
    arguments: tuple[Any, ...], chunks: tuple[tuple[int, ...], ...], dtype: np.dtype[Any],
) -> da.Array:  # fmt: skip
    name = f"{label}-{tokenize(label, [s.name for s in sources], arguments, chunks, str(dtype))}"
    graph: dict[Any, Task] = {}
    for t in range(len(chunks[0])):
        for j in range(len(chunks[-2])):
            for i in range(len(chunks[-1])):
                keys = [(s.name, t, *(0,) * (s.ndim - 3), j, i) for s in sources]
                key = (name, t, *(0,) * (len(chunks) - 3), j, i)
                graph[key] = TileTask(key, function, *map(TaskRef, keys), *arguments)
    with placed():
        layers = HighLevelGraph.from_collections(name, graph, dependencies=list[Any](sources))
    return da.Array(layers, name, chunks, dtype=dtype)
