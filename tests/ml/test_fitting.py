"""Training on cubes gives what scikit-learn gives of the same samples in memory; chunks stream."""

from __future__ import annotations

import json

import dask
import dask.array as da
import fakes
import labelled_cubes
import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from openeo_nc.errors import InvalidParameterError, NoDataAvailableError
from openeo_nc.ml import forest, learners, linear, mlp, passes
from openeo_nc.ml.fitting import fit
from openeo_nc.ml.predicting import evaluate
from openeo_nc.ml.samples import Moments, Samples, Scaling

CLASSES, NUMBERS = "classification", "regression"


@pytest.fixture
def cube():
    return labelled_cubes.cube()


class Together(StandardScaler):
    """One scale for all features, as values of one embedding have it."""

    def fit(self, x, y=None, sample_weight=None):
        super().fit(x, y, sample_weight)
        self.scale_ = np.full_like(self.scale_, np.sqrt(self.var_.mean()))
        return self


@pytest.fixture(params=[Together, StandardScaler])
def scaler(request, cube):
    """How features are scaled: those of a cube that names its model together, others each."""
    assert json.loads(cube.attrs["nc:model"])
    if request.param is StandardScaler:
        del cube.attrs["nc:model"]
    return request.param()


def fitted(learner, cube, labels):
    with dask.config.set(scheduler="sync"):
        return fit(learner, cube, "cover", labels).fitted.compute()


@pytest.fixture(params=["kept", "read anew"])
def samples_are(request, monkeypatch):
    """Whether samples stay with workers, or each pass reads its chunks."""
    monkeypatch.setattr(passes, "KEPT_BYTES", 1 << 30 if request.param == "kept" else 0)


@pytest.mark.parametrize("codes", [(3, 7, 20), (0, 1)])
@pytest.mark.parametrize("regularization", [1.0, 20.0])
def test_logistic_regression_is_that_in_memory(cube, codes, regularization, scaler, samples_are):
    labels = labelled_cubes.classes(cube, codes)
    model = fitted(learners.linear(CLASSES, regularization), cube, labels)
    x, y = labelled_cubes.table(cube, labels)
    oracle = make_pipeline(
        scaler, LogisticRegression(C=1 / regularization, tol=1e-10, max_iter=2000)
    ).fit(x.astype(np.float64), y)
    assert model.classes == codes
    assert model.facts["samples"] == len(y)
    assert model.facts["converged"]
    assert np.allclose(evaluate(model, x, "probabilities"), oracle.predict_proba(x), atol=2e-5)
    assert np.array_equal(evaluate(model, x, "value")[:, 0], oracle.predict(x))


def test_separable_classes_converge_too(cube):
    labels = labelled_cubes.raster(cube, (cube.values[:, 0] > 0).astype(float))
    model = fitted(learners.linear(CLASSES, 1e-6), cube, labels)
    x, y = labelled_cubes.table(cube, labels)
    assert np.array_equal(evaluate(model, x, "value")[:, 0], y)


def test_ridge_is_that_in_memory(cube, scaler, samples_are):
    labels = labelled_cubes.numbers(cube)
    model = fitted(learners.linear(NUMBERS, 5.0), cube, labels)
    x, y = labelled_cubes.table(cube, labels)
    oracle = make_pipeline(scaler, Ridge(5.0)).fit(x.astype(np.float64), y)
    assert np.allclose(evaluate(model, x, "value")[:, 0], oracle.predict(x), atol=1e-5)


def test_nodes_of_a_forest_say_what_scikit_learn_does():
    draw = np.random.default_rng(0)
    x = draw.normal(size=(300, 5)).astype(np.float32)
    y = (x[:, 0] + x[:, 1] > 0).astype(int) + (x[:, 2] > 1)
    for grow, target, task in (
        (RandomForestClassifier, y, CLASSES), (RandomForestRegressor, x[:, 3], NUMBERS)
    ):  # fmt: skip
        grown = grow(n_estimators=5, random_state=1).fit(x, target)
        columns, width = (grown.classes_, 3) if task == CLASSES else (np.zeros(1, int), 1)
        trees = [forest._nodes(tree.tree_, columns, width) for tree in grown.estimators_]
        scaling = Scaling.of(
            Moments.of(Samples.known(x, target.astype(float))), None, task == CLASSES
        )
        learner = learners.forest(task, "all", 5, 1)
        drawn = forest.Drawn.of(Samples.known(x, target), 0, 0, scaling)
        outcome = forest._fitted([trees], scaling, drawn, learner)
        new = draw.normal(size=(200, 5)).astype(np.float32)
        said = forest.scores(outcome.arrays, learner, new)
        expected = grown.predict_proba(new) if task == CLASSES else grown.predict(new)[:, None]
        assert np.allclose(said, expected, atol=1e-6)
        assert forest.sound(outcome.arrays, 5)


@pytest.mark.parametrize("most", ["all", "sqrt", "log2", "onethird", 2])
def test_forests_tell_what_they_were_grown_on(cube, most):
    labels = labelled_cubes.classes(cube)
    model = fitted(learners.forest(CLASSES, most, 20, 1), cube, labels)
    x, y = labelled_cubes.table(cube, labels)
    assert (evaluate(model, x, "value")[:, 0] == y).mean() > 0.97
    assert model.arrays["roots"].shape == (20,)
    numbers = labelled_cubes.numbers(cube)
    model = fitted(learners.forest(NUMBERS, most, 20, 1), cube, numbers)
    x, y = labelled_cubes.table(cube, numbers)
    assert np.corrcoef(evaluate(model, x, "value")[:, 0], y)[0, 1] > 0.97


def test_forests_draw_from_many_samples_each_with_the_same_chance(cube, monkeypatch):
    monkeypatch.setattr(forest, "MOST", 40)
    labels = labelled_cubes.classes(cube)
    model = fitted(learners.forest(CLASSES, "all", 3, 1), cube, labels)
    assert model.facts["drawn"] == 40 < model.facts["samples"]
    counts = np.zeros(4)
    x = np.arange(400, dtype=np.float32).reshape(4, 100, 1)
    for seed in range(50):
        parts = [
            forest.Drawn.of(Samples.known(part, part[:, 0]), seed, number, None)
            for number, part in enumerate(x)
        ]
        kept = forest.Drawn.merged([forest.Drawn.merged(parts[:3]), parts[3]]).samples.y
        assert len(np.unique(kept)) == 40
        counts += np.histogram(kept, bins=(0, 100, 200, 300, 400))[0]
    assert np.all(np.abs(counts / counts.sum() - 0.25) < 0.03)


def test_gradients_of_the_network_are_those_of_its_loss():
    draw = np.random.default_rng(3)
    for activation in ("relu", "tanh", "logistic"):
        settings = {
            "hidden_layer_sizes": [5, 4], "activation": activation, "dropout_rates": [0.0, 0.0],
        }  # fmt: skip
        sizes = [(3, 5), (5,), (5, 4), (4,), (4, 3), (3,)]
        parameters = [draw.normal(size=size) for size in sizes]
        x, numbers = draw.normal(size=(7, 3)), draw.integers(0, 3, 7)

        def loss(given, activation=activation, x=x, numbers=numbers):
            arrays = {"mean": np.zeros(3), "scale": np.ones(3)}
            for n in range(3):
                arrays |= {f"weights.{n}": given[2 * n], f"biases.{n}": given[2 * n + 1]}
            learner = learners.mlp([5, 4], activation, None, 1, 1, 0.1, 0)
            p = mlp.scores(arrays, learner, x)
            return -np.log(p[np.arange(7), numbers]).mean()

        found = mlp.gradients(parameters, x, numbers, settings, draw)
        for number, gradient in enumerate(found):
            at = tuple(draw.integers(0, size) for size in gradient.shape)
            step = 1e-3
            up, down = ([p.copy() for p in parameters] for _ in range(2))
            up[number][at] += step
            down[number][at] -= step
            assert np.isclose((loss(up) - loss(down)) / (2 * step), gradient[at], atol=1e-3)


def test_a_network_learns_what_no_line_tells():
    cube = labelled_cubes.cube(dates=3, y=30, x=30)
    inside = (cube.values[:, 0] > 0) ^ (cube.values[:, 1] > 0)
    labels = labelled_cubes.raster(cube, inside.astype(float))
    learner = learners.mlp([24], "relu", [0.05], 40, 64, 0.01, 1)
    model = fitted(learner, cube, labels)
    x, y = labelled_cubes.table(cube, labels)
    line = fitted(learners.linear(CLASSES, 1.0), cube, labels)
    assert (evaluate(model, x, "value")[:, 0] == y).mean() > 0.93
    assert (evaluate(line, x, "value")[:, 0] == y).mean() < 0.75


def test_a_network_is_the_same_whether_samples_are_kept_or_read_anew(cube, monkeypatch):
    labels = labelled_cubes.classes(cube)
    learner = learners.mlp([4], "relu", [0.1], 3, 32, 0.01, 1)
    kept = fitted(learner, cube, labels)
    monkeypatch.setattr(passes, "KEPT_BYTES", 0)
    again = fitted(learner, cube, labels)
    assert all(np.array_equal(kept.arrays[name], again.arrays[name]) for name in kept.arrays)


@pytest.mark.parametrize(
    "make",
    [
        lambda seed: learners.forest(CLASSES, "sqrt", 5, seed),
        lambda seed: learners.mlp([8], "tanh", [0.2], 3, 32, 0.01, seed),
    ],
)
def test_a_seed_gives_the_same_model_and_another_seed_another(cube, make):
    labels = labelled_cubes.classes(cube)
    x, _ = labelled_cubes.table(cube, labels)
    once, again, other = (
        evaluate(fitted(make(seed), cube, labels), x, "probabilities") for seed in (4, 4, 5)
    )
    assert np.array_equal(once, again)
    assert not np.array_equal(once, other)
    assert make(None).settings["seed"] != make(None).settings["seed"]


def test_nothing_larger_than_a_chunk_is_kept_where_samples_are_many(monkeypatch):
    """Every pass reads its chunks anew, and only once the pass before it is done."""
    monkeypatch.setattr(passes, "KEPT_BYTES", 0)
    cube = labelled_cubes.cube(dates=1, y=24, x=28, chunks={"t": 1, "y": 6, "x": 7})
    labels = labelled_cubes.classes(cube)
    reads, there, most = [], set(), [0]

    def read(block, block_info=None):
        reads.append(block_info[0]["chunk-location"])
        return Counted(block, there, most)

    counted = cube.copy(data=da.map_blocks(read, cube.data, dtype=cube.dtype, meta=cube.data._meta))
    model = fitted(learners.linear(CLASSES, 1.0), counted, labels)
    assert len(reads) == 16 * (linear.PASSES + 1)
    assert model.facts["passes"] < linear.PASSES
    assert most[0] <= 3


class Counted(np.ndarray):
    """An array that is counted as long as it is there."""

    def __new__(cls, values, there, most):
        made = np.array(values).view(cls)
        made.there = there
        there.add(id(made))
        most[0] = max(most[0], len(there))
        return made

    def __del__(self):
        getattr(self, "there", set()).discard(id(self))


def test_planning_computes_nothing(cube):
    labels = labelled_cubes.classes(cube)
    with dask.config.set(scheduler=fakes.raising_scheduler):
        for learner in (
            learners.linear(CLASSES, 1.0), learners.forest(CLASSES, "sqrt", 5, 1),
            learners.mlp([4], "relu", None, 2, 8, 0.1, 1),
        ):  # fmt: skip
            fit(learner, cube, "cover", labels)


@pytest.mark.parametrize("kind", ["one class", "fractions", "nothing"])
def test_what_is_no_classification_is_said_so(cube, kind):
    values = {"one class": np.ones, "fractions": lambda s: np.full(s, 0.5), "nothing": None}[kind]
    shape = (2, 12, 14)
    labels = np.full(shape, np.nan) if values is None else values(shape)
    if kind == "fractions":
        labels[0] = 0.25
    error = NoDataAvailableError if kind == "nothing" else InvalidParameterError
    with pytest.raises(error, match=r"label|class"):
        fitted(learners.linear(CLASSES, 1.0), cube, labelled_cubes.raster(cube, labels))


def test_what_is_asked_of_a_model_must_make_sense(cube):
    labels = labelled_cubes.classes(cube)
    with pytest.raises(InvalidParameterError, match="max_variables is 9"):
        fitted(learners.forest(CLASSES, 9, 2, 1), cube, labels)
    with pytest.raises(InvalidParameterError, match="dropout_rates has 2"):
        learners.mlp([4], "relu", [0.1, 0.1], 1, 1, 0.1, 1)
    model = fit(learners.linear(CLASSES, 1.0), cube, "cover", labels)
    with pytest.raises(InvalidParameterError, match="ml_fit trains"):
        fit(model, cube, "cover", labels)


def test_wide_models_are_refused_not_tried(cube, monkeypatch):
    monkeypatch.setattr(linear, "MOST_WEIGHTS", 20)
    with pytest.raises(InvalidParameterError, match="21 weights"):
        fitted(learners.linear(CLASSES, 1.0), cube, labelled_cubes.classes(cube))
