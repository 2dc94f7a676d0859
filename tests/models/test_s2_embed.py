"""The shipped encoder: what a vector depends on, what may lack, what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from openeo_nc.errors import BandMismatchError, InvalidParameterError
from openeo_nc.models.registry import get_model_card, open_model

CARD = get_model_card("s2-embed-small")
SIDE, MARGIN, STRIDE = 8 * 22, CARD.margin, CARD.stride


@pytest.fixture(scope="module")
def model():
    return open_model(CARD)


@pytest.fixture(scope="module")
def scene():
    """Fields of reflectance with edges and noise, `(12, y, x)` float32."""
    rng = np.random.default_rng(3)
    fields = np.kron(rng.uniform(200, 4000, (12, 11, 11)), np.ones((16, 16)))
    return (fields + rng.normal(0, 50, fields.shape)).astype(np.float32)


def test_shape_and_dtype(model, scene):
    vectors = model.embed(np.stack([scene, scene[:, ::-1]]))
    assert vectors.shape == (2, CARD.dim, SIDE // STRIDE, SIDE // STRIDE)
    assert vectors.dtype == np.float32
    assert np.isfinite(vectors).all()


def test_a_vector_depends_on_its_margin_and_no_more(model, scene):
    whole = model.embed(scene[None])[0]
    row, column = 9, 12
    top, left = row * STRIDE, column * STRIDE
    cut = scene[:, top - MARGIN : top + STRIDE + MARGIN, left - MARGIN : left + STRIDE + MARGIN]
    middle = MARGIN // STRIDE
    alone = model.embed(cut[None])[0][:, middle, middle]
    np.testing.assert_allclose(alone, whole[:, row, column], rtol=1e-4, atol=1e-4)
    less = cut[:, 4 * STRIDE : -4 * STRIDE, 4 * STRIDE : -4 * STRIDE]
    narrow = model.embed(less[None])[0][:, middle - 4, middle - 4]
    assert np.abs(narrow - whole[:, row, column]).max() > 1e-3  # so it does look around


def test_bands_and_pixels_may_lack(model, scene):
    lacking = scene.copy()
    lacking[CARD.bands.index("B08")] = np.nan
    lacking[:, :20, :20] = np.nan
    vectors = model.embed(lacking[None])[0]
    assert np.isfinite(vectors).all()
    whole = model.embed(scene[None])[0]
    far = np.s_[:, 10:, 10:]
    alike = np.sum(vectors[far] * whole[far]) / np.sqrt(
        np.sum(vectors[far] ** 2) * np.sum(whole[far] ** 2)
    )
    assert alike > 0.8  # the other bands tell most of it


def test_a_patch_that_is_partly_known_is_like_itself(model, scene):
    """Its pixels that lack are not taken for others: at edges of scenes and of masked clouds."""
    whole = model.embed(scene[None])[0]
    cut = scene.copy()
    cut[:, :, : 10 * STRIDE + 5] = (
        np.nan
    )  # of patches in column 10 three columns of pixels are left
    vectors = model.embed(cut[None])[0]

    def alike(column):
        a, b = vectors[:, :, column], whole[:, :, column]
        lengths = np.linalg.norm(a, axis=0) * np.linalg.norm(b, axis=0)
        return np.mean((a * b).sum(axis=0) / lengths)

    assert alike(10) > 0.9
    assert alike(20) > 0.999


def test_what_does_not_fit_is_refused(model, scene):
    with pytest.raises(BandMismatchError, match="12"):
        model.embed(scene[None, :4])
    with pytest.raises(InvalidParameterError, match="stride 8"):
        model.embed(scene[None, :, :-3])
