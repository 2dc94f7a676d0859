"""What every embedding model keeps: shapes, no data, determinism, independence of batch and chunks."""

from __future__ import annotations

import dask
import encoders
import fakes
import numpy as np
import pytest

from openeo_nc.cubes.embed import embed_cube
from openeo_nc.errors import BandMismatchError, InvalidParameterError
from openeo_nc.models.layout import Layout
from openeo_nc.models.registry import get_model_card, open_model, parse_model_card

KINDS = ["s2-embed-small", "torchscript", "torchscript-tokens", "onnx", "onnx-tokens",
         "onnx-pooled", "onnx-one", "terratorch-vit", "terratorch-tokens", "rs-embed",
         "rs-embed-pooled"]  # fmt: skip


@pytest.fixture(params=KINDS)
def card(request, tmp_path, monkeypatch):
    """The card of a model of each kind, ready to be opened."""
    kind, _, form = request.param.partition("-")
    file, options, changes = tmp_path / f"encoder.{kind}", {}, {}
    if kind == "s2":
        return get_model_card(request.param)
    if kind == "torchscript":
        sha = encoders.write_torchscript(file, tokens=form == "tokens")
    elif kind == "onnx":
        batch = 1 if form == "one" else "n"
        form = form if form in ("tokens", "pooled") else "map"
        sha = encoders.write_onnx(file, kind=form, batch=batch)
    elif kind == "terratorch":
        encoders.install_terratorch(monkeypatch)
        sha, options = encoders.write_checkpoint(file), {"backbone": f"terratorch_fake_{form}"}
    else:
        encoders.install_rs_embed(monkeypatch)
        sha, options, kind = None, {"model": "fake"}, "rs_embed"
        changes["conditions"] = ["time", "place"]
    if form.endswith("pooled"):
        changes |= {"pooling": "mean", "stride": encoders.CHIP, "margin": 0}
    architecture = "onnx_model" if kind == "onnx" else kind
    source = {} if sha is None else {"href": str(file)}
    return parse_model_card(
        encoders.document(
            architecture, options=options, weights_sha256=sha, source=source, **changes
        )
    )


@pytest.fixture
def chips(card):
    rng = np.random.default_rng(3)
    side = min(Layout.of(card).side, 160)
    return rng.uniform(200, 4000, (3, len(card.bands), side, side)).astype(np.float32)


def test_shapes_and_values(card, chips):
    found = open_model(card).embed(chips)
    side = 1 if card.pooling != "none" else chips.shape[-1] // card.stride
    assert found.shape == (3, card.dim, side, side)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    if card.model_id != "s2-embed-small":
        exact = encoders.expected(chips)
        if card.pooling != "none":
            exact = exact.mean(axis=(2, 3), keepdims=True)
        np.testing.assert_allclose(found, exact, rtol=1e-3, atol=1e-4)


def test_no_data_gives_numbers(card, chips):
    chips[0, 0] = np.nan
    chips[1, :, :20, :9] = np.nan
    assert np.isfinite(open_model(card).embed(chips)).all()


def test_the_same_twice_and_in_any_batch(card, chips):
    model = open_model(card)
    whole = model.embed(chips)
    np.testing.assert_array_equal(model.embed(chips), whole)
    for n in range(3):
        np.testing.assert_allclose(model.embed(chips[n : n + 1])[0], whole[n], rtol=1e-4, atol=1e-5)


def test_what_does_not_fit_is_refused(card, chips):
    with pytest.raises(BandMismatchError):
        open_model(card).embed(chips[:, :2])
    with pytest.raises(InvalidParameterError):
        open_model(card).embed(chips[..., :-3])


def test_cubes_in_other_chunks_have_the_same_vectors(card):
    with dask.config.set(scheduler="synchronous"):
        first, second = (
            embed_cube(
                fakes.cube(
                    150, 140, bands=card.bands, dates=1, x0=576_100.0, y0=4_992_300.0, chunks=c
                ),
                card,
                quantization="float32",
            ).compute()
            for c in ((1, 1, 64, 60), (1, len(card.bands), 150, 140))
        )
    assert np.isfinite(first.values).any()
    np.testing.assert_array_equal(first.values, second.values)
