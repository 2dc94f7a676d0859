"""Tiles are coded alone; the error along their borders is that of their inside."""

from __future__ import annotations

import numpy as np
import pytest

from openeo_nc.benchmarks.tiles import from_split
from openeo_nc.codecs.registry import open_codec
from openeo_nc.cubes.borders import border_decibel, border_mse

pytestmark = pytest.mark.realdata


@pytest.mark.parametrize("codec_id", ["klt-dct", "s2l2a-hyperprior"])
def test_borders_are_at_most_a_decibel_worse(codec_id, shared_data):
    codec = open_codec(codec_id)
    errors = []
    for tile in from_split(shared_data, "s2l2a")[::2]:
        restored = codec.decode(codec.encode(tile.pixels, 4.0))
        errors.append(border_mse(tile.pixels, restored))
    assert border_decibel(*np.mean(errors, axis=0)) <= 1.0
