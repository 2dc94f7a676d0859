"""Embeddings saved to object storage, and on a cluster: the same bytes as in a folder."""

from __future__ import annotations

import embedding_cubes
import numpy as np
import pytest
import xarray as xr
from distributed import Client, LocalCluster
from object_storage import URL, storage

from openeo_nc.cubes.embedding_reading import load_vectors
from openeo_nc.cubes.outputs import output_folder
from openeo_nc.cubes.places import below, place_of
from openeo_nc.processes.save_result import save_result

pytest.importorskip("moto.server", reason="moto, a server of S3, is not installed")


@pytest.fixture(scope="module")
def s3():
    """Object storage, and this process's access to it."""
    with storage() as opened, pytest.MonkeyPatch.context() as patched:
        for name, value in opened.environment.items():
            patched.setenv(name, value)
        yield opened


def brought(folder, target):
    """Copy all objects below a folder of the storage."""
    for place in folder.rglob("*"):
        path = target / below(place, folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(place.read_bytes())


@pytest.mark.parametrize("form", ["ZARR", "PARQUET", "GTIFF"])
def test_results_in_object_storage(s3, tmp_path, form):
    cube = embedding_cubes.cube("int8")
    folder = place_of(f"{URL}/embeddings/{form}")
    with output_folder(folder) as outputs:
        save_result(cube, form)
    assert outputs.saved[0].bytes > 0
    brought(folder, tmp_path)
    name = {"ZARR": "result.zarr", "PARQUET": "result.parquet"}.get(form, "result-collection.json")
    again = load_vectors(str(tmp_path / name))
    xr.testing.assert_equal(again.drop_attrs().transpose(*cube.dims), cube.drop_attrs())
    assert not [p for p in tmp_path.rglob("*") if p.name.startswith(".") and p.name != ".nc"]


def test_results_of_workers(tmp_path):
    cube = embedding_cubes.cube("pca8+int8")
    with (
        LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster),
    ):
        with output_folder(tmp_path / "out") as outputs:
            for form in ("ZARR", "PARQUET", "GTIFF"):
                save_result(cube, form)
        for name in ("result.zarr", "result.parquet", "result-collection.json"):
            again = load_vectors(str(tmp_path / "out" / name)).transpose(*cube.dims).compute()
            np.testing.assert_array_equal(again.values, cube.values)
    assert len(outputs.saved) == 3
