"""The Dask tasks of coding: one whole tile each, and never copied into another task.

        source (t, bands, y, x)  --encode-->  payloads (t, tile_y, tile_x)  --decode-->  pixels
                                 --analyse->  latents  --pack-->  payloads
                                                       --embed->  embedding (t, embedding, y, x)

How tasks are kept from being copied is in `tile_graph`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import numpy.typing as npt
from dask._task_spec import Task, TaskRef
from dask.base import tokenize

from openeo_nc.codecs.base import Latents, with_latents
from openeo_nc.codecs.guard import UNKNOWN
from openeo_nc.cubes import on_error
from openeo_nc.cubes.coding import Coding, Form, decode
from openeo_nc.cubes.tile_graph import TileTask, array, cell, of_tile, per_pixel, per_tile
from openeo_nc.errors import EmbeddingChangedError, OpenEONCError
from openeo_nc.inference.cache import get_codec
from openeo_nc.inference.placement import on_device

if TYPE_CHECKING:
    from openeo_nc.codecs.base import Basis
    from openeo_nc.inference.spec import CodecSpec

logger = logging.getLogger(__name__)

Array = npt.NDArray[Any]
LATTICE_TOLERANCE = 1e-3
"""Largest deviation from a lattice point, in steps, that float32 rounding can explain."""


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


def encode_tiles(source: da.Array, coding: Coding, labels: tuple[str, ...] = ()) -> da.Array:
    """Payloads `(t, tile_y, tile_x)` object of a source with one tile a chunk, in card numbers.

    `labels` are those of its dates, for telling of a tile that cannot be encoded.
    """
    encode = on_device(_encode, coding.spec)
    return per_tile("encode", encode, [source], (coding, *_told(labels)))


def encode_windows(
    source: da.Array, coding: Coding, windows: Sequence[tuple[int, ...]],
    labels: tuple[str, ...] = (),
) -> da.Array:  # fmt: skip
    """As `encode_tiles`, one task for the dates of a window of one tile; see `date_windows`."""
    topic, labels = _told(labels)
    name = f"together-{tokenize(source.name, coding, windows, topic, labels)}"
    rows, columns = source.numblocks[2:]
    encode = on_device(_encode_window, coding.spec)
    graph: dict[Any, Task] = {}
    places = {}
    for w, j, i in np.ndindex(len(windows), rows, columns):
        key, keys = (name, w, j, i), [(source.name, t, 0, j, i) for t in windows[w]]
        tile = (windows[w][0], j, i)
        names = tuple(labels[t] if labels else f"number {t}" for t in windows[w])
        of_window = (tile, encode, coding, topic, names, *map(TaskRef, keys))
        graph[key] = TileTask(key, of_tile, *of_window)
        places.update({(t, j, i): (key, position) for position, t in enumerate(windows[w])})
    cells = f"date-{name}"
    for place, (key, position) in places.items():
        of_date = (cells, *place)
        graph[of_date] = TileTask(of_date, _date, TaskRef(key), position)
    chunks = tuple((1,) * n for n in (source.numblocks[0], rows, columns))
    return array(cells, graph, [source], chunks, np.dtype(object))


def shift_tiles(source: da.Array, blocks: da.Array, coding: Coding) -> da.Array:
    """The guard's `Shift` of each tile `(t, tile_y, tile_x)` object, given what it was coded as."""
    return per_tile("shift", _shift, [source, blocks], (coding, on_error.topic()))


def bound_flagged(
    source: da.Array, blocks: da.Array, shifts: da.Array, coding: Coding,
    labels: tuple[str, ...] = (),
) -> da.Array:  # fmt: skip
    """The payloads, those of tiles that the guard flags or cannot judge within their bound."""
    bound = on_device(_bound_flagged, coding.spec)
    return per_tile("guard", bound, [source, blocks, shifts], (coding, *_told(labels)))


def _told(labels: tuple[str, ...]) -> tuple[str | None, tuple[str, ...]]:
    """Whom to tell of what fails, and what dates are then called; a graph without has no labels."""
    topic = on_error.topic()
    return topic, labels if topic is not None else ()


def analyse_tiles(
    source: da.Array, spec: CodecSpec, *, quality: float, nodata: float | None, basis: Basis
) -> da.Array:
    """`Latents` objects `(t, tile_y, tile_x)` of a source with one tile a chunk."""
    analyse = on_device(_analyse, spec)
    arguments = (spec, quality, nodata, basis, on_error.topic())
    return per_tile("analyse", analyse, [source], arguments)


def pack_tiles(latents: da.Array, spec: CodecSpec) -> da.Array:
    """Payloads `(t, tile_y, tile_x)` object of latents."""
    return per_tile("pack", on_device(_pack, spec), [latents], (spec,))


def embed_tiles(
    latents: da.Array, *, channels: int, stride: int, side: int, step: float
) -> da.Array:
    """Embedding `(t, embedding, y, x)` float32 of latents; `side` patches a tile side."""
    return per_pixel(
        "embed", _embed, [latents], (stride, step), np.dtype(np.float32), channels, side
    )


def decode_tiles(
    blocks: da.Array, spec: CodecSpec, form: Form, others: tuple[CodecSpec, ...] = ()
) -> da.Array:
    """Pixels `(t, bands, y, x)` of payloads, in the numbers and dtype of the cube."""
    arguments, decode_ = (spec, form, others), on_device(_decode, spec)
    return per_pixel("decode", decode_, [blocks], arguments, form.dtype, form.bands, form.tile)


def decode_compared(
    blocks: da.Array, given: da.Array, spec: CodecSpec, form: Form, lattice: Lattice
) -> da.Array:
    """As `decode_tiles`, if the embedding `given` is still that of the payloads; its NaN is no data."""
    arguments = (spec, form, lattice)
    decode_ = on_device(_decode_compared, spec)
    return per_pixel(
        "redecode", decode_, [blocks, given], arguments, form.dtype, form.bands, form.tile
    )


def synthesise_tiles(given: da.Array, spec: CodecSpec, form: Form, lattice: Lattice) -> da.Array:
    """Pixels of an embedding that comes without payloads, one tile a chunk."""
    arguments, synthesise = (spec, form, lattice), on_device(_synthesise, spec)
    return per_pixel(
        "synthesise", synthesise, [given], arguments, form.dtype, form.bands, form.tile
    )


# --- what the tasks do ---------------------------------------------------------------------------


def _encode(block: Array, coding: Coding, topic: str | None, labels: tuple[str, ...]) -> Array:
    return cell(forgiving(coding.encode, block[0], coding.nodata, topic, labels))


def _shift(block: Array, payload: Array, coding: Coding, topic: str | None) -> Array:
    try:
        return cell(coding.shift(block[0], payload.item()))
    except OpenEONCError:  # a tile that cannot be encoded either, which that task tells
        if topic is None:
            raise
        return cell(UNKNOWN)


def _bound_flagged(
    block: Array, payload: Array, shift: Array, coding: Coding, topic: str | None,
    labels: tuple[str, ...],
) -> Array:  # fmt: skip
    if shift.item().trusted:
        return payload
    encode = partial(coding.encode, flagged=True)
    return cell(forgiving(encode, block[0], coding.nodata, topic, labels))


def _encode_window(
    coding: Coding, topic: str | None, labels: tuple[str, ...], *blocks: Array
) -> list[bytes]:
    dates = np.stack([block[0] for block in blocks])
    encode = coding.encode_dates
    return forgiving_dates(lambda xs: encode(list(xs)), dates, coding.nodata, topic, labels)


def forgiving(
    encode: Callable[[Array], Any], pixels: Array, nodata: float | None, topic: str | None,
    labels: Sequence[str] = (), number: int | None = None,
) -> Any:  # fmt: skip
    """What a tile encodes to; one that fails is no data if there is whom to tell.

    `labels` and `number` are those of `on_error.this_tile`.
    """
    blank = _blank_of(pixels, nodata)
    if topic is None or blank is None:
        return encode(pixels)
    try:
        on_error.check()
        return encode(pixels)
    except Exception as error:  # noqa: BLE001  whatever a codec raises, it is told
        tile = on_error.this_tile(labels, number)
        on_error.tell(topic, f"{tile} cannot be encoded and is no data: {error}")
    return encode(np.full_like(pixels, blank))


def forgiving_dates(
    encode: Callable[[Array], list[Any]], dates: Array, nodata: float | None, topic: str | None,
    labels: Sequence[str] | None = None,
) -> list[Any]:  # fmt: skip
    """What dates of a tile encode to, one result a date; if they fail together, each goes alone."""
    if topic is None or _blank_of(dates, nodata) is None:
        return encode(dates)
    try:
        on_error.check()
        return encode(dates)
    except Exception as error:  # noqa: BLE001  told of the dates that fail alone
        if len(dates) > 1:
            logger.warning("Dates of a tile cannot be encoded together: %s", error)
    if labels is None:
        labels = [f"{number} of its window" for number in range(len(dates))]
    return [
        forgiving(encode, date[None], nodata, topic, labels, number)[0]
        for number, date in enumerate(dates)
    ]


def _blank_of(pixels: Array, nodata: float | None) -> float | None:
    """The value of no data; None for integers that have none."""
    return np.nan if pixels.dtype.kind == "f" else nodata


def _date(payloads: list[bytes], position: int) -> Array:
    return cell(payloads[position])


def _analyse(
    block: Array, spec: CodecSpec, quality: float, nodata: float | None, basis: Basis,
    topic: str | None,
) -> Array:  # fmt: skip
    codec = with_latents(get_codec(spec))
    analyse = partial(codec.analyse, quality=quality, nodata=nodata, basis=basis)
    return cell(forgiving(analyse, block[0], nodata, topic))


def _pack(block: Array, spec: CodecSpec) -> Array:
    return cell(with_latents(get_codec(spec)).pack(block.item()))


def _embed(block: Array, stride: int, step: float) -> Array:
    return _vectors(block.item(), stride, step)[None]


def _decode(block: Array, spec: CodecSpec, form: Form, others: tuple[CodecSpec, ...]) -> Array:
    return form.restore(decode(block.item(), spec, others))[None]


def _decode_compared(
    block: Array, given: Array, spec: CodecSpec, form: Form, lattice: Lattice
) -> Array:
    codec = with_latents(get_codec(spec))
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
    codec = with_latents(get_codec(spec))
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
