"""The benchmark of quantisers, at a tiny size."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

from openeo_nc.benchmarks import quantisation
from openeo_nc.cli import main
from openeo_nc.errors import NoDataAvailableError


def test_vectors_of_a_folder(tmp_path):
    folder = tmp_path / "embeddings" / "alphaearth_2024"
    folder.mkdir(parents=True)
    v = np.random.default_rng(0).normal(size=(300, 64)).astype(np.float32)
    v /= np.linalg.norm(v, axis=1, keepdims=True)
    xr.Dataset({"embedding": (("sample", "dim"), v)}).to_netcdf(folder / "a.nc")
    ran = CliRunner().invoke(main, ["bench", "quantisation", "--data", str(tmp_path), "--json"])
    assert ran.exit_code == 0, ran.output
    kept = {one["quantiser"]: one for one in json.loads(ran.output)}
    assert set(kept) == set(quantisation.NAMES)
    assert kept["float32"]["error"] < 1e-6
    assert kept["float32"]["neighbours"] == 1
    assert kept["int8"]["bytes"] == 68
    assert kept["binary"]["ratio"] == 32
    assert kept["binary"]["error"] > kept["int8"]["error"] > 0
    assert (
        "1 - cosine"
        in CliRunner().invoke(main, ["bench", "quantisation", "--data", str(tmp_path)]).output
    )
    with pytest.raises(NoDataAvailableError):
        quantisation.run(tmp_path / "embeddings")


@pytest.mark.realdata
def test_vectors_of_our_model(shared_data):
    kept = quantisation.run(shared_data, side=64, names=["int8", "pca16+int8"])
    found = {(k.vectors, k.quantiser): k for k in kept}
    assert found["s2-embed-small", "int8"].error < 1e-3
    assert found["AlphaEarth", "int8"].neighbours > 0.95
