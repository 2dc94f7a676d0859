"""The rate-distortion benchmark: what it measures, how it compares, and that baselines stay put."""

from __future__ import annotations

import json
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from openeo_nc.benchmarks import rate_distortion
from openeo_nc.benchmarks.curves import bd_rate, rate_at
from openeo_nc.benchmarks.rate_distortion import measure, run, summarise
from openeo_nc.benchmarks.rate_distortion_output import table
from openeo_nc.benchmarks.tiles import from_folder, from_split
from openeo_nc.errors import (
    CodecNotFoundError,
    InvalidParameterError,
    InvalidValuesError,
    NoDataAvailableError,
    OutputExistsError,
)

# bpppb @ dB measured with imagecodecs 2026.3.6 (OpenJPEG 2.5.4), mean of the 8 SSL4EO tiles.
PINNED = {
    ("jpeg2000-bands", 57): (0.1757, 39.894),
    ("jpeg2000-components", 57): (0.1247, 40.111),
    ("klt-jpeg2000", 54): (0.0775, 40.557),
    ("klt-jpeg2000", 63): (0.3657, 47.430),
    ("klt-jpeg2000-joint", 57): (0.0478, 40.246),
    ("klt-jpeg2000-joint", 63): (0.2441, 46.368),
}
S2 = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")


def write_tif(path, pixels, names=None, nodata=None):
    count, height, width = pixels.shape
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=count,
        height=height,
        width=width,
        dtype=pixels.dtype,
        nodata=nodata,
        crs="EPSG:32633",
        transform=from_origin(500000, 5000000, 10, 10),
    ) as file:
        file.write(pixels)
        for i, name in enumerate(names or (), 1):
            file.set_band_description(i, name)


@pytest.fixture
def pixels():
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:40, :48]
    wave = 1500 + 900 * np.sin(x / 6 + np.arange(12)[:, None, None] / 9) * np.cos(y / 8)
    return (wave + rng.normal(0, 40, wave.shape)).clip(1, None).astype(np.uint16)


@pytest.fixture
def folder(tmp_path, pixels):
    write_tif(tmp_path / "scene" / "a.tif", pixels, S2)
    write_tif(tmp_path / "scene" / "b.tif", pixels[:, ::-1], S2)
    return tmp_path / "scene"


@pytest.fixture
def data(tmp_path, pixels):
    """A data folder with a split of two places and a manifest."""
    write_tif(tmp_path / "data" / "set" / "a.tif", pixels, S2)
    write_tif(tmp_path / "data" / "set" / "b.tif", pixels + np.uint16(500), S2, nodata=0)
    files = [
        {"path": "set/a.tif", "offset_dn": None, "offset_dn_guess": None, "gsd_m": 10},
        {"path": "set/b.tif", "offset_dn_guess": 1000, "gsd_m": 10},
    ]
    (tmp_path / "data" / "manifest.json").write_text(json.dumps({"files": files}))
    evaluation = [{"place": p, "files": [f"set/{p}.tif"]} for p in "ab"]
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"train": [], "evaluation": evaluation}))
    return tmp_path / "data", split


class Lossless:
    """A registered codec, as the benchmark sees one: every quality gives the pixels back."""

    card = SimpleNamespace(quality=(1.0, 3.0, 2.0))

    def encode(self, x, quality=None, *, nodata=None):
        self.nodata = nodata
        head = json.dumps([str(x.dtype), *x.shape]).encode()
        return head + b"\n" + zlib.compress(x.tobytes(), round(quality))

    def decode(self, payload):
        head, body = payload.split(b"\n", 1)
        dtype, *shape = json.loads(head)
        return np.frombuffer(zlib.decompress(body), dtype).reshape(shape)


def test_rate_at_equal_psnr():
    curve = [(0.1 * 2 ** (p / 3), 37 + p) for p in (0, 3, 6, 9)]
    assert rate_at(curve, 41.5) == pytest.approx(0.1 * 2**1.5)
    assert rate_at(curve[::-1], 40) == pytest.approx(0.2)
    assert rate_at(curve, 36.9) is None
    assert rate_at(curve, 46.1) is None
    assert rate_at([*curve, (5.0, None)], 40) == pytest.approx(0.2)
    assert rate_at(curve[:1], 37) is None
    assert rate_at([], 40) is None


def test_bd_rate():
    ours = [(0.1 * 2 ** (p / 3), 37.0 + p) for p in range(12)]
    theirs = [(1.25 * rate, psnr) for rate, psnr in ours[2:]]
    found = bd_rate(ours, theirs)
    assert found.percent == pytest.approx(100 * (1 / 1.25 - 1))
    assert (found.low, found.high) == (39.0, 48.0)
    # a difference that grows from 0 to log 2 over the range: its mean is half of that
    growing = [(rate * 2 ** ((psnr - 37) / 11), psnr) for rate, psnr in ours]
    assert bd_rate(growing, ours).percent == pytest.approx(100 * (2**0.5 - 1))
    assert bd_rate(ours, ours).percent == pytest.approx(0)
    assert bd_rate(ours, ours[:1]) is None
    assert bd_rate(ours, [(1.0, 60.0), (2.0, 63.0)]) is None
    assert bd_rate([(1.0, None)], ours) is None


def test_report_table_and_files(folder, tmp_path):
    out = tmp_path / "out"
    report = run(tiles=folder, codecs=rate_distortion.RIVALS, out=out, progress=False)
    assert json.loads((out / "rate_distortion.json").read_text()) == report
    assert (out / "rate_distortion.png").read_bytes().startswith(b"\x89PNG")
    assert report["places"] == {"scene": 2}
    rows = [r for r in report["tiles"] if (r["codec"], r["quality"]) == ("klt-jpeg2000", 60)]
    assert [r["tile"] for r in rows] == ["a", "b"]
    assert all(r["bpppb"] == r["bytes"] * 8 / (12 * 40 * 48) for r in rows)
    mean = next(m for m in report["means"] if (m["codec"], m["quality"]) == ("klt-jpeg2000", 60))
    assert mean["bytes"] == sum(r["bytes"] for r in rows)
    assert mean["psnr"] == pytest.approx(sum(r["psnr"] for r in rows) / 2)
    places = {(r["codec"], r["rival"]): r["percent"] for r in report["bd_rate"]}
    assert places["klt-jpeg2000-joint", "klt-jpeg2000"] < -5
    assert ("klt-jpeg2000", "klt-jpeg2000") not in places
    at = [r for r in report["at_psnr"] if r["psnr"] == 46]
    assert min(r["of_best_classical"] for r in at) == 1
    text = table(report)
    assert f"{mean['bpppb']:.3f} @ {mean['psnr']:.2f}" in text
    assert "scene (2 tiles)" in text
    for name in rate_distortion.RIVALS:
        row = next(r for r in report["at_psnr"] if (r["codec"], r["psnr"]) == (name, 43.0))
        assert row["of_rival"][name] == 1.0
        assert row["times_smaller_than_uint16"] == pytest.approx(16 / row["bpppb"])
        assert row["times_smaller_than_native"] == pytest.approx(
            16 * (4 + 6 / 4 + 2 / 36) / 12 / row["bpppb"]
        )


def test_nothing_is_overwritten(folder, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "rate_distortion.json").write_text("mine")
    with pytest.raises(OutputExistsError):
        run(tiles=folder, out=tmp_path / "out", codecs=("jpeg2000-bands",), progress=False)
    assert (tmp_path / "out" / "rate_distortion.json").read_text() == "mine"


def test_places_offsets_and_registered_codecs(data, pixels, monkeypatch):
    codec = Lossless()
    monkeypatch.setattr(rate_distortion, "get_card", lambda _: codec.card)
    monkeypatch.setattr(rate_distortion, "open_codec", lambda _: codec)
    tiles = from_split(*data)
    np.testing.assert_array_equal(tiles[0].pixels, pixels)
    assert tiles[0].nodata is None
    np.testing.assert_array_equal(tiles[1].pixels, pixels.astype(int) - 500)
    assert tiles[1].pixels.dtype == np.int16
    assert tiles[1].nodata == -1000
    report = run(*data, codecs=("zip", "jpeg2000-bands"), qualities=(1, 2), progress=False)
    assert codec.nodata == -1000
    assert report["places"] == {"a": 1, "b": 1}
    assert {m["place"] for m in report["means"]} == {"a", "b", "mean"}
    exact = [m for m in report["means"] if m["codec"] == "zip"]
    assert [m["quality"] for m in exact] == [1, 2] * 3
    assert all(m["psnr"] is None for m in exact)  # infinite
    levels = {m["quality"] for m in report["means"] if m["codec"] == "jpeg2000-bands"}
    assert levels == {54, 57, 60, 63, 66, 69, 72, 78, 84, 90}  # a list is for registered codecs
    assert "zip" in table(report)
    assert report["classical"] == ["zip", "jpeg2000-bands"]
    with pytest.raises(InvalidParameterError, match="1 to 3"):
        run(*data, codecs=("zip",), qualities={"zip": [9]}, progress=False)


def test_large_files_are_cut_into_tiles(tmp_path):
    write_tif(tmp_path / "big.tif", np.ones((1, 400, 500), np.int16))
    tiles = from_folder(tmp_path)
    assert [t.name for t in tiles] == ["big[0,0]", "big[0,384]", "big[384,0]", "big[384,384]"]
    assert sum(t.pixels.size for t in tiles) == 400 * 500
    assert tiles[0].native_bpppb is None


def test_bad_input(data, tmp_path):
    folder, split = data
    with pytest.raises(InvalidParameterError, match="Neither"):
        run(codecs=("jpeg2000-bands",), progress=False)
    with pytest.raises(InvalidParameterError, match=r"none\.json"):
        run(folder, tmp_path / "none.json", codecs=("jpeg2000-bands",), progress=False)
    with pytest.raises(CodecNotFoundError, match="nothing"):
        run(folder, split, codecs=("nothing",), progress=False)
    with pytest.raises(NoDataAvailableError):
        from_folder(tmp_path / "data")
    split.write_text('{"evaluation": ["a"]}')
    with pytest.raises(InvalidParameterError, match="evaluation"):
        from_split(folder, split)
    split.write_text('{"evaluation": [{"place": "c", "files": ["set/c.tif"]}]}')
    with pytest.raises(InvalidParameterError, match=r"c\.tif"):
        from_split(folder, split)
    write_tif(folder / "set" / "c.tif", np.array([[[-5, 60000]]], np.int32))
    with pytest.raises(InvalidValuesError, match="60000"):
        from_split(folder, split)


@pytest.mark.realdata
def test_baselines_keep_their_rates_on_real_tiles(shared_data):
    tiles = [t for t in from_split(shared_data, "s2l2a") if t.place.startswith("ssl4eo")]
    assert len(tiles) == 8
    levels: dict[str, list[float]] = {}
    for codec, quality in PINNED:
        levels.setdefault(codec, []).append(quality)
    rows = measure(tiles, levels)
    means = summarise(rows, tiles)["means"]
    found = {(m["codec"], m["quality"]): m for m in means if m["place"] == "mean"}
    for key, (rate, decibel) in PINNED.items():
        assert found[key]["bpppb"] == pytest.approx(rate, rel=0.02), key
        assert found[key]["psnr"] == pytest.approx(decibel, abs=0.05), key
