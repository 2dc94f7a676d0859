"""Reads one band of one asset on a given grid: the reader that stackstac's graph calls.

stackstac builds the graph (which asset, which window); its own reader takes no data value that
only the STAC metadata state, no file with several bands, and one resampling for all bands. This
one takes them from a `Source`, which stands where stackstac expects the asset's URL.

A band whose pixels lie on the grid is read as it is, without GDAL's warper, so that stored
numbers come back exactly. Others are resampled from their own pixels, so that the result does not
depend on how a request is cut into chunks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
import rasterio.errors
import rasterio.warp
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, Resampling
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from openeo_nc import metrics
from openeo_nc.cubes.assets import Asset
from openeo_nc.cubes.grid import TOLERANCE
from openeo_nc.cubes.on_error import check, tell
from openeo_nc.errors import AssetMissingError, PoisonTaskError

_GDAL = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    # by default GDAL waits for ever for a host that is silent
    "GDAL_HTTP_CONNECTTIMEOUT": "10",  # seconds
    "GDAL_HTTP_LOW_SPEED_LIMIT": "1",  # bytes a second ...
    "GDAL_HTTP_LOW_SPEED_TIME": "60",  # ... for so many seconds
}
_WEB_DRIVERS = ("GTiff", "JP2OpenJPEG", "PNG", "JPEG")
_TRANSFORMER_TOLERANCE = 0.01
"""Pixels that GDAL's approximate transformer may be off; its default is 0.125."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Everything needed to read a band on the cube's grid."""

    asset: Asset
    """The band."""
    crs: str
    """CRS of the cube."""
    resampling: str
    """Name in rasterio's `Resampling`, used where the band's pixels are not the cube's."""
    nodata_topic: str | None = None
    """Whom to tell of a file that cannot be read, and give no data; None is an error instead."""


class BandReader:
    """stackstac's `Reader` protocol, without state: a dataset is opened for each read.

    GDAL caches what it fetched of a file, so that opening again costs little; and nothing has to
    be shared between threads.
    """

    def __init__(self, *, url: Source, spec: Any, **_: Any) -> None:
        self.source, self.spec = url, spec

    def read(self, window: Window, **_: Any) -> npt.NDArray[np.float32]:
        """Physical values `(y, x)` float32 in a window of the cube, NaN where there are none.

        Raises
        ------
        AssetMissingError
            The file cannot be opened or read, unless that is to give no data, or lacks the band.
        """
        width, height = int(window.width), int(window.height)
        res_x, res_y = self.spec.resolutions_xy
        left, _bottom, _right, top = self.spec.bounds
        place = Affine(
            res_x, 0, left + window.col_off * res_x, 0, -res_y, top - window.row_off * res_y
        )
        asset = self.source.asset
        try:
            check()
            numbers = self._numbers(place, width, height)
        except (rasterio.errors.RasterioError, PoisonTaskError) as error:
            reason = str(error)
        else:
            return (numbers * asset.scale + asset.offset).astype(np.float32)
        message = (
            f"The asset '{asset.key}' of item '{asset.item}' cannot be read ({asset.href}): "
            f"{reason}"
        )
        if self.source.nodata_topic is not None:
            tell(self.source.nodata_topic, f"{message} Its pixels are no data.")
            return np.full((height, width), np.nan, np.float32)
        # Raised out here, since GDAL's errors cannot be pickled: as the context of ours they
        # would turn it into a bare Exception on its way from a worker.
        raise AssetMissingError(message)

    def close(self) -> None:
        """Nothing is kept open."""

    def _numbers(self, place: Affine, width: int, height: int) -> npt.NDArray[np.float64]:
        """The stored numbers of a window with its corner at `place`, NaN where there are none."""
        asset = self.source.asset
        with rasterio.Env(**_GDAL), _opened(asset.href) as dataset:
            if asset.band > dataset.count:
                raise AssetMissingError(
                    f"The asset '{asset.key}' of item '{asset.item}' has {dataset.count} bands; "
                    f"band {asset.band} was asked for ({asset.href})."
                )
            self._count(dataset, place, width, height)
            if (offset := self._aligned(dataset, place)) is not None:
                return _cut(dataset, asset, *offset, width, height)
            return self._resampled(dataset, place, width, height)

    def _count(self, dataset: Any, place: Affine, width: int, height: int) -> None:
        """Count what a window takes of the file: its part of the file's own pixels."""
        own, pixels = dataset.transform, float(width * height)
        if dataset.crs == CRS.from_user_input(self.source.crs) and not (own.b or own.d):
            left, top = ~own @ (place.c, place.f)
            right, bottom = ~own @ (place.c + width * place.a, place.f + height * place.e)
            pixels = max(min(right, dataset.width) - max(left, 0.0), 0.0) * max(
                min(bottom, dataset.height) - max(top, 0.0), 0.0
            )
        asset = self.source.asset
        metrics.PIXELS_READ.add(width * height)
        metrics.SOURCE_BYTES_READ.add(pixels * np.dtype(dataset.dtypes[asset.band - 1]).itemsize)
        if asset.stored_bytes is not None:
            metrics.SOURCE_FILE_BYTES.add(pixels * asset.stored_bytes)

    def _aligned(self, dataset: Any, place: Affine) -> tuple[int, int] | None:
        """Column and row of the window in the file, if the file's pixels are the cube's."""
        own = dataset.transform
        if dataset.crs != CRS.from_user_input(self.source.crs) or own.b or own.d:
            return None
        size = max(dataset.width, dataset.height)
        if (
            abs(own.a / place.a - 1) * size > TOLERANCE
            or abs(own.e / place.e - 1) * size > TOLERANCE
        ):
            return None
        column, row = (place.c - own.c) / place.a, (place.f - own.f) / place.e
        if abs(column - round(column)) > TOLERANCE or abs(row - round(row)) > TOLERANCE:
            return None
        return round(column), round(row)

    def _resampled(
        self, dataset: Any, place: Affine, width: int, height: int
    ) -> npt.NDArray[np.float64]:
        asset = self.source.asset
        nodata = _nodata(dataset, asset)
        options: dict[str, Any] = {"add_alpha": ColorInterp.alpha not in dataset.colorinterp}
        if nodata is not None:
            options = {"src_nodata": nodata, "nodata": np.nan}
        with WarpedVRT(
            dataset,
            src_crs=dataset.crs or asset.crs,
            crs=self.source.crs,
            transform=place,
            width=width,
            height=height,
            resampling=Resampling[self.source.resampling],
            tolerance=_TRANSFORMER_TOLERANCE,
            dtype="float32",
            **_scales(dataset, place, self.source.crs),
            **options,
        ) as warped:
            numbers: npt.NDArray[np.float64] = warped.read(asset.band).astype(np.float64)
            if nodata is None:
                numbers[warped.read(warped.count) == 0] = np.nan
        return numbers


def _opened(href: str) -> Any:
    """A file. What comes from the web is taken for pixels only: a VRT would name other files."""
    if not href.startswith(("http://", "https://")):
        return rasterio.open(href, sharing=False)
    first: rasterio.errors.RasterioIOError | None = None
    for driver in _WEB_DRIVERS:  # GDAL keeps what it fetched, so that asking again is free
        try:
            return rasterio.open(href, driver=driver, sharing=False)
        except rasterio.errors.RasterioIOError as error:
            first = first or error
    raise first or rasterio.errors.RasterioIOError(href)


def _scales(dataset: Any, place: Affine, crs: str) -> dict[str, str]:
    """GDAL's XSCALE and YSCALE: pixels of the cube per pixel of the file, at the file's centre.

    GDAL would estimate them from each window it warps, and so choose other kernels for other
    windows: pixels would depend on the chunks.
    """
    own = dataset.transform
    x, y = own @ (dataset.width / 2, dataset.height / 2)
    corners = [(x, y), (x + own.a, y), (x, y + own.e)]
    if dataset.crs is not None and dataset.crs != CRS.from_user_input(crs):
        xs, ys = rasterio.warp.transform(dataset.crs, crs, *map(list, zip(*corners, strict=True)))
        corners = list(zip(xs, ys, strict=True))
    (x0, y0), (x1, y1), (x2, y2) = corners
    along_x = math.hypot((x1 - x0) / place.a, (y1 - y0) / place.e)
    along_y = math.hypot((x2 - x0) / place.a, (y2 - y0) / place.e)
    return {"XSCALE": f"{along_x:.6g}", "YSCALE": f"{along_y:.6g}"}


def _nodata(dataset: Any, asset: Asset) -> float | None:
    """The number of no data that the metadata state, else the file, if its dtype can hold it."""
    dtype = np.dtype(dataset.dtypes[asset.band - 1])
    stated = dataset.nodatavals[asset.band - 1] if asset.nodata is None else asset.nodata
    if np.issubdtype(dtype, np.floating):
        return float("nan") if stated is None else float(stated)
    if stated is None or not float(stated).is_integer():
        return None
    info = np.iinfo(dtype)
    return float(stated) if info.min <= stated <= info.max else None


def _cut(
    dataset: Any, asset: Asset, column: int, row: int, width: int, height: int
) -> npt.NDArray[np.float64]:
    """A window of a file's own pixels, NaN outside of the file and where it has no data."""
    numbers = np.full((height, width), np.nan)
    x0, x1 = max(column, 0), min(column + width, dataset.width)
    y0, y1 = max(row, 0), min(row + height, dataset.height)
    if x0 >= x1 or y0 >= y1:
        return numbers
    window = Window(x0, y0, x1 - x0, y1 - y0)
    stored = dataset.read(asset.band, window=window)
    valid = dataset.read_masks(asset.band, window=window) != 0
    nodata = _nodata(dataset, asset)
    if nodata is not None:
        valid &= stored != nodata
    inner = (slice(y0 - row, y1 - row), slice(x0 - column, x1 - column))
    numbers[inner] = np.where(valid, stored, np.nan)
    return numbers
