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

CARDS = registry.list_codecs()
CODECS = [card.codec_id for card in CARDS]
LATENT = [card.codec_id for card in CARDS if card.architecture != "classical"]


def smooth(card, height=96, width=80):
    """A cube inside one tile, float32 if the codec takes it, with a corner without data."""
    dtype, nodata = ("float32", np.nan) if "float32" in card.dtypes else ("int16", -1)
    values = tiles.tile(card, height, width, dtype)[None]
    values[:, :, :5, :9] = nodata
    bands = card.bands or [f"B{n}" for n in range(values.shape[1])]
    cube = fakes.cube(height, width, bands=bands, dates=1, x0=602_880.0, y0=4_999_680.0)
    cube = cube.astype(dtype).copy(data=values).chunk({"t": 1})
    return cube if dtype == "float32" else cube.assign_attrs(_FillValue=nodata)


@pytest.fixture(scope="module", params=CODECS)
def saved(request, tmp_path_factory):
    return save(request.param, tmp_path_factory)


@pytest.fixture(scope="module", params=LATENT)
def with_latents(request, tmp_path_factory):
    return save(request.param, tmp_path_factory)


def save(codec, tmp_path_factory):
    """A compressed cube, computed, and the self-contained store of it."""
    compressed = compress_cube(smooth(registry.get_card(codec)), codec)
    path = tmp_path_factory.mktemp(codec) / "s.zarr"
    report = write_store(compressed, path, self_contained=True)
    return compressed.compute(), path, report


def test_the_cube_comes_back(saved):
    compressed, path, report = saved
    tolerance = registry.get_card(report.codec).decode_tolerance
    np.testing.assert_allclose(open_cube(path).values, compressed.values, rtol=0, atol=tolerance)
    assert report.tiles == 1
    assert report.metrics["psnr"] is None or report.metrics["psnr"] > 35
    assert 0 < report.bpppb < 32  # 19 times as many pixels are coded as there are
    card = registry.get_card(report.codec)
    dtype = "float32" if "float32" in card.dtypes and not card.scale else "uint16"
    assert report.ratio_to == dtype


def test_latents_are_integers_with_a_hole_where_no_pixel_is_valid(with_latents):
    _, path, report = with_latents
    card = registry.get_card(report.codec)
    latents = xr.open_zarr(latent_view(path), mask_and_scale=False)["embeddings"]
    assert latents.dtype == np.int32
    assert latents.sizes["x"] == card.tile // card.stride
    empty = (latents == latents.attrs["_FillValue"]).all("embedding").values[0]
    window = open_cube(path).attrs
    assert window["nc:codec"] == card.codec_id
    there = 96 * 80 / (empty.size * card.stride**2)  # whole tiles may hold far more
    assert 1 - empty.mean() == pytest.approx(there, abs=0.2)
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
if sys.argv[2] == "latents":
    latents = xr.open_zarr(latent_view(sys.argv[1]))["embeddings"].load()
assert "torch" not in sys.modules, "entropy decoding is integers only"
print(float(dataset["data"].sum()))
"""


def test_a_fresh_process_opens_it_and_reads_latents_without_torch_and_pixels_in_plain_xarray(
    saved, tmp_path
):
    _, path, report = saved
    views = "latents" if report.codec in LATENT else "pixels"
    result = subprocess.run(
        [sys.executable, "-c", ALONE, str(path), views],
        capture_output=True, text=True, check=False, cwd=tmp_path, env=dict(os.environ),
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    expected = float(xr.open_zarr(path)["data"].sum())
    assert float(result.stdout) == pytest.approx(expected, rel=1e-6)


def test_a_classical_codec_has_no_latents_to_be_seen(tmp_path):
    write_store(compress_cube(smooth(registry.get_card("zfp")), "zfp"), tmp_path / "s.zarr")
    with pytest.raises(errors.FormatUnsuitableError, match="latents"):
        latent_view(tmp_path / "s.zarr")
