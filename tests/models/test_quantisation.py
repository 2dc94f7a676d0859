"""Quantisers: lattices, documents, real vectors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr

from openeo_nc.errors import InvalidParameterError, InvalidValuesError, PayloadError
from openeo_nc.models import quantisation
from openeo_nc.models.quantisation import Quantiser, cosine_error, quantiser, quantiser_of
from openeo_nc.models.quantisation_rans import Rans

DIM = 24
ALL = ("float32", "int8", "int8_power", "pca8+int8", "binary", "rans")
Vectors = npt.NDArray[np.float32]


def sphere(n: int, dim: int = DIM, seed: int = 0) -> Vectors:
    """Unit vectors, more of them along the first axes."""
    rng = np.random.default_rng(seed)
    v = rng.normal(size=(n, dim)) / np.arange(1, dim + 1) ** 0.5 + 0.1
    return (v / np.linalg.norm(v, axis=1, keepdims=True)).astype(np.float32)


def made(name: str, dim: int = DIM) -> Quantiser:
    return quantiser(name, dim=dim, sample=sphere(500, dim, seed=1))


@pytest.mark.parametrize("name", ALL)
def test_snapping_twice_changes_nothing(name: str) -> None:
    v = sphere(2000)
    once = made(name).snap(v)
    np.testing.assert_array_equal(made(name).snap(once), once)
    assert once.dtype == np.float32
    assert once.shape == v.shape


@pytest.mark.parametrize("name", ALL)
def test_a_document_makes_the_same_quantiser(name: str) -> None:
    q, v = made(name), sphere(50)
    again = quantiser_of(json.loads(json.dumps(q.document())))
    np.testing.assert_array_equal(again.snap(v), q.snap(v))
    assert again.document() == q.document()
    assert (again.name, again.dim, again.columns) == (q.name, q.dim, q.columns)


@pytest.mark.parametrize("name", ALL)
def test_vectors_with_nan_are_no_data(name: str) -> None:
    v = sphere(10)
    v[3] = np.nan
    v[5, 2] = np.nan
    snapped = made(name).snap(v)
    assert np.isnan(snapped[[3, 5]]).all()
    assert np.isfinite(np.delete(snapped, [3, 5], 0)).all()


@pytest.mark.parametrize("name", ALL)
def test_a_vector_is_the_same_in_any_company(name: str) -> None:
    q, v = made(name), sphere(100)
    parts = np.concatenate([q.snap(v[:1]), q.snap(v[1:40]), q.snap(v[40:])])
    np.testing.assert_array_equal(parts, q.snap(v))


@pytest.mark.parametrize("scale", [1e-12, 1.0, 3e7])
def test_int8_is_within_half_a_step(scale: float) -> None:
    v = (sphere(300) * scale).astype(np.float32)
    codes = made("int8").quantise(v)
    assert codes.scale is not None
    assert codes.values.dtype == np.int8
    assert np.abs(codes.values).max() == 127
    error = np.abs(v - made("int8").dequantise(codes)) / codes.scale[:, None]
    assert error.max() <= 0.51


def test_int8_of_zeros_is_zeros() -> None:
    assert (made("int8").snap(np.zeros((2, DIM), np.float32)) == 0).all()


def test_int8_power_is_alphaearths() -> None:
    values = np.array([[-127, 127, 0, 1, -1, 64]], np.int8)
    q = quantiser("int8_power", dim=6)
    expected = [np.sign(int(k)) * (int(k) / 127.5) ** 2 for k in values[0]]
    got = q.dequantise(quantisation.Codes(values=values))
    np.testing.assert_allclose(got[0], expected, rtol=1e-6)
    np.testing.assert_array_equal(q.quantise(got).values, values)
    with pytest.raises(InvalidValuesError, match="Use int8"):
        q.quantise(np.full((1, 6), 3, np.float32))


def test_binary_keeps_signs_in_bits() -> None:
    v = sphere(5)
    codes = made("binary").quantise(v)
    assert codes.values.shape == (5, 3)
    np.testing.assert_array_equal(made("binary").dequantise(codes) > 0, v >= 0)
    assert np.linalg.norm(made("binary").snap(v), axis=1) == pytest.approx(1, abs=1e-6)


def test_pca_is_the_projection() -> None:
    """Against NumPy's singular vectors."""
    sample = sphere(500, seed=1)
    mean = sample.mean(0)
    _, _, directions = np.linalg.svd(sample - mean, full_matrices=False)
    v = sphere(40)
    expected = (v - mean) @ directions[:8].T @ directions[:8] + mean
    assert np.abs(made("pca8+int8").snap(v) - expected).max() < 0.01


def test_pca_of_a_models_own_order_keeps_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantisation, "_principal", lambda model: model == "sorted")
    v = sphere(30)
    q = quantiser("pca8+int8", dim=DIM, model="sorted")
    snapped = q.snap(v)
    assert (snapped[:, 8:] == 0).all()
    assert np.abs(snapped[:, :8] - v[:, :8]).max() < 0.01
    assert len(json.dumps(q.document())) < 200


def test_rans_packs_what_it_unpacks_in_fewer_bytes() -> None:
    q, v = made("rans"), sphere(1000)
    assert isinstance(q, Rans)
    v[7] = np.nan
    codes = q.quantise(v)
    data = q.pack(codes)
    np.testing.assert_array_equal(q.unpack(data).values, codes.values)
    assert q.nbytes(codes) == len(data) < 0.8 * v.size
    assert cosine_error(v, q.dequantise(codes))[0] < 1e-3
    with pytest.raises(PayloadError):
        q.unpack(data[:5])


def test_cosine_error_is_that_of_angles() -> None:
    a = np.array([[1, 0], [0, 2], [np.nan, 1]], np.float32)
    b = np.array([[1, 1], [0, 1], [1, 1]], np.float32)
    mean, worst = cosine_error(a, b)
    assert worst == pytest.approx(1 - np.sqrt(0.5))
    assert mean == pytest.approx(worst / 2)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("int4", "no quantiser"), ("pca99+int8", "more than"), ("rans", "sample"), ("pca4+int8", "s")],
)
def test_names_that_are_none(name: str, reason: str) -> None:
    with pytest.raises(InvalidParameterError, match=reason):
        quantiser(name, dim=DIM)


@pytest.mark.parametrize(
    "document", [{}, {"name": "x", "dim": 3}, {"name": "pca8+int8", "dim": 24, "basis": {}},
                 {"name": "rans", "dim": 24, "basis": {"count": 1, "components": "?", "mean": "?"}}]
)  # fmt: skip
def test_documents_that_are_none(document: dict[str, object]) -> None:
    with pytest.raises(InvalidParameterError):
        quantiser_of(document)


def test_vectors_of_another_length_or_infinite_ones_are_refused() -> None:
    with pytest.raises(InvalidParameterError, match="24"):
        made("int8").snap(np.zeros((2, 5), np.float32))
    with pytest.raises(InvalidValuesError, match="infinite"):
        made("int8").snap(np.full((1, DIM), np.inf, np.float32))


@pytest.mark.realdata
def test_real_vectors_lie_on_alphaearths_lattice(shared_data: Path) -> None:
    """Two sources disagree on the divisor; the product's own vectors tell."""
    path = shared_data / "embeddings/alphaearth_2024/iowa_ag.nc"
    with xr.open_dataset(path) as data:
        v = data.embedding.values
    np.testing.assert_allclose(quantiser("int8_power", dim=64).snap(v), v, atol=1e-7)


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "limit"),
    [("int8", 1e-4), ("int8_power", 1e-6), ("pca32+int8", 0.1), ("rans", 1e-3), ("binary", 0.5)],
)
def test_real_vectors_keep_their_direction(shared_data: Path, name: str, limit: float) -> None:
    folder = shared_data / "embeddings/alphaearth_2024"
    found = []
    for place in ("amazon_forest", "iowa_ag"):
        with xr.open_dataset(folder / f"{place}.nc") as data:
            found.append(data.embedding.values)
    q = quantiser(name, dim=64, sample=np.concatenate(found)[::2])
    v = np.concatenate(found)[1::2]
    assert q.error(v)[0] < limit
    np.testing.assert_array_equal(q.snap(q.snap(v)), q.snap(v))
