"""Models are trained and saved by a batch job, and predict in another, with the openEO client."""

from __future__ import annotations

import json

import numpy as np
import pytest
import rasterio
import requests
from live_server import USERS, serving
from openeo.rest import OpenEoApiError
from pyproj import Transformer

from openeo_nc import client
from openeo_nc.demo import scene
from openeo_nc.ml.files import is_learner

pytestmark = pytest.mark.slow

EXTENT = {
    "west": scene.LEFT, "south": scene.TOP - 640, "east": scene.LEFT + 640, "north": scene.TOP,
    "crs": scene.EPSG,
}  # fmt: skip
MAY = ["2024-05-01", "2024-06-01"]


@pytest.fixture(scope="module")
def trusting(settings, tmp_path_factory):
    """URL of a server whose own host models may be loaded from."""
    data = tmp_path_factory.mktemp("trusting")
    chosen = settings.model_copy(update={"data": data, "private_hosts": ("127.0.0.1",)})
    with serving(chosen) as place:
        yield place


def labelled():
    """Points in the west half are `left`, in the east half `right`."""
    to = Transformer.from_crs(scene.EPSG, "EPSG:4326", always_xy=True)
    offsets = [(x, y) for x in (60, 180, 460, 580) for y in (60, 220, 380, 540)]
    return {
        "type": "FeatureCollection",
        "features": [
            {
                "type": "Feature",
                "geometry": {
                    "type": "Point",
                    "coordinates": to.transform(scene.LEFT + x, scene.TOP - y),
                },
                "properties": {"side": "left" if x < 320 else "right"},
            }
            for x, y in offsets
        ],
    }


def embedded(connection):
    cube = connection.load_collection(scene.COLLECTION, spatial_extent=EXTENT, temporal_extent=MAY)
    return client.encode_embedding(cube, "s2-embed-small")


def finished(graph, **more):
    job = graph.create_job(**more)
    return job.start_and_wait(print=lambda _: None, max_poll_interval=0.5)


@pytest.fixture(scope="module")
def trained(trusting):
    """A finished job that has saved a model, and its connection."""
    import openeo

    connection = openeo.connect(trusting).authenticate_basic("ada", USERS["ada"])
    forest = client.ml_model(
        connection, "mlm_class_random_forest", max_variables="sqrt", num_trees=20, seed=1
    )
    model = client.ml_fit(forest, embedded(connection), "side", labelled())
    yield finished(client.save_ml_model(model, "sides")), connection
    connection.session.close()


def test_a_job_gives_the_model_as_files(trained, tmp_path):
    job, _ = trained
    results = job.get_results()
    files = {
        path.name: path for path in results.download_files(tmp_path, include_stac_metadata=False)
    }
    assert sorted(files) == ["sides.json", "sides.weights"]
    item = json.loads(files["sides.json"].read_text())
    assert is_learner(item)
    assert item["properties"]["nc:classes"] == ["left", "right"]
    assert item["properties"]["nc:model"]["id"] == "s2-embed-small"
    link = next(one for one in results.get_metadata()["links"] if one["rel"] == "item")
    assert requests.get(link["href"], timeout=30).json() == item


def test_another_day_it_is_loaded_and_predicts(trained, tmp_path):
    job, connection = trained
    model = client.load_ml_model(connection, job)
    cube = embedded(connection)
    sides = client.ml_predict(cube, model)
    assert sides.metadata.band_names == ["0"]
    done = finished(sides.save_result("GTiff"))
    (path,) = done.get_results().download_files(tmp_path, include_stac_metadata=False)
    with rasterio.open(path) as file:
        row, column = file.index(scene.LEFT + 40, scene.TOP - 40)  # the cube covers whole tiles
        sides = file.read(1)[row : row + 8, column : column + 8]
        assert file.descriptions == ("prediction",)
    assert set(np.unique(sides)) == {0, 1}
    assert (sides[:, 0] == 0).mean() > 0.7
    shown = client.ml_predict_probabilities(cube, model, ["left", "right"])
    done = finished(shown.save_result("netCDF"))
    (path,) = done.get_results().download_files(tmp_path, include_stac_metadata=False)
    assert path.suffix == ".nc"


def test_the_address_of_the_item_does_too(trained):
    job, connection = trained
    links = job.get_results().get_metadata()["links"]
    place = next(one["href"] for one in links if one["rel"] == "item")
    model = client.load_ml_model(connection, place)
    graph = client.ml_predict(embedded(connection), model)
    assert finished(graph.save_result("ZARR")).status() == "finished"


def test_a_server_fetches_models_from_no_private_address(trained, connection, tmp_path):
    links = trained[0].get_results().get_metadata()["links"]
    place = next(one["href"] for one in links if one["rel"] == "item")
    model = client.load_ml_model(connection, place)
    with pytest.raises(OpenEoApiError, match="AddressRefused"):
        client.ml_predict(embedded(connection), model).download(tmp_path / "map.tif")
