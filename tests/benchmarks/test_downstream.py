"""The benchmark of downstream tasks: its scores by hand, its folds, and a run at a tiny size."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import rasterio
import xarray as xr
from click.testing import CliRunner
from rasterio.transform import from_origin
from sklearn.metrics import balanced_accuracy_score

from openeo_nc.benchmarks import (
    downstream,
    downstream_features,
    downstream_places,
    downstream_tasks,
)
from openeo_nc.benchmarks.downstream_places import PATCH, LabelSet, label_sets
from openeo_nc.benchmarks.downstream_probe import FEWEST, Answers, Samples, answers, answers_of
from openeo_nc.cli import main
from openeo_nc.errors import NoDataAvailableError
from openeo_nc.models.registry import get_model_card


def drawn(count=400, folds=4, seed=0):
    """Two classes that one feature tells, in folds and twenty units."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(1, 3, count)
    features = np.stack([classes + rng.normal(0, 0.3, count), rng.normal(size=count)], axis=1)
    samples = Samples(
        classes=classes, folds=np.arange(count) % folds, units=np.arange(count) * 20 // count
    )
    return features, samples


def test_a_score_is_the_mean_recall():
    features, samples = drawn()
    found = answers(features, samples)
    expected = 100 * balanced_accuracy_score(samples.classes, found.guesses)
    assert found.score == pytest.approx(expected)
    assert found.over(found) == (0, 0, 0)


def test_an_interval_holds_the_difference_and_is_the_same_again():
    features, samples = drawn()
    worse = answers(features[:, 1:], samples)
    above, low, high = answers(features, samples).over(worse)
    assert low < above < high
    assert low > 20
    assert (above, low, high) == answers(features, samples).over(worse)


def test_a_head_never_sees_the_fold_that_it_is_asked_about():
    _, samples = drawn()
    leak = samples.classes.astype(float)[:, None] * np.where(samples.folds == 0, 1, 0)[:, None]
    found = answers(leak, samples)
    assert abs(100 * np.mean(found.guesses == samples.classes) - 50) < 10


def test_strips_are_further_apart_than_vectors_see():
    shape = (400, 24)
    labels = downstream_places._scene("x", np.ones((1, *shape)), ("B02",), np.full(shape, 4))
    (folds,), (classes,) = labels.folds, labels.classes
    assert sorted(np.unique(folds)) == [0, 1, 2, 3]
    margin = get_model_card("s2-embed-small").margin
    rows = np.flatnonzero(classes[:, 0])
    for one, other in itertools.pairwise(rows):
        if folds[one, 0] != folds[other, 0]:  # pixels seen from both sides
            assert one + margin < other - margin
    assert len(rows) == 400 - 3 * 2 * margin


def test_rare_classes_are_not_asked_about():
    features, samples = drawn()
    classes = samples.classes.copy()
    classes[: 4 * (FEWEST - 1)] = 3  # too few in each fold
    found = answers(features, Samples(classes=classes, folds=samples.folds, units=samples.units))
    assert (found.guesses[classes == 3] == -1).all()
    assert (found.guesses[classes != 3] > 0).all()


def test_only_some_folds_are_asked_about():
    features, samples = drawn()
    (found,) = answers_of(features, samples, [features], folds=[1])
    assert (found.guesses[samples.folds != 1] == -1).all()
    assert (found.guesses[samples.folds == 1] > 0).all()


def test_other_features_are_asked_about_with_the_same_head():
    features, samples = drawn()
    same, mirrored = answers_of(features, samples, [features, 3 - features])
    assert same.score > 90
    assert mirrored.score < 10


def test_no_answer_counts_twice():
    samples = Samples(classes=np.array([1, 1, 2]), folds=np.zeros(3), units=np.arange(3))
    assert Answers(samples=samples, guesses=np.array([1, 2, 2])).score == 75


def test_patches_have_the_class_of_most_pixels_and_no_gaps():
    classes = np.kron(np.array([[1, 2], [3, 0]], np.uint8), np.ones((PATCH, PATCH), np.uint8))
    classes[:4, :PATCH] = 2  # half of the first patch: no class has most
    image = np.full((12, *classes.shape), 500, np.float32)
    image[0, PATCH + 1, 1] = np.nan  # a gap in the third
    labels = LabelSet(
        name="made", images=[image], classes=[classes], folds=[np.zeros_like(classes)], places=1
    )
    samples, kept = downstream_features.samples_of(labels)
    assert kept.tolist() == [False, True, False, False]
    assert samples.classes.tolist() == [2]


def test_goals_are_not_judged_below_ten_places():
    assert downstream.judged(True, 3) == "not judged, 3 places"
    assert downstream.judged(True, 10) == "met"
    assert downstream.judged(False, 175) == "missed"


def test_a_ratio_counts_payloads_against_uint16():
    rng = np.random.default_rng(0)
    smooth = np.cumsum(rng.normal(0, 4, (12, 96, 96)), axis=2) + 2000
    labels = LabelSet(
        name="made", images=[smooth.astype(np.float32)], classes=[np.ones((96, 96), np.uint8)],
        folds=[np.zeros((96, 96), np.uint8)], places=1,
    )  # fmt: skip
    (found,) = downstream_tasks.compressed(labels, ["klt-dct"], [40.0])
    assert found.ratio >= 40
    assert 0 < np.abs(found.labels.images[0] - labels.images[0]).mean() < 100


@pytest.fixture
def folder(tmp_path):
    """Two places of land cover that their brightness tells, and vectors with classes."""
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        classes = np.kron(rng.integers(1, 3, (12, 12)), np.ones((PATCH, PATCH))).astype("uint8")
        image = classes * 700.0 + rng.normal(0, 40, (12, *classes.shape))
        for path, values in (
            (f"s2/majortom_l2a/{name}.tif", image.astype("uint16")),
            (f"labels/majortom_lulc/{name}.tif", classes[None]),
        ):
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            profile = {"driver": "GTiff", "count": len(values), "dtype": values.dtype}
            profile |= {"height": 96, "width": 96, "crs": "EPSG:32632"}
            with rasterio.open(
                tmp_path / path, "w", transform=from_origin(5e5, 5e6, 10, 10), **profile
            ) as file:
                file.write(values)
    (tmp_path / "manifest.json").write_text(json.dumps({"files": []}))
    vectors = rng.normal(size=(600, 64)).astype("float32")
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    table = {
        "embedding": (("sample", "dim"), vectors),
        "dw_label": ("sample", (vectors[:, 0] > 0).astype("int16")),
        "lat": ("sample", rng.uniform(40, 41, 600)),
        "lon": ("sample", rng.uniform(10, 11, 600)),
    }
    (tmp_path / "embeddings/alphaearth_2024").mkdir(parents=True)
    xr.Dataset(table).to_netcdf(tmp_path / "embeddings/alphaearth_2024/a.nc")
    return tmp_path


def test_a_run_reports_every_claim(folder):
    command = ["bench", "downstream", "--data", str(folder), "--quick", "--json"]
    ran = CliRunner().invoke(main, command)
    assert ran.exit_code == 0, ran.output
    report = json.loads(ran.stdout)
    assert {row["task"] for row in report["compression"]} >= {"land cover", "water"}
    assert all(row["ratio"] >= 40 for row in report["compression"])
    (probe,) = report["probes"]
    assert probe["places"] == 2
    assert probe["score"] > 95
    by_name = {(r["labels"], r["quantiser"]): r for r in report["quantisers"]}
    assert by_name["AlphaEarth", "float32"]["lost"] == 0
    assert by_name["AlphaEarth", "int8"]["bytes"] == 68
    assert by_name["AlphaEarth", "int8"]["places"] > 50
    assert report["heads"]["pixels"]["bytes"] == 1536
    assert report["heads"]["vectors"]["bytes"] == 68
    text = downstream.table(report)
    assert "not judged, 2 places" in text
    assert "EuroSAT" in text


def test_a_folder_without_labels_is_refused(tmp_path):
    with pytest.raises(NoDataAvailableError):
        label_sets(tmp_path)


@pytest.mark.realdata
def test_label_sets_of_the_shared_data(shared_data):
    found = {labels.name: labels for labels in label_sets(shared_data)}
    assert [labels.places for labels in found.values()] == [3, 1, 1, 1]
    assert len(found["scene classes, tile"].bands) == 11
    assert len(found["scene classes, valley"].bands) == 4
    assert len(found["scene classes, field"].images) == 118
    assert found["land cover"].unseen == (1,)  # 433D_629L alone trained no codec
    assert not found["scene classes, tile"].unseen
    for labels in found.values():
        for image, classes in zip(labels.images, labels.classes, strict=True):
            assert image.shape == (12, *classes.shape)
