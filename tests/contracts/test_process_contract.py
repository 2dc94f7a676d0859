"""What every process of the package keeps: building its part of a graph computes nothing."""

from __future__ import annotations

import dask
import fakes
import pytest
import stac_scenes as scenes

from openeo_nc.cubes import stac
from openeo_nc.cubes.outputs import output_folder
from openeo_nc.graphs import execute
from openeo_nc.processes import implementations

BANDS = list(fakes.RGB)
LOADED = {"process_id": "load_stac", "arguments": {"url": {"from_parameter": "url"}}}


def after(source, **arguments):
    return {"data": {"from_node": source}, **arguments}


ENCODED = {"process_id": "encode_embedding", "arguments": after("load", model="fake-rgb")}
GRAPHS = {
    "compress_cube": ({"load": LOADED}, after("load")),
    "decode_embedding": ({"load": LOADED, "encode": ENCODED}, after("encode")),
    "encode_embedding": ({"load": LOADED}, ENCODED["arguments"]),
    "load_collection": (
        {}, {"id": "scenes", "spatial_extent": None, "temporal_extent": None, "bands": BANDS}
    ),
    "load_stac": ({}, LOADED["arguments"] | {"crs": 3857, "resolution": 20}),
    "save_result": ({"load": LOADED, "encode": ENCODED}, after("encode", format="ZARR")),
}  # fmt: skip
"""By process: the nodes before it, and its arguments."""


@pytest.fixture
def catalogue(tmp_path):
    """A collection of one date whose files are not there: reading pixels fails."""
    assets = {
        band: scenes.asset(tmp_path / f"{band}.tif", 10, shape=(60, 60)) for band in fakes.RGB
    }
    item = scenes.item("date", "2022-06-01T10:30:00Z", assets)
    return str(scenes.write_collection(tmp_path / "scenes", [item]))


@pytest.mark.parametrize("process_id", [one.process_id for one in implementations()])
def test_building_computes_and_writes_nothing(process_id, catalogue, tmp_path, monkeypatch):
    before, arguments = GRAPHS[process_id]
    last = {"process_id": process_id, "arguments": arguments, "result": True}
    monkeypatch.setattr(stac, "_catalogues", [catalogue])
    with (
        fakes.codecs_installed() as codecs,
        dask.config.set(scheduler=fakes.raising_scheduler),
        output_folder(tmp_path / "out") as outputs,
    ):
        result = execute({**before, "last": last}, parameters={"url": catalogue})
        assert result is True or result.chunks is not None
        assert bool(outputs.plans) == (process_id == "save_result")
        outputs.plans.clear()
        assert not codecs.calls
    assert [path.name for path in tmp_path.iterdir()] == ["scenes"]
