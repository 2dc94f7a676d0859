"""Reads the GeoTIFF tiles that benchmarks code: those of a split's evaluation places, or a folder's.

Tiles come out in card units, reflectance x 10000 with the baseline offset of the manifest removed,
as uint16, or int16 where that leaves negative values. Files wider or higher than a grid tile are
cut into tiles.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from openeo_nc.errors import InvalidParameterError, InvalidValuesError, NoDataAvailableError
from openeo_nc.sentinel2 import BANDS, RESOLUTION

_SPLITS = Path(__file__).resolve().parents[1] / "training" / "splits"
_SIDE = 384
_UINT16_BITS = 16


@dataclass(frozen=True, kw_only=True, eq=False)
class Tile:
    """One tile to code."""

    place: str
    """Place of the split, or the folder's name."""
    name: str
    """File name without suffix, and the tile's corner where the file was cut."""
    pixels: npt.NDArray[Any]
    """`(bands, y, x)` uint16 or int16, reflectance x 10000; other dtypes as stored."""
    nodata: float | None
    """Value that marks no data, if the file states one."""
    native_bpppb: float | None
    """Bits per pixel per band that uint16 takes with every band at its own resolution;
    None where the bands are not known."""


def given(data: Path | None, split: str | Path, tiles: Path | None) -> tuple[list[Tile], str]:
    """The tiles that a benchmark was asked to measure, and the name of where they are from.

    Parameters
    ----------
    data, split
        As those of `from_split`; read if `tiles` is None.
    tiles
        Folder of `from_folder`.

    Raises
    ------
    InvalidParameterError, InvalidValuesError, NoDataAvailableError
    """
    if tiles is not None:
        return from_folder(tiles), tiles.name
    if data is None:
        raise InvalidParameterError("Neither data nor tiles was given; one says what to measure.")
    return from_split(data, split), Path(split).stem


def from_split(data: Path, split: str | Path) -> list[Tile]:
    """Tiles of the evaluation places of a split.

    Parameters
    ----------
    data
        Folder that the split's paths are relative to; its `manifest.json`, if there, gives the
        offsets and pixel sizes.
    split
        Name of a split that ships with the package (`s2l2a`), or a JSON file.

    Raises
    ------
    InvalidParameterError, InvalidValuesError
    """
    shipped = _SPLITS / f"{split}.json"
    document = _json(shipped if shipped.is_file() else Path(split))
    try:
        files = [(e["place"], str(f)) for e in document["evaluation"] for f in e["files"]]
    except (KeyError, TypeError) as error:
        raise InvalidParameterError(
            f"The split {split} has no list 'evaluation' of objects with place and files."
        ) from error
    manifest = data / "manifest.json"
    entries = {f["path"]: f for f in _json(manifest)["files"]} if manifest.is_file() else {}
    return [tile for place, f in files for tile in _tiles_of(data / f, place, entries.get(f, {}))]


def from_folder(folder: Path) -> list[Tile]:
    """Tiles of every `*.tif` of a folder, one place; 10 m pixels and no offset are assumed.

    Raises
    ------
    NoDataAvailableError, InvalidParameterError
    """
    paths = sorted(folder.glob("*.tif"))
    if not paths:
        raise NoDataAvailableError(f"{folder} has no *.tif files to measure.")
    return [tile for path in paths for tile in _tiles_of(path, folder.resolve().name, {})]


def _tiles_of(path: Path, place: str, entry: Mapping[str, Any]) -> Iterator[Tile]:
    import rasterio

    try:
        with warnings.catch_warnings():
            # Where a tile lies does not matter here; many published ones do not say.
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            with rasterio.open(path) as file:
                values, nodata, names = file.read(), file.nodata, file.descriptions
    except rasterio.errors.RasterioIOError as error:
        raise InvalidParameterError(f"The tile {path} cannot be read: {error}") from error
    offset = entry.get("offset_dn")
    offset = entry.get("offset_dn_guess") if offset is None else offset
    pixels = _card_units(values, int(offset or 0), nodata, path)
    if nodata is not None and offset:
        nodata -= offset
    native = _native_bpppb(_bands(names), float(entry.get("gsd_m", 10)))
    _, height, width = pixels.shape
    for top in range(0, height, _SIDE):
        for left in range(0, width, _SIDE):
            whole = height <= _SIDE and width <= _SIDE
            yield Tile(
                place=place,
                name=path.stem if whole else f"{path.stem}[{top},{left}]",
                pixels=np.ascontiguousarray(pixels[:, top : top + _SIDE, left : left + _SIDE]),
                nodata=nodata,
                native_bpppb=native,
            )


def _card_units(
    values: npt.NDArray[Any], offset: int, nodata: float | None, path: Path
) -> npt.NDArray[Any]:
    if values.dtype.kind not in "iu":
        return values if offset == 0 else values - np.asarray(offset, values.dtype)
    numbers = values.astype(np.int64) - offset
    for dtype in (np.uint16, np.int16):
        info = np.iinfo(dtype)
        if info.min <= numbers.min() and numbers.max() <= info.max:
            return numbers.astype(dtype)
    raise InvalidValuesError(
        f"{path} holds {numbers.min()} to {numbers.max()} after its offset {offset}; "
        "expected values that fit uint16 or int16."
    )


def _bands(names: Sequence[str | None]) -> tuple[str, ...] | None:
    """Band names of a file; twelve bands without known names are taken as Sentinel-2 L2A's."""
    if all(name in RESOLUTION for name in names):
        return tuple(str(name) for name in names)
    return BANDS if len(names) == len(BANDS) else None


def _native_bpppb(bands: tuple[str, ...] | None, pixel: float) -> float | None:
    if bands is None:
        return None
    return _UINT16_BITS * float(np.mean([min(1.0, (pixel / RESOLUTION[b]) ** 2) for b in bands]))


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidParameterError(f"{path} cannot be read as JSON: {error}") from error
