"""The guard's fit: weighted statistics, places that never judge themselves, a threshold that holds."""

from __future__ import annotations

import numpy as np
import pytest

from openeo_nc.codecs.guard_measures import Measures
from openeo_nc.training import guard_fit
from openeo_nc.training.guard_fit import (
    ANY,
    Example,
    features_left_out,
    fit_reference,
    fit_scorer,
)


def example(rng, place, kind=None, shift=0.0, at=0.0):
    """Three scalars around the place's own level `at`; kinds move the scalar of their name."""
    scalars = dict(zip("abc", rng.normal(at, 1, 3), strict=True))
    if kind:
        scalars[kind] += shift
    spectrum = rng.normal(at, 0.2, 4)
    sample = rng.normal(1000 + 100 * at, 50, (32, 4)).astype("f4")
    spectra = {"mean": spectrum, "dark": spectrum - 1, "spread": spectrum + 1}
    measures = Measures(scalars=scalars, spectra=spectra, sample=sample)
    return Example(place=place, kind=kind, measures=measures)


@pytest.fixture(scope="module")
def examples():
    rng = np.random.default_rng(0)
    found = []
    for i, at in enumerate(np.linspace(-0.5, 0.5, 5)):
        for _ in range(30):
            found.append(example(rng, f"p{i}", at=at))
            found += [example(rng, f"p{i}", k, s, at) for k, s in (("a", 8), ("b", -8))]
    return [*found, example(rng, "elsewhere", "c", 20.0)]


@pytest.fixture(scope="module")
def fitted(examples):
    features = features_left_out(examples)
    return (features, *fit_scorer(features, [(e.place, e.kind) for e in examples]))


def test_weighted_quantiles_are_those_of_repeated_values():
    rng = np.random.default_rng(1)
    values, counts = rng.normal(size=9), rng.integers(1, 6, 9)
    repeated = np.sort(np.repeat(values, counts * 200))
    found = guard_fit._quantiles(values, counts / counts.sum(), (0.5,))
    assert values.min() <= found[0] <= values.max()
    assert abs(np.searchsorted(repeated, found[0]) / len(repeated) - 0.5) < 0.2
    even = guard_fit._quantiles(np.arange(101.0), np.full(101, 1 / 101), (0.25, 0.5))
    np.testing.assert_allclose(even, [24.75, 50], atol=0.3)


def test_whitening_gives_unit_covariance_as_far_as_it_is_not_shrunk(monkeypatch):
    monkeypatch.setattr(guard_fit, "SHRINK", 0.0)
    rng = np.random.default_rng(2)
    spectra = rng.normal(size=(500, 3)) @ rng.normal(size=(3, 3)) * 5
    centre, whiten = guard_fit._gaussian(spectra, np.full(500, 1 / 500))
    white = (spectra - centre) @ whiten.T
    np.testing.assert_allclose(np.cov(white.T, bias=True), np.eye(3), atol=0.02)


def test_places_weigh_alike():
    weights = guard_fit._shares(np.array(["a", "a", "a", "b"]))
    np.testing.assert_allclose(weights, [1 / 6, 1 / 6, 1 / 6, 1 / 2])


def test_distances_of_a_place_are_to_the_others(examples):
    features = features_left_out(examples)
    others = fit_reference([e for e in examples if e.place != "p0"])
    assert features[0] == others.features(examples[0].measures)
    assert features[-1] == fit_reference(examples).features(examples[-1].measures)


def test_weights_are_not_negative_and_find_their_feature(fitted):
    _, scorer, _ = fitted
    assert scorer.kinds == (ANY, "a", "b")
    assert (scorer.below >= 0).all()
    assert (scorer.above >= 0).all()
    strongest = [(scorer.above, "a"), (scorer.below, "b")]
    for i, (weights, name) in enumerate(strongest, 1):
        assert scorer.names[int(weights[i].argmax())] == name


def test_the_threshold_keeps_its_rate_on_places_left_out(examples, fitted):
    _, _, left_out = fitted
    clean = np.array([e.kind is None for e in examples])
    rates = [
        (left_out[clean & np.array([e.place == f"p{i}" for e in examples])] > 0).mean()
        for i in range(5)
    ]
    assert np.mean(rates) == pytest.approx(guard_fit.FALSE_ALARMS, abs=0.02)
    assert (left_out[~clean] > 0).mean() > 0.95


def test_new_tiles_are_told_apart(fitted, examples):
    _, scorer, _ = fitted
    rng = np.random.default_rng(9)
    reference = fit_reference(examples)
    for kind, shift, expected in ((None, 0, 0.05), ("a", 8, 1.0), ("b", -8, 1.0), ("c", 30, 0.9)):
        new = [example(rng, "new", kind, shift) for _ in range(60)]
        values = [reference.features(e.measures) for e in new]
        scores = scorer.scores(np.array([[v[n] for n in scorer.names] for v in values]))
        assert (scores.max(axis=1) > 0).mean() == pytest.approx(expected, abs=0.12)
