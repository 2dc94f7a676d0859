"""Tiles are coded alone; the error along their borders is that of their inside."""

from __future__ import annotations

import numpy as np
import pytest

from openeo_nc.benchmarks.tiles import from_split
from openeo_nc.codecs.registry import open_codec

pytestmark = pytest.mark.realdata
BORDER = 8


@pytest.mark.parametrize("codec_id", ["klt-dct", "s2l2a-hyperprior"])
def test_borders_are_at_most_a_decibel_worse(codec_id, shared_data):
    codec = open_codec(codec_id)
    errors = []
    for tile in from_split(shared_data, "s2l2a")[::2]:
        x = tile.pixels.astype(float)
        squared = (codec.decode(codec.encode(tile.pixels, 4.0)).astype(float) - x) ** 2
        inside = np.zeros(x.shape[1:], bool)
        inside[BORDER:-BORDER, BORDER:-BORDER] = True
        errors.append((squared[:, ~inside].mean(), squared[:, inside].mean()))
    border, inside_error = np.mean(errors, axis=0)
    assert 10 * np.log10(border / inside_error) <= 1.0
