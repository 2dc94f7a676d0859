"""The public API, which stays as it is: names, parameters, and what auto, encode and decode do."""

from __future__ import annotations

import inspect
import subprocess
import sys

import numpy as np
import pytest
import tiles

import openeo_nc
from openeo_nc.errors import CodecNotFoundError
from openeo_nc.sentinel2 import BANDS

PARAMETERS = {
    "compress_cube": [
        "cube", "codec", "quality", "scale", "target_psnr", "target_ratio", "max_error", "guard",
        "dates",
    ],
    "compression_quality": [
        "data", "reference", "peak", "red", "nir", "qualities", "codecs",
    ],
    "decode_cube": ["embedding", "bands"],
    "encode_cube": ["cube", "model", "quality", "scale"],
    "list_codecs": [],
    "open_codec": ["codec_id", "bands", "device"],
    "register": ["registry", "standard"],
}  # fmt: skip


def test_names_and_their_parameters():
    assert list(PARAMETERS) == openeo_nc.__all__
    assert set(PARAMETERS) <= set(dir(openeo_nc))
    for name, parameters in PARAMETERS.items():
        assert list(inspect.signature(getattr(openeo_nc, name)).parameters) == parameters
    with pytest.raises(AttributeError, match="nothing"):
        _ = openeo_nc.nothing


def test_importing_loads_nothing():
    code = (
        "import sys, openeo_nc; print(*sys.modules.keys() & {'numpy', 'xarray', 'dask', 'openeo'})"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert not done.stdout.strip()


def test_auto_opens_the_codec_of_exactly_these_bands():
    assert openeo_nc.open_codec("auto", bands=list(BANDS)).card.codec_id == "s2l2a-restoration"
    for bands in (None, list(BANDS[::-1]), list(BANDS[1:]), ["B02", "B03", "B04"]):
        assert openeo_nc.open_codec("auto", bands=bands).card.codec_id == "klt-dct"
    with pytest.raises(CodecNotFoundError, match="klt-dct"):
        openeo_nc.open_codec("nothing")


@pytest.mark.parametrize("dtype", ["int16", "uint16", "float32"])
@pytest.mark.parametrize("codec_id", ["klt-dct", "s2l2a-hyperprior", "s2l2a-restoration"])
def test_arrays_become_bytes_and_arrays_again(codec_id, dtype):
    assert codec_id in {card.codec_id for card in openeo_nc.list_codecs()}
    codec = openeo_nc.open_codec(codec_id)
    for height, width in ((1, 1), (101, 67)):
        x = tiles.tile(codec.card, height, width, dtype)
        payload = codec.encode(x, quality=5.0)
        assert isinstance(payload, bytes)
        again = codec.decode(payload)
        assert (again.shape, again.dtype) == (x.shape, x.dtype)
        assert np.sqrt(np.mean((again.astype(float) - x) ** 2)) < 100
