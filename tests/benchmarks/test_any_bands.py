"""The benchmark of other cubes: rivals are asked for the PSNR that was reached, and auto is auto's."""

from __future__ import annotations

import numpy as np
import pytest

from openeo_nc.benchmarks import any_bands
from openeo_nc.benchmarks.kinds import Kind, kinds


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    coarse = rng.integers(1, 9, (1, 6, 6)).repeat(8, 1).repeat(8, 2).astype(np.uint8)
    noise = rng.normal(-12, 3, (2, 48, 48)).astype(np.float32)
    noise[:, :5] = np.nan
    tiles = [Kind(name="classes", pixels=coarse), Kind(name="backscatter", pixels=noise)]
    return {row["kind"]: row for row in any_bands.measure(tiles, (4.0,))}


def test_classes_are_exact_and_pixels_are_the_universal_codecs(rows):
    assert rows["classes"]["auto"]["psnr"] is None
    assert rows["backscatter"]["auto"] == {
        "codec": "klt-dct",
        "bytes": rows["backscatter"]["bytes"],
        "psnr": rows["backscatter"]["psnr"],
    }


def test_the_best_rival_is_the_smallest_and_takes_the_dtype(rows):
    row = rows["backscatter"]
    assert {"sperr", "sz3", "zfp"} <= set(row["rivals"])
    assert "jpeg2000" not in row["rivals"]  # takes no floats
    assert row["best"]["bytes"] == min(row["rivals"].values())
    text = any_bands.table({"rows": list(rows.values())})
    assert f"{row['bytes'] / row['best']['bytes']:.2f}" in text
    assert "backscatter" in text


@pytest.mark.realdata
def test_kinds_are_tiles(shared_data):
    found = list(kinds(shared_data))
    assert len({kind.name for kind in found}) == len(found) >= 15
    assert all(kind.pixels.ndim == 3 and kind.pixels.size for kind in found)
    assert {kind.pixels.dtype.kind for kind in found} == {"u", "i", "f"}
