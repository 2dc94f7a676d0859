"""The benchmark of dates together: what it counts, prints and refuses."""

from __future__ import annotations

import json

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner

from openeo_nc.benchmarks import dates
from openeo_nc.cli import main
from openeo_nc.codecs.dates import encode_dates
from openeo_nc.codecs.rate import Rate
from openeo_nc.codecs.registry import open_codec
from openeo_nc.errors import InvalidParameterError, NoDataAvailableError

DAYS = ("2020-01-12", "2020-01-20", "2020-06-01")


@pytest.fixture
def series(tmp_path):
    """Three dates of one scene; the first two lie in one window of 32 days."""
    rng = np.random.default_rng(0)
    ground = rng.normal(size=(2, 72, 72)).cumsum(1).cumsum(2)
    ground = 3000 + 500 * ground / ground.std() + rng.normal(0, 150, ground.shape)
    for n, day in enumerate(DAYS):
        write(
            tmp_path / f"place_{day}.tif", ground * (1 + 0.1 * n) + rng.normal(0, 10, ground.shape)
        )
    return tmp_path


def write(path, values):
    bands, height, width = values.shape
    profile = {"driver": "GTiff", "count": bands, "height": height, "width": width}
    with rasterio.open(path, "w", dtype="uint16", crs="EPSG:32631", **profile) as file:
        file.write(values.clip(1, 9999).astype(np.uint16))


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_it_counts_payloads_once(series):
    report = dates.run(series, days=(32, 36525), qualities=(6.5,), progress=False)
    assert report["dates"] == list(DAYS)
    near, all_ = report["rows"]
    assert near["groups"] == (DAYS[:2],)
    assert all_["groups"] == (DAYS,)
    codec = open_codec("klt-dct")
    xs = [rasterio.open(path).read() for path in sorted(series.glob("*.tif"))]
    alone = [len(codec.encode(x, 6.5)) for x in xs]
    assert near["bytes_alone"] == all_["bytes_alone"] == sum(alone)
    together = encode_dates(codec, xs[:2], [Rate(quality=6.5)] * 2)[0]
    assert near["bytes_together"] == len(together) + alone[2]
    assert near["grouped_ratio"] == pytest.approx(len(together) / sum(alone[:2]))
    assert all_["ratio"] == pytest.approx(all_["bytes_together"] / sum(alone))
    assert abs(near["psnr_together"] - near["psnr_alone"]) < 0.3
    line = dates.table(report).splitlines()[-2]
    assert line.split()[:4] == ["6.5", "32", "2", "1"]


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_the_command_prints_json(series):
    arguments = ["bench", "dates", "--data", str(series), "--days", "1", "--quality", "3", "--json"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    (row,) = json.loads(result.stdout)["rows"]
    assert row["groups"] == []
    assert row["ratio"] == 1
    assert row["grouped_ratio"] is None


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_what_is_no_series(series, tmp_path):
    with pytest.raises(InvalidParameterError, match="codes each date alone"):
        dates.run(series, "jpeg2000")
    write(series / "place_2020-07-01.tif", np.ones((2, 70, 72)))
    with pytest.raises(InvalidParameterError, match="dates or sizes differ"):
        dates.run(series)
    write(series / "undated.tif", np.ones((2, 72, 72)))
    with pytest.raises(InvalidParameterError, match="expected a date like"):
        dates.run(series)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(NoDataAvailableError):
        dates.run(tmp_path / "nothing")
