"""Reads the label sets that downstream tasks are measured on, and cuts them into folds.

No place here trained `s2-embed-small`; some trained the codecs (`openeo_nc/training/splits`), and are
not asked about compressed. Where a set
has several places a fold is a place. Where it has one, a fold is a strip of it or a run of its dates:
such figures say nothing about other places.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
import xarray as xr

from openeo_nc.errors import NoDataAvailableError
from openeo_nc.models.registry import get_model_card
from openeo_nc.sentinel2 import BANDS

PATCH = 8
"""Pixels a side of a patch, the stride of `s2-embed-small`."""
MODEL = "s2-embed-small"
"""Encoder of the vectors that are measured."""
_FOLDS = 4
_CODEC_SPLIT = Path(__file__).resolve().parents[1] / "training" / "splits" / "s2l2a.json"
_FIELD = "00002806639B424A"
Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelSet:
    """Images of one kind and their classes; the dates of a place are images too."""

    name: str
    """Of the set."""
    images: Sequence[Array]
    """`(12, y, x)` float32 each, reflectance x 10000 without offset; NaN is no data or no band."""
    classes: Sequence[Array]
    """`(y, x)` uint8 each; 0 is no label."""
    folds: Sequence[Array]
    """`(y, x)` uint8 each: what is tested together, by heads that were fitted on the rest."""
    places: int
    """Independent places."""
    unseen: tuple[int, ...] = tuple(range(_FOLDS))
    """Folds of places that trained no codec."""

    @property
    def bands(self) -> list[int]:
        """Indexes of the bands that are there."""
        return [i for i in range(len(BANDS)) if np.isfinite(self.images[0][i]).any()]


PAIRS: Sequence[Mapping[str, str]] = (
    {"labels": "land cover", "input": "Sentinel-2 L2A, 12 bands, three places of 224 x 224",
     "use": "all; compressed only 433D_629L, the others trained the codecs"},
    {"labels": "scene classes, tile", "input": "Sentinel-2 L2A at 60 m without B08, one scene",
     "use": "probes; not compression, it trained the codecs; one place"},
    {"labels": "scene classes, valley", "input": "Sentinel-2 L2A at 10 m, four bands, one scene",
     "use": "all but codecs of twelve bands; one place, vegetation against bare ground"},
    {"labels": "scene classes, field", "input": "Sentinel-2 L2A, ten bands, 118 dates of 64 x 64",
     "use": "probes; compression of 30 dates, by codecs of any bands; one place"},
    {"labels": "Dynamic World land cover", "input": "AlphaEarth vectors, two regions",
     "use": "quantisers; there are no pixels to compress or embed"},
    {"labels": "crop type, Belgium", "input": "980 rows of 120 features",
     "use": "none: features of a year, no pixels and no embeddings"},
    {"labels": "crop type, Uganda", "input": "340 points of 12 months",
     "use": "none: one pixel a point, no patch to compress or embed"},
    {"labels": "CORINE, BigEarthNet", "input": "four patches",
     "use": "none: s2-embed-small was trained on their pixels"},
    {"labels": "EuroSAT", "input": "four patches of L1C, two classes",
     "use": "none: four samples, top of the atmosphere"},
    {"labels": "Sen1Floods11", "input": "two chips of L1C", "use": "none: they come without labels"},
)  # fmt: skip
"""Labels and input that the data have, and what can be measured on them."""


def label_sets(data: Path) -> list[LabelSet]:
    """The sets with pixels that a folder has.

    Raises
    ------
    NoDataAvailableError
        The folder has none.
    """
    readers = {
        "s2/majortom_l2a": _land_cover,
        "s2/t29unu_l2a_60m": _tile,
        "s2/openeo_sample_l2a": _valley,
        "s2/worldcereal_ts": _field,
    }
    found = [read(data) for folder, read in readers.items() if (data / folder).is_dir()]
    if not found:
        raise NoDataAvailableError(f"{data} has none of {', '.join(readers)}.")
    return found


def _land_cover(data: Path) -> LabelSet:
    entries = json.loads((data / "manifest.json").read_text(encoding="utf-8"))["files"]
    offsets = {e["path"]: e.get("offset_dn_guess") or 0 for e in entries}
    paths = sorted((data / "s2/majortom_l2a").glob("*.tif"))
    images = [_read(path)[0] - offsets.get(f"s2/majortom_l2a/{path.name}", 0) for path in paths]
    classes = [_read(data / "labels/majortom_lulc" / path.name)[0][0] for path in paths]
    return LabelSet(
        name="land cover",
        images=[np.maximum(x, 0) for x in images],
        classes=[y.astype(np.uint8) for y in classes],
        folds=[np.full(y.shape, i, np.uint8) for i, y in enumerate(classes)],
        places=len(paths),
        unseen=tuple(
            i for i, path in enumerate(paths) if not path.name.startswith(_codec_places())
        ),
    )


def _tile(data: Path) -> LabelSet:
    name = "T29UNU_20221005_north"
    values, bands = _read(data / f"s2/t29unu_l2a_60m/{name}.tif")
    classes = _read(data / f"labels/t29unu_scl_60m/{name}_SCL.tif")[0][0]
    found = _scene("scene classes, tile", np.maximum(values - 1000, 0), bands, classes)
    return replace(found, unseen=() if name.startswith(_codec_places()) else found.unseen)


def _valley(data: Path) -> LabelSet:
    values, bands = _read(data / "s2/openeo_sample_l2a/S2_L2A_sample.tif")
    return _scene("scene classes, valley", values, bands, values[bands.index("SCL")])


def _scene(name: str, values: Array, bands: Sequence[str], classes: Array) -> LabelSet:
    """One image with Sen2Cor's classes, in strips of rows.

    Vectors see what lies around their patch. Rows within that reach of a border have no label, so that
    no head is fitted on what it is asked about.
    """
    strips = np.arange(classes.shape[0]) * _FOLDS // classes.shape[0]
    borders = np.flatnonzero(np.diff(strips)) + 0.5
    away = np.abs(np.arange(len(strips))[:, None] - borders).min(axis=1)
    seen = get_model_card(MODEL).margin
    return LabelSet(
        name=name,
        images=[_twelve({n: v for n, v in zip(bands, values, strict=True) if n in BANDS})],
        classes=[np.where(away[:, None] < seen, 0, _told(classes)).astype(np.uint8)],
        folds=[np.broadcast_to(strips[:, None].astype(np.uint8), classes.shape)],
        places=1,
    )


def _field(data: Path) -> LabelSet:
    """Dates of one field with Sen2Cor's classes, in runs of dates."""
    bands: dict[str, Array] = {}
    for path in sorted((data / "s2/worldcereal_ts").glob(f"*_{_FIELD}_*.nc")):
        with xr.open_dataset(path, mask_and_scale=False) as cube:
            for name in {*BANDS, "SCL"} & {*map(str, cube.data_vars)}:
                values = cube[name].values
                repeated = 1 if "_10m_" in path.name else 2
                bands[name] = values.repeat(repeated, 1).repeat(repeated, 2)
    classes = bands.pop("SCL")
    dates = range(len(classes))
    images = [
        _twelve({n: np.where(v[t] == 0, np.nan, v[t]) for n, v in bands.items()}) for t in dates
    ]
    return LabelSet(
        name="scene classes, field",
        images=images,
        classes=[_told(one) for one in classes],
        folds=[np.full(classes[t].shape, t * _FOLDS // len(classes), np.uint8) for t in dates],
        places=1,
    )


def _codec_places() -> tuple[str, ...]:
    """Places that codecs were trained on."""
    split = json.loads(_CODEC_SPLIT.read_text(encoding="utf-8"))
    return tuple(entry["place"] for entry in split["train"])


def _told(classes: Array) -> Array:
    """Sen2Cor's classes without no data and defective pixels."""
    return np.where(classes > 1, classes, 0).astype(np.uint8)


def _twelve(bands: Mapping[str, Array]) -> Array:
    """`(12, y, x)` float32 of bands `(y, x)` by name."""
    lacking = np.full(next(iter(bands.values())).shape, np.nan, np.float32)
    return np.stack([np.asarray(bands.get(name, lacking), np.float32) for name in BANDS])


def _read(path: Path) -> tuple[Array, tuple[str, ...]]:
    with rasterio.open(path) as file:
        return file.read().astype(np.float32), tuple(map(str, file.descriptions))
