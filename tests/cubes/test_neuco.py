"""CSV as NeuCo-Bench reads it."""

from __future__ import annotations

import json

import embedding_cubes
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from openeo_nc.cli import main
from openeo_nc.cubes.neuco import pooled, sample_id, write_neuco
from openeo_nc.cubes.outputs import output_folder
from openeo_nc.errors import (
    DimensionMissingError,
    InvalidParameterError,
    NoDataAvailableError,
    OutputExistsError,
)
from openeo_nc.processes.save_result import save_result


def test_a_row_a_sample_that_reads_back_exactly(tmp_path):
    v = embedding_cubes.vectors(3, 5)
    assert write_neuco(zip("abc", v, strict=True), tmp_path / "a.csv") == 3
    lines = (tmp_path / "a.csv").read_text().splitlines()
    assert lines[0] == "id,0,1,2,3,4"
    # as NeuCo-Bench finds them: columns whose names are integers
    frame = pd.read_csv(tmp_path / "a.csv")
    columns = [c for c in frame.columns if c.isdigit()]
    assert list(frame.id) == ["a", "b", "c"]
    np.testing.assert_array_equal(frame[columns].to_numpy(np.float32), v)


def test_the_command_pools_stores_and_tables(tmp_path):
    cube = embedding_cubes.cube("int8")
    for form in ("ZARR", "PARQUET"):
        with output_folder(tmp_path / form) as outputs:
            save_result(cube, form, {"filename_prefix": f"S2_{form}"})
        assert outputs.saved
    sources = [str(tmp_path / "ZARR/S2_ZARR.zarr"), str(tmp_path / "PARQUET/S2_PARQUET.parquet")]
    out = str(tmp_path / "a.csv")
    ran = CliRunner().invoke(main, ["export-neuco", *sources, "--out", out, "--json"])
    assert ran.exit_code == 0, ran.output
    assert json.loads(ran.output)["rows"] == 2
    frame = pd.read_csv(out).set_index("id")
    assert list(frame.index) == ["S2_ZARR", "S2_PARQUET"]
    expected = np.nanmean(cube.values.astype(float), axis=(0, 2, 3))
    np.testing.assert_allclose(frame.to_numpy(), [expected] * 2, rtol=1e-6)
    assert CliRunner().invoke(main, ["export-neuco", *sources, "--out", out]).exit_code != 0


def test_ids_have_no_endings():
    assert sample_id("a/b/scene_001.zarr.zip") == "scene_001"
    assert sample_id("https://x.org/scene_002.zarr/") == "scene_002"


def test_what_is_no_sample(tmp_path):
    v = np.ones(3, np.float32)
    for pairs in ([], [("a", v), ("a", v)], [("a", v), ("b", v[:2])], [("a", v * np.nan)]):
        with pytest.raises(InvalidParameterError):
            write_neuco(pairs, tmp_path / "a.csv")
    (tmp_path / "b.csv").touch()
    with pytest.raises(OutputExistsError):
        write_neuco({"a": v}, tmp_path / "b.csv")
    cube = embedding_cubes.cube("int8")
    with pytest.raises(NoDataAvailableError):
        pooled(cube * np.nan)
    with pytest.raises(DimensionMissingError):
        pooled(cube.rename(embedding="bands"))
