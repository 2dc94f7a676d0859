"""A made-up but spectrally plausible landscape: fields, forest, town, water, clouds; all synthetic.

Reflectances of the cover types follow published Sentinel-2 surface reflectance spectra in shape
and level; everything else (shapes, dates, clouds) is drawn from one seed. No pixel was measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage, spatial

from openeo_nc.sentinel2 import BANDS

Map = npt.NDArray[np.floating[Any]]

# Surface reflectance in thousandths, in the order of BANDS.
_SPECTRA: Mapping[str, tuple[int, ...]] = {
    "water": (34, 36, 34, 21, 18, 15, 14, 12, 11, 10, 6, 4),
    "broadleaf": (19, 22, 45, 24, 75, 212, 272, 290, 310, 312, 150, 68),
    "conifer": (14, 17, 30, 18, 50, 128, 160, 178, 190, 195, 85, 39),
    "crop": (28, 34, 70, 33, 110, 330, 420, 448, 462, 460, 200, 98),
    "rape": (30, 38, 108, 92, 150, 315, 370, 405, 418, 415, 205, 105),
    "stubble": (62, 76, 106, 136, 170, 220, 250, 280, 300, 300, 350, 250),
    "soil": (70, 86, 116, 152, 180, 200, 216, 232, 250, 256, 332, 290),
    "meadow": (33, 40, 76, 48, 120, 262, 312, 332, 350, 352, 240, 128),
    "tile roof": (62, 78, 104, 168, 190, 205, 218, 232, 242, 245, 268, 238),
    "grey roof": (104, 122, 138, 150, 158, 166, 172, 182, 188, 190, 212, 204),
    "hall roof": (280, 310, 330, 345, 350, 355, 360, 372, 368, 360, 330, 290),
    "road": (88, 98, 110, 120, 126, 132, 138, 146, 150, 150, 168, 158),
    "cloud": (740, 760, 755, 762, 770, 778, 780, 782, 780, 600, 450, 330),
}
SPECTRA: Mapping[str, Map] = {
    name: np.asarray(values, dtype=np.float32) / 1000 for name, values in _SPECTRA.items()
}

# Directions in which real spectra of one cover differ, a mode a row, in the order of BANDS: aerosol
# and sky, chlorophyll, red edge, leaf structure, moisture.
_MODES = np.array(
    [
        (1, 0.9, 0.6, 0.4, 0.2, 0, 0, 0, 0, 0, 0, 0),
        (0.1, 0.2, -0.6, 0.9, 0.7, 0.1, 0, 0, 0, 0, 0.2, 0.4),
        (0, 0, 0.3, 0.2, 1, -0.6, -0.3, 0, 0, 0, 0, 0),
        (0, 0, 0, 0, 0, 0.7, 0.9, 1, 1, 0.9, 0.2, 0),
        (0, 0, 0, 0.1, 0, 0, 0, 0.1, 0.2, 0.5, -0.9, -1),
    ],
    dtype=np.float32,
)

# Share of green cover of each crop on the three dates: May, July, September.
_GREENNESS: Mapping[str, tuple[float, float, float]] = {
    "winter cereal": (0.95, 0.25, 0.04),
    "maize": (0.08, 0.92, 0.72),
    "rape": (0.90, 0.30, 0.15),
    "meadow": (0.85, 0.65, 0.75),
    "beet": (0.20, 0.90, 0.88),
}


def fractal(rng: np.random.Generator, shape: tuple[int, int], beta: float) -> Map:
    """Noise of zero mean and unit deviation whose power falls as frequency ** -beta."""
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None])
    frequency[0, 0] = 1
    spectrum = np.fft.rfft2(rng.standard_normal(shape)) * frequency ** (-beta / 2)
    spectrum[0, 0] = 0
    field = np.fft.irfft2(spectrum, s=shape)
    return np.asarray(field / field.std(), dtype=np.float32)


@dataclass(frozen=True, kw_only=True)
class Landscape:
    """What does not change between dates; every map is `(y, x)` on the 10 m grid."""

    water: Map
    """Share of water, 0..1."""
    forest: Map
    """Share of forest, 0..1."""
    conifer: Map
    """Share of conifers in the forest, 0..1."""
    built: Map
    """Share of buildings, 0..1."""
    roof: npt.NDArray[np.int64]
    """Roof of the building: 0 tile, 1 grey, 2 hall."""
    road: Map
    """Share of road, 0..1."""
    parcel: npt.NDArray[np.int64]
    """Number of the field."""
    crop: npt.NDArray[np.int64]
    """Crop of the field, index into the crops of this module."""
    shade: Map
    """Factor of illumination by relief, about 1."""
    texture: Map
    """Fine texture of zero mean and unit deviation."""


def _parcels(
    rng: np.random.Generator, shape: tuple[int, int]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rectangular fields, laid out along another direction in each of a dozen districts."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float64)
    sites = rng.uniform((0, 0), shape, (14, 2))
    wobble = np.stack([fractal(rng, shape, 3) * 9, fractal(rng, shape, 3) * 9], axis=-1)
    points = (np.stack([y, x], axis=-1) + wobble).reshape(-1, 2)
    district = spatial.cKDTree(sites).query(points)[1].reshape(shape)
    angle = rng.uniform(0, np.pi, 14)[district]
    across, along = rng.uniform(9, 24, 14)[district], rng.uniform(18, 60, 14)[district]
    u = (x * np.cos(angle) + y * np.sin(angle)) / across
    column = np.floor(u).astype(np.int64)
    v = (y * np.cos(angle) - x * np.sin(angle)) / along + 0.37 * (column % 3)
    keys = district * 1_000_000 + (column % 1000) * 1000 + np.floor(v).astype(np.int64) % 1000
    parcel = np.unique(keys, return_inverse=True)[1].reshape(shape)
    crop = rng.choice(len(_GREENNESS), parcel.max() + 1, p=(0.34, 0.2, 0.12, 0.22, 0.12))
    return parcel, crop[parcel]


def _water(rng: np.random.Generator, shape: tuple[int, int]) -> Map:
    """A river from north to south and a lake beside it."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float64)
    course = ndimage.gaussian_filter1d(rng.standard_normal(shape[0] + 400), 55)[200:-200]
    course = shape[1] * 0.42 + course / course.std() * shape[1] * 0.07
    river = 3.4 - np.abs(x - course[:, None]) * 0.9
    lake = 1 - np.hypot((y - shape[0] * 0.74) / 74, (x - shape[1] * 0.66) / 108)
    lake = (lake + 0.16 * fractal(rng, shape, 3)) * 30
    return np.asarray(np.clip(np.maximum(river, lake), 0, 1), dtype=np.float32)


def _town(
    rng: np.random.Generator, shape: tuple[int, int]
) -> tuple[Map, npt.NDArray[np.int64], Map]:
    """Blocks of buildings round a centre, halls at its edge, and the roads that leave it."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float64)
    cy, cx, angle = shape[0] * 0.3, shape[1] * 0.62, 0.4
    distance = np.hypot(y - cy, x - cx) + 14 * fractal(rng, shape, 2.5)
    u = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
    v = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
    inside = np.clip((105 - distance) / 12, 0, 1)
    street = np.maximum(np.abs(u % 11 - 5.5) > 4.6, np.abs(v % 8 - 4) > 3.3) * inside
    lots = np.floor(u / 2.4).astype(np.int64) * 7919 + np.floor(v / 2.1).astype(np.int64)
    lot = np.unique(lots, return_inverse=True)[1].reshape(shape)
    density = np.clip(1.05 - distance / 120, 0.12, 0.9)
    built = (rng.random(lot.max() + 1)[lot] < density) * inside * (1 - street)
    roof = rng.choice(3, lot.max() + 1, p=(0.6, 0.34, 0.06))[lot]
    road = np.zeros(shape)
    for bearing in (0.15, 1.35, 2.5, 3.6, 4.9):
        ahead = (x - cx) * np.cos(bearing) + (y - cy) * np.sin(bearing)
        aside = (y - cy) * np.cos(bearing) - (x - cx) * np.sin(bearing)
        bend = 26 * np.sin(ahead / 130 + bearing) - 26 * np.sin(bearing)
        road = np.maximum(road, np.clip(1.3 - np.abs(aside - bend), 0, 1) * (ahead > 0))
    road = np.maximum(road, street * 0.8)
    return built.astype(np.float32), roof, road.astype(np.float32)


def landscape(seed: int, shape: tuple[int, int]) -> Landscape:
    """The landscape of one seed, `shape` = (height, width) in 10 m pixels."""
    rng = np.random.default_rng(seed)
    relief = ndimage.gaussian_filter(fractal(rng, shape, 3.2), 1.5)
    slope_y, slope_x = np.gradient(relief)
    slope = -(0.7 * slope_x + 0.7 * slope_y)
    shade = 1 + np.clip(slope / (slope.std() + 1e-9), -3, 3) * 0.035
    water = _water(rng, shape)
    built, roof, road = _town(rng, shape)
    woods = 0.8 * fractal(rng, shape, 2.6) + 0.6 * relief
    forest = np.clip((woods - 0.55) * 9, 0, 1) * (1 - np.clip(built + road, 0, 1))
    conifer = np.clip(0.45 + fractal(rng, shape, 2.2) * 0.9, 0, 1)
    parcel, crop = _parcels(rng, shape)
    return Landscape(
        water=water,
        forest=(forest * (1 - water)).astype(np.float32),
        conifer=conifer.astype(np.float32),
        built=built * (1 - water),
        roof=roof,
        road=road,
        parcel=parcel,
        crop=crop,
        shade=shade.astype(np.float32),
        texture=fractal(rng, shape, 0.9),
    )


def _mix(base: Map, share: Map, spectrum: Map, band: int, texture: Map) -> Map:
    return np.asarray(base + share * (spectrum[band] * texture - base), dtype=np.float32)


def _variety(land: Landscape, rng: np.random.Generator) -> Map:
    """Factors `(12, y, x)` about 1: spectra differ between fields, and from pixel to pixel.

    Without it every pixel would be a mixture of a dozen spectra, and a spectral transform would
    compress the scene far better than it does any real one.
    """
    shape, fields = land.shade.shape, int(land.parcel.max()) + 1
    factors = np.ones((len(BANDS), *shape), np.float32)
    for mode in _MODES:
        wide = 0.03 * rng.standard_normal(fields)[land.parcel]
        fine = 0.022 * fractal(rng, shape, 1.2)
        factors += mode[:, None, None] * (wide + fine)[None]
    for b in range(len(BANDS)):
        factors[b] += 0.012 * fractal(rng, shape, 0.6)
    return factors


def surface(land: Landscape, date: int, seed: int) -> Map:
    """Cloudless surface reflectance on date 0, 1 or 2, `(12, y, x)` float32 on the 10 m grid."""
    rng = np.random.default_rng((seed, date))
    fields = land.parcel.max() + 1
    green = np.asarray([values[date] for values in _GREENNESS.values()])[land.crop]
    green = green + rng.normal(0, 0.09, fields)[land.parcel]
    green = np.clip(green + 0.05 * fractal(rng, land.shade.shape, 1.8), 0, 1).astype(np.float32)
    bright = np.clip(rng.normal(1, 0.07, fields), 0.8, 1.25)[land.parcel].astype(np.float32)
    ripe = (rng.random(fields)[land.parcel] < 0.5).astype(np.float32)
    leaf = np.where(land.crop == 3, 1, 0).astype(np.float32)
    bloom = np.where((land.crop == 2) & (date == 0), 0.8, 0).astype(np.float32)
    crowns = 1 + 0.13 * land.texture
    fine = 1 + 0.03 * land.texture
    autumn = 0.16 if date == 2 else 0.0
    variety = _variety(land, rng)
    bands = []
    for b in range(len(BANDS)):
        soil = ripe * SPECTRA["stubble"][b] + (1 - ripe) * SPECTRA["soil"][b]
        plant = (1 - leaf) * SPECTRA["crop"][b] + leaf * SPECTRA["meadow"][b]
        plant = plant + bloom * (SPECTRA["rape"][b] - plant)
        value = (green * plant + (1 - green) * soil) * bright * fine
        wood = land.conifer * SPECTRA["conifer"][b]
        wood = wood + (1 - land.conifer) * (
            (1 - autumn) * SPECTRA["broadleaf"][b] + autumn * SPECTRA["stubble"][b]
        )
        value = value + land.forest * (wood * crowns - value)
        value = _mix(value, land.road, SPECTRA["road"], b, fine)
        roofs = np.stack([SPECTRA[r] for r in ("tile roof", "grey roof", "hall roof")])[:, b]
        value = value + 0.85 * land.built * (roofs[land.roof] * (1 + 0.1 * land.texture) - value)
        value = value * land.shade * variety[b]
        value = _mix(value, land.water, SPECTRA["water"] * (1 + 0.1 * date), b, fine)
        bands.append(ndimage.gaussian_filter(value.astype(np.float32), 0.55))
    return np.stack(bands)


def clouds(seed: int, shape: tuple[int, int], cover: float) -> tuple[Map, Map]:
    """Opacity of cloud and depth of its shadow, both `(y, x)` 0..1, over a share of the scene."""
    rng = np.random.default_rng(seed)
    noise = fractal(rng, shape, 2.9)
    if cover <= 0:
        return np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    opacity = np.clip((noise - np.quantile(noise, 1 - cover)) * 1.3, 0, 1)
    shadow = ndimage.gaussian_filter(np.roll(opacity, (-26, 34), (0, 1)), 2)
    return opacity.astype(np.float32), (shadow * (1 - opacity)).astype(np.float32)


def under_clouds(ground: Map, opacity: Map, shadow: Map, texture: Map) -> Map:
    """Reflectance seen through clouds; shadows keep more of the blue, which the sky scatters."""
    sky = np.linspace(0.5, 0.72, len(BANDS), dtype=np.float32)[:, None, None]
    shaded = ground * (1 - sky * shadow)
    lit = SPECTRA["cloud"][:, None, None] * (0.86 + 0.05 * ndimage.gaussian_filter(texture, 3))
    return np.asarray(shaded + opacity * (lit - shaded), dtype=np.float32)
