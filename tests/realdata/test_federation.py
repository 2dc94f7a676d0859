"""Two catalogues in one graph: Sentinel-2 from one, Sentinel-1 from the other, one cube of vectors.

Two STAC APIs on the loopback, two models, real pixels of the same places; through the executor, and
through a server with the openEO client.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import dask
import encoders
import numpy as np
import openeo
import pytest
import rasterio
import xarray as xr
from distributed import LocalCluster
from live_server import USERS, serving
from realdata import catalogues as real

from openeo_nc import client
from openeo_nc.cubes.outputs import output_folder
from openeo_nc.graphs import execute
from openeo_nc.models.quantisation import quantiser
from openeo_nc.models.registry import get_model_card, open_model
from openeo_nc.sentinel2 import BANDS
from openeo_nc.server.settings import Settings

pytestmark = pytest.mark.realdata
PLACE = "637U_59R_1_3"
MODEL, DIM = "s2-embed-small", 64
RADAR, STRIDE, CHIP = ("VV", "VH"), 16, 64
MEAN, STD = (-11.0, -18.0), (4.0, 4.5)
PERIOD = ["2020-07-01", "2020-08-01"]
S2_LABELS = [f"s2-e{i:03d}" for i in range(DIM)]
S1_LABELS = [f"e{i:03d}" for i in range(5)]


def kernel():
    return np.random.default_rng(2).normal(0, 0.1, (5, 2, STRIDE, STRIDE)).astype("f4")


@contextmanager
def folder_at_url(folder):
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture(scope="module")
def radar_model(tmp_path_factory):
    """URL of the Item of a radar encoder: a TorchScript file, described by MLM."""
    folder = tmp_path_factory.mktemp("model")
    encoders.write_radar(folder, kernel(), RADAR, MEAN, STD, CHIP)
    with folder_at_url(folder) as url:
        yield f"{url}/item.json"


@pytest.fixture(scope="module")
def endpoints(shared_data, tmp_path_factory):
    """URLs of two collections at two STAC APIs."""
    root = real.build(shared_data, tmp_path_factory.mktemp("real")).parent
    with (
        real.served(root / "terramind" / "collection.json") as optical,
        real.served(root / "radar" / "collection.json") as radar,
    ):
        assert optical != radar
        yield f"{optical}/collections/terramind", f"{radar}/collections/radar"


@pytest.fixture(scope="module")
def extent(shared_data):
    """The place, in its CRS."""
    with rasterio.open(shared_data / f"s2/majortom_l2a/{PLACE}.tif") as file:
        west, south, east, north = file.bounds
        crs = file.crs.to_epsg()
    return {"west": west, "south": south, "east": east, "north": north, "crs": crs}


def mean():
    inner = {"process_id": "mean", "arguments": {"data": {"from_parameter": "data"}}}
    return {"process_graph": {"mean": inner | {"result": True}}}


def graph(endpoints, radar_model, extent):
    """Two catalogues, two models, one month, one cube."""
    optical, radar = endpoints

    def step(process_id, of, **arguments):
        return {"process_id": process_id, "arguments": {"data": {"from_node": of}} | arguments}

    where = {"spatial_extent": extent, "temporal_extent": PERIOD}
    return {
        "optical": {
            "process_id": "load_stac",
            "arguments": {"url": optical, "bands": list(BANDS), **where},
        },
        "radar": {
            "process_id": "load_stac",
            "arguments": {"url": radar, "bands": list(RADAR), **where},
        },
        "s2": step("encode_embedding", "optical", model=MODEL),
        "s1": step("encode_embedding", "radar", model=radar_model, quantization="float32"),
        "named": step("rename_labels", "s2", dimension="embedding", target=S2_LABELS,
                      source=[label.removeprefix("s2-") for label in S2_LABELS]),
        "s2month": step("aggregate_temporal_period", "named", period="month", reducer=mean()),
        "s1month": step("aggregate_temporal_period", "s1", period="month", reducer=mean()),
        "both": {
            "process_id": "merge_cubes",
            "arguments": {"cube1": {"from_node": "s2month"}, "cube2": {"from_node": "s1month"}},
            "result": True,
        },
    }  # fmt: skip


@pytest.fixture(scope="module")
def expected(shared_data):
    """`(vectors of patches of 80 m, vectors of patches of 160 m)` by their centres, of one array each.

    Patches are counted from the CRS origin; NaN lies around the place.
    """
    with rasterio.open(shared_data / f"s2/majortom_l2a/{PLACE}.tif") as file:
        optical, t = file.read().astype(np.float32), file.transform
    with rasterio.open(shared_data / f"s1/majortom_rtc/{PLACE}.tif") as file:
        radar = file.read()
    column, row = int(t.c // t.a), int(-t.f // t.a) + 1  # of the CRS's grid of pixels
    pad = 64
    left, top = pad + column % STRIDE, pad + row % STRIDE

    def laid(values):
        side = 384
        wide = np.full((len(values), side, side), np.nan, np.float32)
        wide[:, top : top + 224, left : left + 224] = values
        return wide

    def held(values, size):
        """Which patches have a pixel."""
        side = len(values[0]) // size
        cells = np.isfinite(values).any(0).reshape(side, size, side, size)
        return cells.any((1, 3))

    def centres(count, size):
        x = t.c + (np.arange(count) * size + size / 2 - left) * 10
        return x, t.f - (np.arange(count) * size + size / 2 - top) * 10

    model = open_model(get_model_card(MODEL))
    s2 = np.where(held(laid(optical), 8), model.embed(laid(optical)[None])[0], np.nan)
    snapped = quantiser("int8", dim=DIM).snap(np.ascontiguousarray(s2.reshape(DIM, -1).T))
    normal = (laid(radar) - np.array(MEAN)[:, None, None]) / np.array(STD)[:, None, None]
    cells = np.nan_to_num(normal).reshape(2, 24, STRIDE, 24, STRIDE)
    s1 = np.einsum("bysxr,dbsr->dyx", cells, kernel())
    s1 = np.where(held(laid(radar), STRIDE), s1, np.nan)
    first = xr.DataArray(
        snapped.T.reshape(s2.shape), dims=("embedding", "y", "x"),
        coords=dict(zip("xy", centres(48, 8), strict=True)),
    )  # fmt: skip
    second = xr.DataArray(
        s1, dims=("embedding", "y", "x"), coords=dict(zip("xy", centres(24, STRIDE), strict=True))
    )
    return first, second


def check(found, expected):
    """Every patch that the place has: vectors of both models at the same patches of 80 m."""
    first, second = expected
    seen = found.dropna("y", how="all").dropna("x", how="all")
    assert 28 <= seen.sizes["y"] <= 30
    assert 28 <= seen.sizes["x"] <= 30
    at = {"x": seen.x.values, "y": seen.y.values}
    optical = first.sel(at, method="nearest", tolerance=0.01)
    radar = second.sel(at, method="nearest")
    # networks of other sizes round otherwise: a number between two integers may become either
    step = np.abs(optical).max("embedding") / 127
    difference = np.abs(seen.values[0, :DIM] - optical.values)
    np.testing.assert_array_equal(np.isnan(difference), np.isnan(optical.values))
    assert (np.nan_to_num(difference) <= 1.01 * np.nan_to_num(step.values)).all()
    assert np.nanmean(difference > 1e-3) < 1e-3
    np.testing.assert_allclose(seen.values[0, DIM:], radar.values, atol=1e-4)


@pytest.fixture
def threads():
    """Threads compute, whatever clients tests before left."""
    with dask.config.set(scheduler="threads"):
        yield


@pytest.mark.usefixtures("threads")
def test_through_the_executor(endpoints, radar_model, extent, expected, tmp_path):
    found = execute({"process_graph": graph(endpoints, radar_model, extent)})
    assert found.chunks is not None
    assert found.dims == ("t", "embedding", "y", "x")
    assert found.embedding.values.tolist() == [*S2_LABELS, *S1_LABELS]
    assert found.t.values.tolist() == ["2020-07"]
    assert found.attrs["emb:dimensions"] == DIM + len(S1_LABELS)
    computed = found.compute()
    check(computed, expected)
    saving = graph(endpoints, radar_model, extent)
    del saving["both"]["result"]
    saving["save"] = {
        "process_id": "save_result",
        "arguments": {"data": {"from_node": "both"}, "format": "ZARR"},
        "result": True,
    }
    with output_folder(tmp_path / "out"):
        execute({"process_graph": saving})
    load = {
        "process_id": "load_embeddings",
        "arguments": {"url": str(tmp_path / "out" / "result.zarr")},
        "result": True,
    }
    again = execute({"process_graph": {"load": load}})
    check(again, expected)
    np.testing.assert_allclose(again.values, computed.values, atol=0.02)  # a step of int8 at most


@pytest.fixture(scope="module")
def connection(tmp_path_factory):
    """The openEO client at a server that trusts this machine's catalogues and models."""
    options = {"processes": False, "protocol": "tcp", "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(n_workers=1, threads_per_worker=2, **options) as cluster:
        settings = Settings(
            data=tmp_path_factory.mktemp("data"), scheduler=cluster.scheduler_address,
            development=True, users=USERS, requests_per_minute=10**6,
            private_hosts=("127.0.0.1",), model_hosts=("127.0.0.1",),
        )  # fmt: skip
        with serving(settings) as url:
            opened = openeo.connect(url).authenticate_basic("ada", USERS["ada"])
            yield opened
            opened.session.close()


def test_through_the_client_and_a_server(
    connection, endpoints, radar_model, extent, expected, tmp_path
):
    optical, radar = (
        connection.load_stac(url, spatial_extent=extent, temporal_extent=PERIOD, bands=list(bands))
        for url, bands in zip(endpoints, (BANDS, RADAR), strict=True)
    )
    s2 = client.encode_embedding(optical, MODEL)
    s2 = s2.rename_labels("embedding", target=S2_LABELS, source=s2.metadata.band_names)
    s1 = client.encode_embedding(radar, radar_model, quantization="float32")
    both = s2.aggregate_temporal_period("month", reducer="mean").merge_cubes(
        s1.aggregate_temporal_period("month", reducer="mean")
    )
    assert both.metadata.band_names == [*S2_LABELS, *S1_LABELS]
    assert set(both.metadata.dimension_names()) == {"t", "embedding", "y", "x"}
    both.download(tmp_path / "vectors.nc", format="NETCDF")
    with xr.open_dataset(tmp_path / "vectors.nc", engine="netcdf4") as dataset:
        names = [name for name in dataset.data_vars if dataset[name].ndim == 4]
        found = dataset[names[0]].load() if names else dataset[both.metadata.band_names].to_array()
    check(found.transpose("t", ..., "y", "x"), expected)
