"""What goes wrong with Sentinel-2 tiles before a codec sees them: twelve corruptions, three strengths.

A corruption takes the twelve bands of L2A at 10 m, `(12, y, x)` in reflectance x 10000, and gives the
same shape and dtype; integers are rounded and clipped to their range. Same tile, strength and seed:
same result. The kinds are those of robustness benchmarks (Hendrycks and Dietterich, ICLR 2019), with
what pushbroom scanners, atmospheres and careless loaders do instead of what cameras do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from openeo_nc.errors import InvalidParameterError
from openeo_nc.sentinel2 import BANDS, RESOLUTION, WAVELENGTH

FloatArray = npt.NDArray[np.float64]
STRENGTHS = (1, 2, 3)
_PEAK = 10000.0
_GREEN = WAVELENGTH["B03"]


def corrupt(x: npt.NDArray[Any], kind: str, strength: int, *, seed: int) -> npt.NDArray[Any]:
    """A tile with one corruption.

    Parameters
    ----------
    x
        `(12, y, x)`, Sentinel-2 L2A bands in the order of `sentinel2.BANDS`, reflectance x 10000.
    kind
        A name of `CORRUPTIONS`.
    strength
        1 is what an eye easily misses, 2 is plain, 3 spoils the tile.

    Raises
    ------
    InvalidParameterError
        No such corruption or strength, or the tile does not have the twelve bands.
    """
    if kind not in CORRUPTIONS or strength not in STRENGTHS:
        raise InvalidParameterError(
            f"the corruption '{kind}' at strength {strength}: expected one of "
            f"{', '.join(CORRUPTIONS)} at a strength of {STRENGTHS}"
        )
    if x.ndim != 3 or len(x) != len(BANDS):
        raise InvalidParameterError(
            f"an array of shape {x.shape}; corruptions take (bands, y, x) with the bands {BANDS}"
        )
    rng = np.random.default_rng([seed, list(CORRUPTIONS).index(kind), strength])
    values = CORRUPTIONS[kind](x.astype(np.float64, order="C"), strength - 1, rng)
    if x.dtype.kind == "f":
        return values.astype(x.dtype)
    limits = np.iinfo(x.dtype)
    return np.clip(np.rint(values), limits.min, limits.max).astype(x.dtype)


def _gaussian_noise(x: FloatArray, level: int, rng: np.random.Generator) -> FloatArray:
    return x + rng.normal(0, (20, 60, 200)[level], x.shape)


def _salt_and_pepper(x: FloatArray, level: int, rng: np.random.Generator) -> FloatArray:
    drawn = rng.random(x.shape)
    share = (0.0005, 0.005, 0.05)[level]
    return np.where(drawn < share / 2, 0, np.where(drawn > 1 - share / 2, _PEAK, x))


def _blur(x: FloatArray, level: int, rng: np.random.Generator) -> FloatArray:
    sigma = (0.7, 1.2, 2.5)[level]
    return np.asarray(ndimage.gaussian_filter(x, (0, sigma, sigma), mode="nearest"))


def _motion_blur(x: FloatArray, level: int, rng: np.random.Generator) -> FloatArray:
    """The mean along a line in a random direction, as of a platform that shakes."""
    length, angle = (3, 7, 15)[level], rng.uniform(0, np.pi)
    kernel = np.zeros((length + 2, length + 2))
    for t in np.linspace(-(length - 1) / 2, (length - 1) / 2, 8 * length):
        at = np.array([np.sin(angle), np.cos(angle)]) * t + (length + 1) / 2
        row, column = np.floor(at).astype(int)
        fy, fx = at - (row, column)
        kernel[row : row + 2, column : column + 2] += np.outer((1 - fy, fy), (1 - fx, fx))
    kernel /= kernel.sum()
    return np.stack([ndimage.convolve(band, kernel, mode="nearest") for band in x])


def _haze(x: FloatArray, level: int, rng: np.random.Generator) -> FloatArray:
    """Path radiance that falls with wavelength (Angstrom exponent 1.6), uneven over the tile."""
    uneven = np.exp(0.3 * _smooth_field((x.shape[1], x.shape[2]), 0.3, rng))
    by_band = np.array([(WAVELENGTH[name] / _GREEN) ** -1.6 for name in BANDS])
    opacity = np.minimum((0.04, 0.1, 0.25)[level] * by_band[:, None, None] * uneven, 0.95)
    return np.asarray(x * (1 - opacity) + 0.8 * _PEAK * opacity)


def _cloud(x: FloatArray, level: int, rng: np.random.Generator) -> FloatArray:
    """Clouds with soft edges, and their shadow beside them."""
    shape = (x.shape[1], x.shape[2])
    field = _smooth_field(shape, 0.12, rng) + 0.3 * _smooth_field(shape, 0.03, rng)
    edge = np.quantile(field, 1 - (0.1, 0.3, 0.6)[level])
    cover = np.clip((field - edge) / 0.6 + 0.15, 0, 1)
    away = rng.choice([-1, 1], 2) * max(4, min(shape) // 12)
    shadow = ndimage.shift(cover, away, order=1, mode="nearest") * (1 - cover)
    by_band = np.interp(
        [WAVELENGTH[n] for n in BANDS], [443, 900, 1610, 2200], [1.0, 0.95, 0.6, 0.4]
    )
    bright = (6000 + 1200 * field) * by_band[:, None, None]
    return np.asarray((1 - cover) * x * (1 - 0.5 * shadow) + cover * bright)


def _stripes(x: FloatArray, level: int, rng: np.random.Generator) -> FloatArray:
    """Every detector of the line scanner, one a column at the band's own resolution, has its gain."""
    out = x.copy()
    for band, name in zip(out, BANDS, strict=True):
        pixels = RESOLUTION[name] // RESOLUTION["B02"]
        gains = rng.normal(1, (0.01, 0.03, 0.1)[level], -(-x.shape[2] // pixels))
        band *= np.repeat(gains, pixels)[: x.shape[2]]
    return out


def _missing_bands(x: FloatArray, level: int, rng: np.random.Generator) -> FloatArray:
    out = x.copy()
    out[rng.choice(len(x), (1, 3, 6)[level], replace=False)] = 0
    return out


def _compression(x: FloatArray, level: int, rng: np.random.Generator) -> FloatArray:
    """Every band as an 8-bit JPEG, stretched to its brightest pixels, as previews are made."""
    import imagecodecs

    out = np.empty_like(x)
    for band, source in zip(out, x, strict=True):
        top = max(float(np.quantile(source, 0.999)), 1.0)
        grey = np.clip(np.rint(source * 255 / top), 0, 255).astype(np.uint8)
        coded = imagecodecs.jpeg8_encode(grey, level=(70, 35, 10)[level])
        band[:] = imagecodecs.jpeg8_decode(coded) * (top / 255)
    return out


def _brightness(x: FloatArray, level: int, rng: np.random.Generator) -> FloatArray:
    return x * (1.3, 1.8, 3.0)[level]


def _scale(x: FloatArray, level: int, rng: np.random.Generator) -> FloatArray:
    """Numbers in other units: the baseline offset left in, 8-bit numbers, reflectance from 0 to 1."""
    gain, offset = ((1.0, 1000.0), (255 / _PEAK, 0.0), (1 / _PEAK, 0.0))[level]
    return x * gain + offset


def _registration(x: FloatArray, level: int, rng: np.random.Generator) -> FloatArray:
    """Bands that do not lie on each other: each but B03 a little translated and rotated."""
    centre = (np.array(x.shape[1:]) - 1) / 2
    out = x.copy()
    for band, source, name in zip(out, x, BANDS, strict=True):
        towards, turn = (
            rng.uniform(0, 2 * np.pi),
            np.deg2rad(rng.normal(0, (0.05, 0.1, 0.3)[level])),
        )
        if name == "B03":
            continue
        move = (0.5, 1.0, 3.0)[level] * np.array([np.sin(towards), np.cos(towards)])
        matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        band[:] = ndimage.affine_transform(
            source, matrix, centre - matrix @ centre + move, order=3, mode="nearest"
        )
    return out


def _smooth_field(shape: tuple[int, int], share: float, rng: np.random.Generator) -> FloatArray:
    """Noise `(y, x)` of zero mean and unit variance, smooth over a share of the tile's side."""
    sigma = share * min(shape) / 2
    field = ndimage.gaussian_filter(rng.normal(size=shape), sigma, mode="wrap")
    return np.asarray((field - field.mean()) / field.std())


CORRUPTIONS: Mapping[str, Callable[[FloatArray, int, np.random.Generator], FloatArray]] = (
    MappingProxyType(
        {
            "gaussian-noise": _gaussian_noise,
            "salt-and-pepper": _salt_and_pepper,
            "blur": _blur,
            "motion-blur": _motion_blur,
            "haze": _haze,
            "cloud": _cloud,
            "stripes": _stripes,
            "missing-bands": _missing_bands,
            "compression": _compression,
            "brightness": _brightness,
            "scale": _scale,
            "registration": _registration,
        }
    )
)
"""Each corruption by name."""
