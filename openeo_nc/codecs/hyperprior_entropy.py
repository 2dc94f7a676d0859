"""The hyperprior codec's entropy model in integers: which table codes each latent, and the coding.

The float form, which training uses, is `hyperprior_rate.EntropyModel`; names agree. Latents are coded
in passes (channel slices, the first one interlaced in space). Each pass turns what is decoded so far
into a mean, in eighths, and a scale index for each of its latents:

    z_hat --h_s--> total --[activate, spatial, activate, head]--> mean, scale index   (each pass)
                     ^                                                  |
                     +------ contexts(features of decoded latents) <----+

A latent is coded as its distance from the rounded mean. The fraction of the mean left by rounding
picks one of five tables a scale; a negative fraction mirrors the distance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from openeo_nc.codecs.entropy import Decoder, Encoder, Tables
from openeo_nc.codecs.integer_net import (
    ACTIVATION_BITS,
    SUM_BITS,
    WEIGHT_BITS,
    Convolution,
    activate,
    depthwise,
    shift,
    upsample,
)
from openeo_nc.errors import WeightsInvalidError

Arrays = dict[str, npt.NDArray[Any]]
IntArray = npt.NDArray[np.int32]
SCALES, PHASES = 40, 5
"""Tables are numbered PHASES * scale index + |fraction of the mean in eighths|."""
INDEX_GAIN_BITS = 3
Z_LIMIT = 127
MEAN_LIMIT = 1 << 24
VALUE_LIMIT = 1 << 28
"""Latents beyond this are no latents; keeps every sum of the neighbour prediction exact."""
CLIPPED, LOG_ENTRIES = 4, 1024

Number = TypeVar("Number", np.int32, np.float64)
Symbols = list[tuple[IntArray, npt.NDArray[np.uint8]]]
"""What is coded of y and the table of each, `(n,)`, pass by pass."""
Coder = Callable[[IntArray, npt.NDArray[np.uint8], npt.NDArray[np.bool_]], IntArray]
"""(rounded means, table indexes, mirrored) of one pass's latents to the latents themselves."""


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One step of coding y."""

    start: int
    stop: int
    phase: int | None
    """None: all positions. 0: even rows and columns, 1: odd rows and columns, 2: the rest."""

    def positions(self, height: int, width: int) -> npt.NDArray[np.bool_]:
        """`(height, width)`, True where this pass codes."""
        odd_y = (np.arange(height) % 2 == 1)[:, None]
        odd_x = (np.arange(width) % 2 == 1)[None, :]
        if self.phase is None:
            return np.ones((height, width), bool)
        at: npt.NDArray[np.bool_] = (~odd_y & ~odd_x, odd_y & odd_x, odd_y ^ odd_x)[self.phase]
        return at


def coding_passes(slices: tuple[int, ...]) -> list[Pass]:
    """The first slice in three interlaced passes, each other slice in one."""
    passes, start = [], 0
    for i, width in enumerate(slices):
        phases: tuple[int | None, ...] = (0, 1, 2) if i == 0 else (None,)
        passes += [Pass(start=start, stop=start + width, phase=p) for p in phases]
        start += width
    return passes


class IntegerEntropyModel:
    """Codes `(latents, y, x)` int32 latents and their hyper-latents; thread-safe."""

    def __init__(self, arrays: Arrays) -> None:
        try:
            self.passes = coding_passes(tuple(int(n) for n in arrays["slices"]))
            self.h_s = [Convolution.load(arrays, f"h_s.{i}") for i in range(3)]
            count = len(self.passes)
            self.contexts = [Convolution.load(arrays, f"contexts.{i}") for i in range(count - 1)]
            self.spatial = [Convolution.load(arrays, f"spatial.{i}") for i in range(count)]
            self.heads = [Convolution.load(arrays, f"heads.{i}") for i in range(count)]
            self.by_quality = arrays["by_quality.weight"].astype(np.float64)
            self.index_by_quality = arrays["index_by_quality"].astype(np.float64)
            self.neighbours = arrays["neighbours"].astype(np.float64)
            self.log_features = arrays["log_features"].astype(np.float64)
            self.y_tables = Tables(
                freq=arrays["y_tables.freq"].astype(np.uint32), offset=arrays["y_tables.offset"]
            )
            self.z_tables = Tables(
                freq=arrays["z_tables.freq"].astype(np.uint32), offset=arrays["z_tables.offset"]
            )
        except KeyError as error:
            raise WeightsInvalidError(f"the entropy model's weights lack {error}") from error
        if len(self.y_tables.freq) != SCALES * PHASES or len(self.log_features) != LOG_ENTRIES:
            raise WeightsInvalidError("the entropy model's tables have other sizes than its code")
        self.latents = self.passes[-1].stop
        self.hyper = self.h_s[0].weight.shape[1]

    def z_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """Shape of z for latents of a height and width."""
        return self.hyper, -(-height // 4), -(-width // 4)

    def encode(self, y: IntArray, z: IntArray, quality: float) -> tuple[bytes, bytes]:
        """Streams of z and of y. z of `z_shape`, within +-127; its choice moves the rate only."""
        return self.streams(z, self.symbols(y, z, quality))

    def streams(self, z: IntArray, symbols: Symbols) -> tuple[bytes, bytes]:
        """Streams of z and of what `symbols` or the quantiser found with this z."""
        z_coder, coder = Encoder(), Encoder()
        z_coder.push(z.reshape(-1), self._z_index(z.shape), self.z_tables)
        for values, table in symbols:
            coder.push(values, table, self.y_tables)
        return z_coder.finish(), coder.finish()

    def symbols(self, y: IntArray, z: IntArray, quality: float) -> Symbols:
        """What is coded of y, and the table of each, `(n,)`, pass by pass."""
        chosen, found = self.by_pass(y), []

        def visit(mean: Any, table: npt.NDArray[np.uint8], mirrored: Any) -> IntArray:
            values = next(chosen)
            distance = values.astype(np.int64) - mean
            found.append((np.where(mirrored, -distance, distance).astype(np.int32), table))
            return values

        self.run(z, quality, (y.shape[1], y.shape[2]), visit)
        return found

    def decode(
        self, z_stream: bytes, y_stream: bytes, quality: float, height: int, width: int
    ) -> tuple[IntArray, IntArray]:
        """y `(latents, height, width)` and z from their streams; PayloadError if they are not."""
        shape = self.z_shape(height, width)
        z_coder = Decoder(z_stream)
        z = z_coder.pull(self._z_index(shape), self.z_tables).reshape(shape)
        z_coder.finish()
        coder = Decoder(y_stream)

        def pull(mean: Any, table: npt.NDArray[np.uint8], mirrored: Any) -> IntArray:
            distance = coder.pull(table, self.y_tables).astype(np.int64)
            values = mean + np.where(mirrored, -distance, distance)
            return np.asarray(np.clip(values, -VALUE_LIMIT, VALUE_LIMIT), dtype=np.int32)

        y = self.run(z, quality, (height, width), pull)
        coder.finish()
        return y, z

    def _z_index(self, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
        return np.repeat(np.arange(self.hyper, dtype=np.uint8), shape[1] * shape[2])

    def by_pass(self, y: npt.NDArray[Number]) -> Iterator[npt.NDArray[Number]]:
        """The part of `(latents, y, x)` that each pass codes, channel by channel."""
        for p in self.passes:
            coded = y[p.start : p.stop]
            if p.phase is not None:
                coded = coded[:, p.positions(*y.shape[1:])]
            yield coded.reshape(-1)

    def _hyper_features(self, z: IntArray, quality: int, height: int, width: int) -> Any:
        v = np.clip(z, -Z_LIMIT, Z_LIMIT).astype(np.float64) * (1 << ACTIVATION_BITS)
        v = activate(self.h_s[0](v))
        v = activate(self.h_s[1](upsample(v)))
        total = self.h_s[2](upsample(v))[:, :height, :width]
        levels = np.array([quality, (quality * quality + 128) >> 8], np.float64)
        return total + (self.by_quality @ levels)[:, None, None]

    def run(self, z: IntArray, quality: float, size: tuple[int, int], code: Coder) -> IntArray:
        """All passes: tables from what is known, latents from `code`; gives `(latents, y, x)`."""
        level = quality_level(quality)
        total = self._hyper_features(z, level, *size)
        y = np.zeros((self.latents, *size), np.int32)
        for i, p in enumerate(self.passes):
            at = p.positions(*size)
            inputs = activate(total)
            whole = p.phase is None
            features = activate(self.spatial[i](inputs, None if whole else at))
            mean, index = np.split(self.heads[i](features), 2)
            index = index + (self.index_by_quality[p.start : p.stop] * level)[:, None, None]
            if p.phase in (1, 2):
                known = y[p.start : p.stop].astype(np.float64)
                near = depthwise(known, self.neighbours[p.phase - 1])[:, at]
                mean = mean + near[:, None] * (1 << ACTIVATION_BITS)
            values, coded = self._code_pass(mean, index, code), y[p.start : p.stop]
            if whole:
                coded[...] = values.reshape(coded.shape)
            else:
                coded[:, at] = values.reshape(len(coded), -1)
            if i < len(self.contexts):
                decoded = coded if whole else np.where(at, coded, 0)
                total += self.contexts[i](self._features(decoded))
        return y

    def _code_pass(self, mean: Any, index: Any, code: Coder) -> IntArray:
        eighths = np.clip(shift(mean, SUM_BITS - 3), -MEAN_LIMIT, MEAN_LIMIT).astype(np.int32)
        scale = np.clip(shift(index, SUM_BITS - INDEX_GAIN_BITS), 0, SCALES - 1).astype(np.uint8)
        rounded = (eighths + 4) >> 3
        fraction = (eighths - 8 * rounded).astype(np.int8)
        table = PHASES * scale + np.abs(fraction).astype(np.uint8)
        return code(rounded.reshape(-1), table.reshape(-1), (fraction < 0).reshape(-1))

    def _features(self, decoded: IntArray) -> Any:
        clipped = np.clip(decoded, -CLIPPED, CLIPPED).astype(np.float64) * (1 << ACTIVATION_BITS)
        logs = self.log_features[np.minimum(np.abs(decoded), LOG_ENTRIES - 1)]
        return np.concatenate([clipped, logs])


def quality_level(quality: float) -> int:
    """Quality 1 to 8 as -256 to 256, by integer arithmetic on what the payload stores."""
    stored = round(quality * 256)
    return ((stored - 1152) * 256 + 448) // 896


def fixed_point(value: npt.NDArray[Any], bits: int, dtype: Any) -> npt.NDArray[Any]:
    """Real numbers as integers in units of 2^-bits; WeightsInvalidError if they do not fit."""
    scaled = np.rint(np.asarray(value, np.float64) * 2.0**bits)
    limits = np.iinfo(dtype)
    if not np.isfinite(scaled).all() or scaled.min() < limits.min or scaled.max() > limits.max:
        raise WeightsInvalidError(f"weights up to {np.abs(value).max()} do not fit {dtype}")
    return scaled.astype(dtype)


def integer_arrays(state: dict[str, npt.NDArray[Any]]) -> Arrays:
    """Float parameters of `hyperprior_rate.EntropyModel` by name, as the integers that ship."""
    arrays: Arrays = {}
    for name, value in state.items():
        module = name.split(".")[0]
        if module not in ("h_s", "contexts", "spatial", "heads"):
            continue
        weights = name.endswith(".weight")
        arrays[name] = fixed_point(
            value, WEIGHT_BITS if weights else SUM_BITS, np.int16 if weights else np.int32
        )
    arrays["h_s.2.bias"] = fixed_point(
        state["h_s.2.bias"] + state["by_quality.bias"], SUM_BITS, np.int32
    )
    arrays["by_quality.weight"] = fixed_point(state["by_quality.weight"], WEIGHT_BITS, np.int32)
    arrays["index_by_quality"] = fixed_point(state["index_by_quality"], WEIGHT_BITS, np.int32)
    arrays["neighbours"] = fixed_point(state["neighbours"][:, :, 0], WEIGHT_BITS, np.int32)
    logs = np.log2(1 + np.arange(LOG_ENTRIES))
    arrays["log_features"] = fixed_point(logs, ACTIVATION_BITS, np.int32)
    return arrays
