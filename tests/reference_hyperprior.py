"""A slow decoder of the hyperprior codec's latents: int64 loops and the reference ANS, written apart.

It shares no code with `openeo_nc.codecs.hyperprior_entropy` or `integer_net`: only the arrays of the
weights file, the payload's sections and this description of the arithmetic.
"""

from __future__ import annotations

import numpy as np
from reference_ans import ReferenceDecoder

from openeo_nc.codecs.entropy import Tables


def convolve(arrays, name, x):
    """Zero-padded correlation of `(inputs, y, x)` int64, sums in units of 2^-20."""
    weight = arrays[f"{name}.weight"].astype(np.int64)
    bias = arrays.get(f"{name}.bias", np.zeros(len(weight), np.int64)).astype(np.int64)
    k = weight.shape[-1] // 2
    padded = np.pad(x, ((0, 0), (k, k), (k, k)))
    out = np.zeros((len(weight), *x.shape[1:]), np.int64)
    for row in range(x.shape[1]):
        for column in range(x.shape[2]):
            window = padded[:, row : row + 2 * k + 1, column : column + 2 * k + 1]
            out[:, row, column] = np.tensordot(weight, window, 3) + bias
    return out


def rounded(value, bits):
    return (value + (1 << (bits - 1))) >> bits


def relu(total):
    return np.clip(rounded(total, 12), 0, 65535)


def twice(x):
    return x[:, np.arange(2 * x.shape[1]) // 2][:, :, np.arange(2 * x.shape[2]) // 2]


def order(slices):
    start = 0
    for i, width in enumerate(slices):
        for phase in (0, 1, 2) if i == 0 else (None,):
            yield slice(start, start + width), phase
        start += width


def codes_here(phase, row, column):
    return {
        None: True,
        0: row % 2 == 0 and column % 2 == 0,
        1: row % 2 == 1 and column % 2 == 1,
        2: row % 2 != column % 2,
    }[phase]


def features(arrays, decoded):
    logs = arrays["log_features"].astype(np.int64)
    return np.concatenate([np.clip(decoded, -4, 4) * 256, logs[np.minimum(abs(decoded), 1023)]])


def decode(arrays, z_stream, y_stream, quality, height, width):
    """Latents `(channels, height, width)` int64."""
    tables = {
        name: Tables(freq=arrays[f"{name}.freq"].astype(np.uint32), offset=arrays[f"{name}.offset"])
        for name in ("y_tables", "z_tables")
    }
    channels = arrays["h_s.0.weight"].shape[1]
    shape = (channels, -(-height // 4), -(-width // 4))
    index = np.repeat(np.arange(channels, dtype=np.uint8), shape[1] * shape[2])
    z = ReferenceDecoder(z_stream).pull(index, tables["z_tables"]).astype(np.int64).reshape(shape)

    level = ((round(quality * 256) - 1152) * 256 + 448) // 896
    v = relu(convolve(arrays, "h_s.0", np.clip(z, -127, 127) * 256))
    v = relu(convolve(arrays, "h_s.1", twice(v)))
    total = convolve(arrays, "h_s.2", twice(v))[:, :height, :width]
    by_quality = arrays["by_quality.weight"].astype(np.int64)
    total = total + (by_quality @ [level, rounded(level * level, 8)])[:, None, None]

    coder = ReferenceDecoder(y_stream)
    slices = arrays["slices"].tolist()
    y = np.zeros((sum(slices), height, width), np.int64)
    for i, (part, phase) in enumerate(order(slices)):
        head = convolve(arrays, f"heads.{i}", relu(convolve(arrays, f"spatial.{i}", relu(total))))
        mean, scale = np.split(head, 2)
        scale = scale + (arrays["index_by_quality"][part].astype(np.int64) * level)[:, None, None]
        if phase in (1, 2):
            kernel = arrays["neighbours"][phase - 1].astype(np.int64)
            known = np.pad(y[part], ((0, 0), (1, 1), (1, 1)))
            near = sum(
                kernel[:, a, b, None, None] * known[:, a : a + height, b : b + width]
                for a in range(3)
                for b in range(3)
            )
            mean = mean + near * 256
        where = [
            (c, r, k)
            for c in range(part.start, part.stop)
            for r in range(height)
            for k in range(width)
            if codes_here(phase, r, k)
        ]
        eighths = [int(rounded(mean[c - part.start, r, k], 17)) for c, r, k in where]
        scales = [
            int(np.clip(rounded(scale[c - part.start, r, k], 17), 0, 39)) for c, r, k in where
        ]
        nearest = [(e + 4) // 8 for e in eighths]
        table = [5 * s + abs(e - 8 * n) for s, e, n in zip(scales, eighths, nearest, strict=True)]
        symbols = coder.pull(np.array(table, np.uint8), tables["y_tables"])
        for at, e, n, symbol in zip(where, eighths, nearest, symbols, strict=True):
            y[at] = n - symbol if e < 8 * n else n + symbol
        if f"contexts.{i}.weight" in arrays:
            decoded = np.zeros_like(y[part])
            for c, r, k in where:
                decoded[c - part.start, r, k] = y[c, r, k]
            total = total + convolve(arrays, f"contexts.{i}", features(arrays, decoded))
    return y
