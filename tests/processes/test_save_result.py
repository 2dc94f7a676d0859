"""save_result: what is on disk is what the cube shows, planned lazily, written together, or not at all."""

from __future__ import annotations

import dask
import fakes
import numpy as np
import pytest
import rasterio
import xarray as xr

from openeo_nc import errors
from openeo_nc.cubes import outputs as outputs_module
from openeo_nc.cubes.compress import compress_cube
from openeo_nc.cubes.encode import encode_cube
from openeo_nc.cubes.outputs import output_folder
from openeo_nc.processes.save_result import save_result


def saved(cube, form, tmp_path, **options):
    with output_folder(tmp_path / "out") as outputs:
        assert save_result(cube, form, options) is True
    return outputs.saved[0]


# --- GTIFF -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
def test_geotiff_holds_what_rasterio_reads(codecs, tmp_path, dtype):
    cube = fakes.cube(40, 36, dtype=dtype, nodata=None if "f" in dtype else 0)
    result = saved(cube, "GTIFF", tmp_path)
    assert [f.name for f in result.files] == ["result_2022-06-01.tif", "result_2022-06-06.tif"]
    for path, date in zip(result.files, cube, strict=True):
        with rasterio.open(path) as file:
            np.testing.assert_array_equal(file.read(), date.values)
            assert file.descriptions == fakes.RGB
            assert file.crs.to_epsg() == 32631
            assert tuple(file.transform)[:6] == (10, 0, 600_000, 0, -10, 5_000_000)
            assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
            assert file.nodata == 0 if "f" not in dtype else np.isnan(file.nodata)
    assert result.bytes == sum(f.stat().st_size for f in result.files)


def test_geotiff_of_one_image_and_of_two_on_a_day(codecs, tmp_path):
    cube = fakes.cube()
    index = cube.isel(t=0, bands=0, drop=True)
    assert [f.name for f in saved(index, "gtiff", tmp_path / "a").files] == ["result.tif"]
    twice = cube.assign_coords(
        t=np.array(["2022-06-01T10:00:11", "2022-06-01T10:00:35"], "datetime64[ns]")
    )
    names = [f.name for f in saved(twice, "GTIFF", tmp_path / "b").files]
    assert names == ["result_20220601T100011Z.tif", "result_20220601T100035Z.tif"]


def test_geotiff_of_an_embedding(codecs, tmp_path):
    embedding = encode_cube(fakes.cube(), "fake-rgb")
    result = saved(embedding, "GTIFF", tmp_path, compression="ZSTD")
    with rasterio.open(result.path) as file:
        assert file.count == 48
        assert file.res == (40, 40)
        assert file.descriptions[1] == "e001"
        assert file.compression.name == "zstd"
        np.testing.assert_array_equal(file.read(), embedding.isel(t=0).values)


# --- NETCDF ----------------------------------------------------------------------------------------


def read(path):
    return xr.open_dataset(path, engine="netcdf4", decode_coords="all", mask_and_scale=False)


def test_netcdf_has_a_variable_a_band(codecs, tmp_path):
    cube = fakes.cube(nodata=0)
    result = saved(cube, "NETCDF", tmp_path, filename_prefix="scene")
    assert result.path.name == "scene.nc"
    with read(result.path) as dataset:
        assert set(dataset.data_vars) == set(fakes.RGB)
        for band in fakes.RGB:
            np.testing.assert_array_equal(dataset[band], cube.sel(bands=band))
            assert dataset[band].attrs["_FillValue"] == 0
        np.testing.assert_array_equal(dataset.t, cube.t)
        assert dataset.rio.crs.to_epsg() == 32631
        assert dataset.rio.transform() == cube.rio.transform()


def test_netcdf_of_one_image(codecs, tmp_path):
    cube = fakes.cube(dtype="float32").isel(t=0, bands=0, drop=True)
    with read(saved(cube, "netCDF", tmp_path).path) as dataset:
        np.testing.assert_array_equal(dataset["reflectance"], cube)


def test_netcdf_of_an_embedding(codecs, tmp_path):
    embedding = encode_cube(fakes.cube(), "fake-rgb")
    with read(saved(embedding, "NETCDF", tmp_path).path) as dataset:
        assert dataset["vectors"].dims == ("t", "embedding", "y", "x")
        assert dataset["embedding"].values.tolist() == embedding["embedding"].values.tolist()
        np.testing.assert_array_equal(dataset["vectors"], embedding)


def test_netcdf_leaves_out_attributes_that_it_has_no_form_for(codecs, tmp_path):
    cube = fakes.cube().assign_attrs(
        reduced_dimensions_min_values={"t": 0}, mixed=[1, "a"], good="x", flag=True,
        numbers=[1, 2], nothing=None, table=np.zeros((2, 2)),
    )  # fmt: skip
    with read(saved(cube, "NETCDF", tmp_path).path) as dataset:
        attrs = dataset["B02"].attrs
        assert {"good", "flag", "numbers"} <= set(attrs)
        assert not {"reduced_dimensions_min_values", "mixed", "nothing", "table"} & set(attrs)


# --- ZARR ------------------------------------------------------------------------------------------


def test_a_compressed_cube_is_saved_as_its_payloads(codecs, tmp_path):
    cube = fakes.cube()
    result = saved(compress_cube(cube, "fake-rgb"), "ZARR", tmp_path)
    assert codecs.calls["pack"] == 18
    assert result.details["report"]["codec"] == "fake-rgb"
    opened = xr.open_zarr(result.path)
    inside = opened["data"].sel(x=cube.x, y=cube.y)
    np.testing.assert_array_equal(inside.values, cube.values)


def test_a_doubled_cube_is_saved_as_its_pixels(codecs, tmp_path):
    doubled = compress_cube(fakes.cube(), "fake-rgb") * 2
    result = saved(doubled, "ZARR", tmp_path)
    opened = xr.open_zarr(result.path)
    name = next(iter(opened.data_vars))
    np.testing.assert_array_equal(opened[name].values, doubled.values)
    assert result.details["report"]["codec"] is None


def test_all_formats_of_one_cube_encode_each_tile_once(codecs, tmp_path):
    compressed = compress_cube(fakes.cube(), "fake-rgb")
    with output_folder(tmp_path / "out") as outputs:
        for form in ("GTIFF", "ZARR", "NETCDF", "ZARR"):
            save_result(compressed, form)
    assert codecs.calls["pack"] == 18
    assert [s.path.name for s in outputs.saved] == [
        "result_2022-06-01.tif",
        "result.zarr",
        "result.nc",
        "result-2.zarr",
    ]


@pytest.mark.slow
def test_a_distributed_cluster_encodes_each_tile_once_and_loads_once_a_process(
    codecs, tmp_path, monkeypatch
):
    from distributed import Client, LocalCluster

    log = tmp_path / "calls"
    monkeypatch.setenv(codecs.LOG, str(log))
    compressed = compress_cube(fakes.cube(), "fake-rgb")
    cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0")
    with cluster, Client(cluster), output_folder(tmp_path / "out") as outputs:
        for form in ("ZARR", "GTIFF"):
            save_result(compressed, form)
        with dask.config.set(scheduler=None):
            outputs.write()
    lines = log.read_text().split("\n")
    assert sum(line.startswith("pack ") for line in lines) == 18
    assert len({line.split()[1] for line in lines if line}) <= 2
    with rasterio.open(outputs.saved[1].path) as file:
        np.testing.assert_array_equal(file.read(), fakes.cube().values[0])


# --- laziness and failures -------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["ZARR", "GTIFF", "NETCDF"])
def test_saving_within_a_run_computes_nothing(codecs, tmp_path, form):
    with (
        dask.config.set(scheduler=fakes.raising_scheduler),
        output_folder(tmp_path / "out") as outputs,
    ):
        save_result(compress_cube(fakes.cube(), "fake-rgb"), form)
        save_result(fakes.cube(), form)
        outputs.plans.clear()
    assert not codecs.calls
    assert not (tmp_path / "out").exists()
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_left_alone(codecs, tmp_path):
    with (
        pytest.raises(errors.OutputExistsError, match="nothing in it was touched"),
        output_folder(tmp_path),
    ):
        pass


@pytest.mark.parametrize("form", ["ZARR", "GTIFF", "NETCDF"])
def test_a_failed_write_leaves_nothing(codecs, tmp_path, form):
    cube = fakes.cube(dtype="float32")
    broken = compress_cube(cube.where(cube < 9000, np.inf), "fake-rgb")
    with pytest.raises(errors.InvalidValuesError), output_folder(tmp_path / "out"):
        save_result(cube, "GTIFF", {"filename_prefix": "good"})
        save_result(broken, form)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", ["ZARR", "GTIFF", "NETCDF"])
def test_outside_of_a_run_it_writes_at_once_and_replaces_nothing(
    codecs, tmp_path, monkeypatch, form
):
    monkeypatch.chdir(tmp_path)
    save_result(fakes.cube(), form)
    folder = tmp_path / outputs_module.DEFAULT
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    with pytest.raises(errors.OutputExistsError):
        save_result(fakes.cube(), form)
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == before


@pytest.mark.parametrize(
    ("change", "form", "options", "error"),
    [
        ({}, "JPEG", {}, errors.FormatUnsupportedError),
        ({}, "GTIFF", {"tiled": True}, errors.InvalidParameterError),
        ({}, "GTIFF", {"compression": "JPEG"}, errors.InvalidParameterError),
        ({}, "ZARR", {"filename_prefix": "../up"}, errors.InvalidParameterError),
        ({}, "ZARR", {"shard_tiles": "many"}, errors.InvalidParameterError),
        ({"dates": 0}, "GTIFF", {}, errors.NoDataAvailableError),
        ({"dates": 0}, "NETCDF", {}, errors.NoDataAvailableError),
        ({"dtype": "complex64"}, "GTIFF", {}, errors.FormatUnsuitableError),
        ({"dtype": "complex64"}, "NETCDF", {}, errors.FormatUnsuitableError),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(
    codecs, tmp_path, change, form, options, error
):
    with pytest.raises(error), output_folder(tmp_path / "out"):
        save_result(fakes.cube(**change), form, options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", ["ZARR", "GTIFF", "NETCDF"])
def test_what_is_no_cube_is_refused(tmp_path, form):
    with (
        pytest.raises(errors.FormatUnsuitableError, match="given float"),
        output_folder(tmp_path / "out"),
    ):
        save_result(0.5, form)


@pytest.mark.parametrize("form", ["GTIFF", "NETCDF"])
def test_cubes_that_a_format_cannot_hold(codecs, tmp_path, form):
    with output_folder(tmp_path / "out"):
        with pytest.raises(errors.FormatUnsuitableError, match="level"):
            save_result(fakes.cube().expand_dims("level"), form)
        with pytest.raises(errors.CRSMissingError):
            save_result(fakes.cube().drop_vars("spatial_ref"), form)
        with pytest.raises(errors.DimensionMissingError):
            save_result(fakes.cube().isel(x=0), form)
