"""compression_quality: how far a cube is from its original, measured tile by tile (lazy).

        data ------- blocks --\
        reference -- blocks ---> measure (a task a tile) --> merge (a tree) --> document, samples
        payloads --- bytes ---/
        reference -- recode (a task a tile, codec and quality) --> curves

The tiles are those that the data were coded in, so every payload is met once and its pixels are
decoded by the task that decodes them for anyone else in the same computation. Merging in a tree
keeps the numbers of all tiles and the pictures of a few, so memory does not grow with the cube.
"""

from __future__ import annotations

import itertools
import math
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import dask.array as da
import numpy as np
import numpy.typing as npt
from dask._task_spec import Task, TaskRef
from dask.base import DaskMethodsMixin
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph

from openeo_nc.codecs import registry
from openeo_nc.cubes.dims import BANDS, T, X, Y, labels, lazy
from openeo_nc.cubes.grid import TileGrid, Window
from openeo_nc.cubes.matching import matched
from openeo_nc.cubes.metrics import check_peak
from openeo_nc.cubes.payloads import Payloads, payloads_of
from openeo_nc.cubes.quality_document import document
from openeo_nc.cubes.quality_subject import (
    Subject,
    card_of,
    integer_nodata,
    peak_of,
    subject_of,
)
from openeo_nc.cubes.quality_tile import Sample, Terms, TileQuality, measure_tile
from openeo_nc.cubes.recoding import Point, curves_of, recodings
from openeo_nc.cubes.vegetation import ndvi_bands
from openeo_nc.errors import BandMismatchError, InvalidParameterError

if TYPE_CHECKING:
    import xarray as xr

    from openeo_nc.codecs.base import CodecCard

TILE = 384
"""Side of the tiles where the data do not say in which they were coded."""
WORST = 6
"""Tiles whose pictures are kept."""
SLIVER = 1 / 8
"""Share of a tile inside the cube below which it is passed over where others are shown."""
RIVALS = ("jpeg2000", "jpegxl")
"""Classical codecs beside which a codec's curve is drawn."""
_FAN_IN = 8
Array = npt.NDArray[Any]
Place = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True, eq=False)
class Quality:
    """A report that is computed."""

    document: Mapping[str, Any]
    """The numbers, as JSON takes them."""
    samples: tuple[Sample, ...]
    """Pictures of the worst tiles, the worst first."""


class QualityReport(DaskMethodsMixin):
    """A report that is not computed yet: a Dask collection whose value is its JSON object."""

    def __init__(self, quality: Delayed) -> None:
        self.quality = quality
        """The same lazily, with the pictures: a `Quality`."""

    __dask_scheduler__ = staticmethod(Delayed.__dask_scheduler__)
    __dask_optimize__ = staticmethod(Delayed.__dask_optimize__)

    def __dask_graph__(self) -> Any:
        return self.quality.__dask_graph__()

    def __dask_keys__(self) -> list[Any]:
        return list(self.quality.__dask_keys__())

    def __dask_layers__(self) -> Any:
        return self.quality.__dask_layers__()

    def __dask_tokenize__(self) -> Any:
        return self.quality.__dask_tokenize__()

    def __dask_postcompute__(self) -> tuple[Any, tuple[()]]:
        return _value, ()

    def __dask_postpersist__(self) -> tuple[Any, tuple[()]]:
        rebuild, arguments = self.quality.__dask_postpersist__()
        return lambda graph, **names: QualityReport(rebuild(graph, *arguments, **names)), ()


def compression_quality(
    data: xr.DataArray,
    reference: xr.DataArray,
    *,
    peak: float | None = None,
    red: str | None = None,
    nir: str | None = None,
    qualities: Sequence[float] = (),
    codecs: Sequence[str] | None = None,
) -> QualityReport:
    """How far a cube is from its original: overall, a band, a date and a tile (lazy).

    Parameters
    ----------
    data
        What came back: a compressed cube, one that was opened from a store, or any other.
    reference
        The original; it may hold more dates, bands and pixels, in any order.
    peak
        Peak of PSNR and MS-SSIM in the reference's numbers; default that of the codec or of the
        numbers' dtype, 1.0 reflectance for Sentinel-2 bands, else the range of each tile.
    red, nir
        Bands of NDVI; default the ones with common names, if there are any.
    qualities
        Levels at which the reference is coded again, for curves of rate and distortion.
    codecs
        Codecs of those curves; default that of the data and the classical ones that are there.

    Raises
    ------
    InvalidParameterError, BandMismatchError, GridMismatchError, DimensionMissingError,
    CRSMissingError, NoDataAvailableError, CodecNotFoundError, DataTypeUnsupportedError
    """
    check_peak(peak)
    restored, original = matched(data, reference)
    payloads = payloads_of(data)
    if payloads is not None and payloads.kind != "pixels":
        payloads = None
    card = card_of(data, payloads)
    tile = int(data.attrs.get("nc:tile", TILE)) if payloads is None else payloads.grid.tile
    terms = Terms(
        bands=labels(restored),
        peak=peak_of(original, card, payloads) if peak is None else peak,
        nodata=integer_nodata(original),
        tile=tile,
        red=red,
        nir=nir,
    )
    if (red or nir) and ndvi_bands(terms.bands, red, nir) is None:
        raise BandMismatchError(
            f"NDVI was asked of the bands {red or 'red'} and {nir or 'nir'}; "
            f"the data have {', '.join(terms.bands)}."
        )
    grid = TileGrid.of(restored, tile)
    cards = _curve_cards(codecs, card, original, bool(qualities))
    sources = _Sources.of(terms, restored, original, payloads, grid.window(restored))
    again = recodings(original, cards, qualities)
    subject = subject_of(terms, restored, card, data.attrs, grid)
    return QualityReport(_graph(subject, sources, again))


# --- the graph -------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, eq=False)
class _Part:
    """What some of the tasks have found."""

    tiles: tuple[TileQuality, ...] = ()
    samples: tuple[Sample, ...] = ()
    points: tuple[Point, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class _Sources:
    """What is compared, one tile a chunk."""

    original: da.Array
    """`(t, bands, y, x)`, chunks end where tiles end."""
    restored: da.Array
    """The same of the data."""
    payloads: da.Array | None
    """`(t, tile_y, tile_x)` object."""
    window: Window
    """The tiles."""

    @classmethod
    def of(
        cls, terms: Terms, restored: xr.DataArray, original: xr.DataArray,
        payloads: Payloads | None, window: Window,
    ) -> Self:  # fmt: skip
        rows = _cuts(window.pad_top, restored.sizes[Y], terms.tile)
        columns = _cuts(window.pad_left, restored.sizes[X], terms.tile)
        chunks: dict[Any, Any] = {T: 1, BANDS: -1, Y: rows, X: columns}
        return cls(
            original=lazy(original).chunk(chunks).data,
            restored=lazy(restored).chunk(chunks).data,
            payloads=None if payloads is None else payloads.blocks,
            window=window,
        )

    def tasks(self, name: str, terms: Terms) -> Iterator[tuple[Place, Task]]:
        """A task a tile, and the tile's place."""
        for place in np.ndindex(*self.original.numblocks[::2], self.original.numblocks[3]):
            t, row, column = place
            first = self.window.pad_top * (row == 0), self.window.pad_left * (column == 0)
            blocks = [TaskRef((a.name, t, 0, row, column)) for a in (self.original, self.restored)]
            payload = None if self.payloads is None else TaskRef((self.payloads.name, *place))
            key = (name, "measure", *place)
            yield place, Task(key, _measured, terms, place, first, *blocks, payload)


def _graph(subject: Subject, sources: _Sources, again: Sequence[da.Array]) -> Delayed:
    """The whole report as one task.

    A layer of its own, and not calls of `dask.delayed`: each of these would look through all that
    comes before it.
    """
    name = f"quality-{uuid.uuid4().hex}"
    leaves = list(sources.tasks(name, subject.terms))
    graph: dict[Any, Task] = {task.key: task for _, task in leaves}
    # By place, so that a tile's pixels are read once and can be forgotten.
    keys = [(place, task.key) for place, task in leaves]
    keys += [(place, (a.name, *place)) for a in again for place in np.ndindex(*a.numblocks)]
    level = [key for _, key in sorted(keys, key=lambda pair: pair[0])]
    for depth in itertools.count():
        groups = [level[i : i + _FAN_IN] for i in range(0, len(level), _FAN_IN)]
        level = [(name, "merge", depth, number) for number in range(len(groups))]
        for key, group in zip(level, groups, strict=True):
            graph[key] = Task(key, _merge, *map(TaskRef, group))
        if len(level) == 1:
            break
    graph[name] = Task(name, _finished, subject, TaskRef(level[0]))
    arrays = [sources.original, sources.restored, *again]
    if sources.payloads is not None:
        arrays.append(sources.payloads)
    layers = HighLevelGraph.from_collections(name, graph, dependencies=list[Any](arrays))
    return Delayed(name, layers, layer=name)


def _cuts(before: int, size: int, tile: int) -> tuple[int, ...]:
    """Sizes of the parts of a dimension, `before` pixels into a tile, that end where tiles end."""
    ends = [*range(tile - before, size, tile), size]
    return tuple(int(n) for n in np.diff([0, *ends]))


def _measured(
    terms: Terms, place: Place, first: tuple[int, int],
    original: Array, restored: Array, payload: Array | None,
) -> _Part:  # fmt: skip
    coded = None if payload is None else payload.item()
    tile, sample = measure_tile(terms, place, first, original[0], restored[0], coded)
    return _Part(tiles=(tile,), samples=() if sample is None else (sample,))


def _merge(*parts: _Part | Array) -> _Part:
    found = [p if isinstance(p, _Part) else _Part(points=(p.item(),)) for p in parts]
    samples = sorted((s for p in found for s in p.samples), key=_rank)
    return _Part(
        tiles=tuple(t for p in found for t in p.tiles),
        samples=tuple(samples[:WORST]),
        points=tuple(point for p in found for point in p.points),
    )


def _rank(sample: Sample) -> tuple[bool, float, Place]:
    """Worst first; slivers of tiles, which show little, last."""
    return sample.share < SLIVER, sample.psnr, sample.place


def _finished(subject: Subject, part: _Part) -> Quality:
    values = sum(math.prod(tile.shape) for tile in part.tiles)
    return Quality(
        document=document(subject, part.tiles, curves_of(part.points, values)),
        samples=part.samples,
    )


def _value(results: list[Quality]) -> dict[str, Any]:
    return dict(results[0].document)


def _curve_cards(
    codecs: Sequence[str] | None, card: CodecCard | None, original: xr.DataArray, wanted: bool
) -> list[CodecCard]:
    """Codecs whose curves are drawn."""
    if not wanted:
        return []
    if codecs is not None:
        return [registry.choose(name, labels(original)) for name in codecs]
    if card is None:
        raise InvalidParameterError(
            "The data do not say which codec they were coded with, so its curve cannot be drawn; "
            "name some in 'codecs'."
        )
    rivals = [c for c in registry.list_codecs() if c.codec_id in RIVALS and c is not card]
    return [card, *(rival for rival in rivals if original.dtype.name in rival.dtypes)]
