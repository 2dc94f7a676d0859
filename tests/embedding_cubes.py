"""Embedding cubes for tests: unit vectors on a grid of patches, with a hole."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import xarray as xr

from openeo_nc.models.quantisation import quantiser

DIM = 16
MODEL = {"id": "test-model", "version": "1", "weights_sha256": "ab" * 32}


def vectors(n: int, dim: int = DIM, seed: int = 0) -> np.ndarray:
    """`(n, dim)` unit vectors."""
    v = np.random.default_rng(seed).normal(size=(n, dim)) + 0.2
    return (v / np.linalg.norm(v, axis=1, keepdims=True)).astype(np.float32)


def cube(name="int8", *, dates=2, y=10, x=14, dim=DIM, hole=True, chunks=None) -> xr.DataArray:
    """`(t, embedding, y, x)` on the lattice of a quantiser, 80 m patches in UTM 31N."""
    v = vectors(dates * y * x, dim)
    if hole:
        v[3:6] = np.nan
    q = quantiser(name, dim=dim, sample=vectors(400, dim, 7))
    data = q.snap(v).reshape(dates, y, x, dim).transpose(0, 3, 1, 2)
    found = xr.DataArray(
        data,
        dims=("t", "embedding", "y", "x"),
        coords={
            "t": pd.date_range("2024-06-01", periods=dates, freq="5D"),
            "embedding": [f"e{i:03d}" for i in range(dim)],
            "y": 5_000_000.0 - 40 - 80 * np.arange(y),
            "x": 600_000.0 + 40 + 80 * np.arange(x),
        },
        name="embedding",
        attrs={
            "emb:type": "chip",
            "emb:dimensions": dim,
            "nc:model": json.dumps(MODEL),
            "nc:stride": 8,
            "nc:bands": ["B02", "B03"],
            "nc:quantization": json.dumps(q.document()),
        },
    ).rio.write_crs("EPSG:32631")
    return found.chunk(chunks or {"t": 1, "y": 6, "x": 7})
