"""Stores of the codecs that the package ships: no torch to open, and no bit goes unnoticed."""

import os
import subprocess
import sys

import fakes
import numpy as np
import pytest
import tiles
import xarray as xr

from openeo_nc import errors
from openeo_nc.codecs import registry
from openeo_nc.codecs.views import latent_view
from openeo_nc.cubes.compress import compress_cube
from openeo_nc.cubes.store import write_store
from openeo_nc.cubes.stored import open_cube

CODECS = [card.codec_id for card in registry.list_codecs()]


def smooth(card, height=96, width=80):
    """A float32 cube inside one tile, with a corner without data."""
    values = tiles.tile(card, height, width, "float32")[None]
    values[:, :, :5, :9] = np.nan
    bands = card.bands or [f"B{n}" for n in range(values.shape[1])]
    cube = fakes.cube(height, width, bands=bands, dates=1, x0=602_880.0, y0=4_999_680.0)
    return cube.astype("float32").copy(data=values).chunk({"t": 1})


@pytest.fixture(scope="module", params=CODECS)
def saved(request, tmp_path_factory):
    """A compressed cube, computed, and the self-contained store of it."""
    compressed = compress_cube(smooth(registry.get_card(request.param)), request.param)
    path = tmp_path_factory.mktemp(request.param) / "s.zarr"
    report = write_store(compressed, path, self_contained=True)
    return compressed.compute(), path, report


def test_the_cube_comes_back(saved):
    compressed, path, report = saved
    tolerance = registry.get_card(report.codec).decode_tolerance
    np.testing.assert_allclose(open_cube(path).values, compressed.values, rtol=0, atol=tolerance)
    assert report.tiles == 1
    assert report.metrics["psnr"] > 35
    assert 0 < report.bpppb < 16
    assert report.ratio_to == ("uint16" if registry.get_card(report.codec).scale else "float32")


def test_latents_are_integers_with_a_hole_where_no_pixel_is_valid(saved):
    _, path, report = saved
    card = registry.get_card(report.codec)
    latents = xr.open_zarr(latent_view(path), mask_and_scale=False)["embeddings"]
    assert latents.dtype == np.int32
    assert latents.sizes["x"] == card.tile // card.stride
    empty = (latents == latents.attrs["_FillValue"]).all("embedding").values[0]
    window = open_cube(path).attrs
    assert window["nc:codec"] == card.codec_id
    assert empty.mean() > 0.8  # of 384 x 384 pixels, 96 x 80 are there
    assert not empty.all()


def test_no_damaged_byte_goes_unnoticed(saved):
    _, path, _ = saved
    shard = path / "data" / "c" / "0" / "0" / "0" / "0"
    whole = shard.read_bytes()
    rng = np.random.default_rng(3)
    places = np.unique(np.r_[0, 5, len(whole) - 1, rng.integers(0, len(whole), 20)])
    try:
        for place in places:
            damaged = bytearray(whole)
            damaged[place] ^= 1 << int(rng.integers(8))
            shard.write_bytes(bytes(damaged))
            with pytest.raises(errors.PayloadError):
                xr.open_zarr(path)["data"].compute(scheduler="sync")
        for length in (0, 1, 19, len(whole) // 2, len(whole) - 1):
            shard.write_bytes(whole[:length])
            with pytest.raises(errors.PayloadError):
                xr.open_zarr(path)["data"].compute(scheduler="sync")
    finally:
        shard.write_bytes(whole)


ALONE = """
import sys
import xarray as xr
dataset = xr.open_zarr(sys.argv[1])
assert "torch" not in sys.modules
assert "openeo_nc.cubes" not in sys.modules
from openeo_nc.codecs.views import latent_view
latents = xr.open_zarr(latent_view(sys.argv[1]))["embeddings"].load()
assert "torch" not in sys.modules, "entropy decoding is integers only"
print(float(dataset["data"].sum()))
"""


def test_a_fresh_process_opens_it_and_reads_latents_without_torch_and_pixels_in_plain_xarray(
    saved, tmp_path
):
    _, path, _ = saved
    result = subprocess.run(
        [sys.executable, "-c", ALONE, str(path)],
        capture_output=True, text=True, check=False, cwd=tmp_path, env=dict(os.environ),
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    expected = float(xr.open_zarr(path)["data"].sum())
    assert float(result.stdout) == pytest.approx(expected, rel=1e-6)
