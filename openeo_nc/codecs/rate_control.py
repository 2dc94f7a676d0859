"""One tile to the payload that a `Rate` asks for: searches the quality, or the cheapest bounded codec."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from openeo_nc.codecs import bounded
from openeo_nc.codecs import nodata as missing
from openeo_nc.codecs.base import Basis, Codec, CodecCard, LatentCodec, Latents, restored
from openeo_nc.codecs.bitstream import round_quality
from openeo_nc.codecs.peak import clips, peak_of
from openeo_nc.codecs.rate import Rate
from openeo_nc.errors import OpenEONCError

PSNR_TOLERANCE = 0.15
"""dB that a search for a PSNR stops at."""
PSNR_LIMIT = 0.25
"""dB from which on a residual makes up what no quality reaches."""
RATIO_TOLERANCE = 0.01
"""Share of the bytes allowed that a search for a ratio may leave unused."""
RATIO_STEP = 1 / 16
"""Of quality, by which a search that ended with too many bytes goes on until they fit."""
MOST_TRIALS = 16

Tile = npt.NDArray[Any]
Trial = Callable[[float], tuple[float, Callable[[], bytes]]]
"""Of a quality: how far above what is wanted it is, and its payload when it is asked for."""


def encode_tile(
    codec: Codec,
    x: Tile,
    rate: Rate,
    *,
    nodata: float | None = None,
    basis: Basis = "tile",
    others: Sequence[Codec] = (),
) -> bytes:
    """The payload of one tile `(bands, y, x)`.

    Parameters
    ----------
    codec
        The codec of a quality, PSNR or ratio.
    rate
        What is asked. A PSNR below that of the lowest quality, and a ratio above its, give the
        lowest quality. A PSNR above that of the highest quality is reached by a residual where the
        codec has latents; a ratio below that of the highest quality gives the highest.
    nodata, basis
        As `Codec.encode` takes them.
    others
        Codecs that a bound may take instead, where they are smaller.

    Raises
    ------
    InvalidParameterError
        No codec keeps the bound on such pixels.
    BandMismatchError, DataTypeUnsupportedError, InvalidValuesError
    """
    if rate.max_error is not None:
        return _smallest([codec, *others], x, rate.max_error, nodata)
    if rate.target_psnr is not None:
        return _of_psnr(codec, x, rate.target_psnr, nodata, basis)

    def encode(quality: float | None) -> bytes:
        return codec.encode(x, quality, nodata=nodata, basis=basis)

    if rate.target_ratio is not None:
        return _of_bytes(codec, x.nbytes / rate.target_ratio, encode)
    return encode(rate.quality)


def psnr(x: Tile, out: Tile, card: CodecCard, nodata: float | None) -> float:
    """PSNR in dB of a decoded tile, as `cubes.metrics` defines it; infinite without an error.

    Peak and clipping are those of `peak`.
    """
    mask = missing.find(x, nodata)
    a, b = (v.astype(np.float64) if mask is None else v[~mask].astype(np.float64) for v in (x, out))
    if not a.size:
        return math.inf
    peak = peak_of(card, x.dtype)
    if peak is None:
        peak = float(np.ptp(a))
    elif clips(a.min(), a.max(), peak):
        b = np.clip(b, 0, peak)
    error = float(np.mean((a - b) ** 2))
    return 10 * math.log10(peak**2 / error) if error and peak else math.inf


def _of_psnr(codec: Codec, x: Tile, wanted: float, nodata: float | None, basis: Basis) -> bytes:
    below: list[tuple[float, float]] = []

    def trial(quality: float) -> tuple[float, Callable[[], bytes]]:
        if isinstance(codec, LatentCodec):
            latents = codec.analyse(x, quality=quality, nodata=nodata, basis=basis)
            gap = psnr(x, codec.synthesise(latents), codec.card, nodata) - wanted
            if gap < 0:
                below.append((gap, quality))
            return gap, partial(codec.pack, latents)
        payload = codec.encode(x, quality, nodata=nodata, basis=basis)
        return psnr(x, codec.decode(payload), codec.card, nodata) - wanted, lambda: payload

    gap, payload = search(codec.card, trial, slope=2.3, tolerance=PSNR_TOLERANCE)
    if abs(gap) > PSNR_LIMIT and below and basis == "tile" and isinstance(codec, LatentCodec):
        return _of_psnr_between(codec, x, wanted, nodata, max(below)[1])
    return payload()


def _of_psnr_between(
    codec: LatentCodec, x: Tile, wanted: float, nodata: float | None, quality: float
) -> bytes:
    """A PSNR that no quality has, a little above that of `quality` or far above the highest's.

    Reached by a residual: errors uniform within a window w are w^2 / 3 on average. A wider one
    leaves most pixels as they are and takes the largest errors away.
    """
    mask = missing.find(x, nodata)
    peak = bounded.peak_of(codec.card, x, mask)
    window = math.sqrt(3) * peak * 10 ** (-wanted / 20)
    if quality == codec.card.quality[1]:
        quality = bounded.base_quality(codec.card, window, peak)
    base = bounded.Base.of(codec, x, quality, nodata)
    least = 0.49 if x.dtype.kind != "f" else bounded.tolerance(base.values)
    window = max(
        window, least
    )  # below it integers are exact, and floats what a machine makes of them
    fine, coarse = 0.0, float(np.abs(x - base.values)[... if mask is None else ~mask].max())
    trials: list[tuple[float, float, Latents]] = []
    for number in range(MOST_TRIALS):
        latents = base.within(np.full(len(x), window))
        gap = psnr(x, restored(latents, base.values), codec.card, nodata) - wanted
        trials.append((gap, window, latents))
        if abs(gap) <= PSNR_TOLERANCE:
            break
        fine, coarse = (window, coarse) if gap > 0 else (fine, window)
        window *= 10 ** (min(gap, 6.0) / 20)
        if number > 2 or not fine < window < coarse:
            window = math.sqrt(max(fine, coarse / 1024) * coarse)
    # between the last pixel that is wrong and none: none
    best = min(trials, key=lambda trial: (trial[0] < -PSNR_LIMIT, abs(trial[0]), -trial[1]))
    return codec.pack(best[2])


def _of_bytes(codec: Codec, most: float, encode: Callable[[float | None], bytes]) -> bytes:
    found: dict[float, bytes] = {}

    def trial(quality: float) -> tuple[float, Callable[[], bytes]]:
        payload = found[quality] = encode(quality)
        gap = math.log2(len(payload) / most) + RATIO_TOLERANCE / 2
        return gap, lambda: payload

    search(codec.card, trial, slope=0.6, tolerance=RATIO_TOLERANCE / 2)
    low = codec.card.quality[0]
    while min(map(len, found.values())) > most and (lowest := min(found)) > low:
        trial(round_quality(max(lowest - RATIO_STEP, low)))
    fitting = [payload for payload in found.values() if len(payload) <= most]
    return max(fitting, key=len) if fitting else found[low]


def search(
    card: CodecCard,
    trial: Trial,
    *,
    slope: float,
    tolerance: float,
    start: float | None = None,
) -> tuple[float, Callable[[], bytes]]:
    """The trial whose rising gap is nearest to 0, one of the ends of the card's range if need be.

    False position between the nearest qualities on both sides; it starts at a quality and
    with a `slope`.
    """
    low, high, default = card.quality
    quality = default if start is None else start
    trials: dict[float, tuple[float, Callable[[], bytes]]] = {}
    for number in range(MOST_TRIALS):
        trials[quality] = trial(quality)
        gap = trials[quality][0]
        if abs(gap) <= tolerance:
            break
        below = max((q for q in trials if trials[q][0] < 0), default=None)
        above = min((q for q in trials if trials[q][0] > 0), default=None)
        if math.isinf(gap):
            quality = low if below is None else (quality + below) / 2
        elif below is not None and above is not None:
            share = trials[below][0] / (trials[below][0] - trials[above][0])
            quality = below + (above - below) * (min(max(share, 0.1), 0.9) if number < 4 else 0.5)
        else:
            quality -= gap / slope
        quality = round_quality(min(max(quality, low), high))
        if quality in trials:
            break
    return min(trials.values(), key=lambda found: abs(found[0]))


def _smallest(
    codecs: Sequence[Codec], x: Tile, max_error: Sequence[float], nodata: float | None
) -> bytes:
    """The smallest payload that keeps a bound, of the codecs that can; the first one's error else."""
    payloads: list[bytes] = []
    refusals: list[OpenEONCError] = []
    for codec in codecs:
        try:
            payloads.append(codec.encode_bounded(x, max_error, nodata=nodata))
        except OpenEONCError as error:
            refusals.append(error)
    if not payloads:
        raise refusals[0]
    return min(payloads, key=len)
