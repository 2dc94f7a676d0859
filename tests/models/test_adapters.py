"""Adapters of other libraries: how networks are built, what they are told, what lacks."""

from __future__ import annotations

import json
import re
import sys
import warnings
from pathlib import Path

import encoders
import numpy as np
import pytest

from openeo_nc import errors
from openeo_nc.models.files import file_of
from openeo_nc.models.foreign import vectors
from openeo_nc.models.registry import list_models, open_model, parse_model_card

DATES = (np.datetime64("2024-03-01T10:00"), np.datetime64("2024-12-31T10:00"))

BOTH = ["time", "place"]


def card(architecture, **changes):
    return parse_model_card(encoders.document(architecture, **changes))


@pytest.fixture
def chips():
    rng = np.random.default_rng(5)
    return rng.uniform(200, 4000, (2, 4, 64, 64)).astype(np.float32)


def test_terratorch_gets_weights_and_arguments(monkeypatch, tmp_path):
    registry = encoders.install_terratorch(monkeypatch)
    sha = encoders.write_checkpoint(tmp_path / "w.pt")
    options = {"backbone": "terratorch_fake_vit", "arguments": {"num_frames": 1}}
    source = {"href": str(tmp_path / "w.pt")}
    open_model(card("terratorch", options=options, weights_sha256=sha, source=source))
    assert registry.built == [
        ("terratorch_fake_vit", True, str(tmp_path / "w.pt"), {"num_frames": 1})
    ]


def test_terratorch_is_told_when_and_where(monkeypatch, chips):
    encoders.install_terratorch(monkeypatch)
    options = {"backbone": "terratorch_fake_vit", "seed": 1}
    model = open_model(card("terratorch", options=options, conditions=["time", "place"], dates=2))
    both = np.stack([chips, chips], axis=1)
    model.embed(both, times=[DATES, DATES], places=[(11.5, 46.25)] * 2)
    times, places = model._network.told
    assert times.tolist() == [[[2024, 60], [2024, 365]]] * 2
    assert places.tolist() == [[46.25, 11.5]] * 2
    model.embed(both, times=[DATES, None], places=None)
    assert model._network.told == (None, None)


def test_class_tokens_are_for_who_wants_them(monkeypatch, chips):
    encoders.install_terratorch(monkeypatch)
    options = {"backbone": "terratorch_fake_vit", "seed": 1}
    pooled = {"pooling": "cls", "stride": 64, "margin": 0}
    whole = open_model(card("terratorch", options=options)).embed(chips)
    first = open_model(card("terratorch", options=options, **pooled)).embed(chips)
    assert first.shape == (2, 6, 1, 1)
    np.testing.assert_allclose(first[..., 0, 0], whole.mean(axis=(2, 3)), rtol=1e-4, atol=1e-5)


def test_what_terratorch_lacks_is_told(monkeypatch, tmp_path):
    encoders.install_terratorch(monkeypatch)
    with pytest.raises(errors.ModelUnavailableError, match="no backbone 'other'"):
        open_model(card("terratorch", options={"backbone": "other", "seed": 1}))
    with pytest.raises(errors.WeightsNotFoundError, match="names no weights"):
        open_model(card("terratorch", options={"backbone": "terratorch_fake_vit"}))
    monkeypatch.setitem(sys.modules, "terratorch.registry", None)
    with pytest.raises(errors.ModelUnavailableError, match=r"openeo-nc\[terratorch\]"):
        open_model(card("terratorch", options={"backbone": "other", "seed": 2}))


def _real_backbones():
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from terratorch.registry import BACKBONE_REGISTRY
    except ImportError as error:
        pytest.skip(f"TerraTorch (extra terratorch) is not installed: {error}")
    return BACKBONE_REGISTRY


@pytest.mark.parametrize(
    ("backbone", "arguments", "dates"),
    [
        ("terratorch_prithvi_eo_v2_tiny_tl", {"num_frames": 1}, 1),
        ("terratorch_prithvi_eo_v2_tiny_tl", {"num_frames": 3}, 3),
        ("terratorch_terramind_v1_tiny", {"modalities": ["S2L2A"]}, 1),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_backbones_of_terratorch_itself(backbone, arguments, dates):
    """Random weights; the real classes, so the real layout of tokens."""
    _real_backbones()
    bands = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
    prithvi = "prithvi" in backbone
    if prithvi:
        bands = ("B02", "B03", "B04", "B8A", "B11", "B12")
        arguments = arguments | {
            "bands": ["BLUE", "GREEN", "RED", "NIR_NARROW", "SWIR_1", "SWIR_2"]
        }
    made = card(
        "terratorch", bands=bands, mean=[1000.0] * len(bands), std=[500.0] * len(bands),
        dim=192 * dates, stride=16, chip=224, margin=32, dates=dates,
        conditions=["time", "place"] if prithvi else [],
        options={"backbone": backbone, "arguments": arguments, "seed": 3},
    )  # fmt: skip
    model = open_model(made)
    shape = (2, dates, len(bands), 224, 224) if dates > 1 else (2, len(bands), 224, 224)
    x = np.random.default_rng(1).uniform(0, 3000, shape).astype("f4")
    moments = [tuple(DATES[:1] * dates)] * 2
    found = model.embed(x, times=moments, places=[(11.5, 46.25)] * 2)
    assert found.shape == (2, 192 * dates, 14, 14)
    changed = x.copy()
    changed[..., 64:80, 160:176] += 2000  # patch of row 4, column 10
    moved = np.abs(model.embed(changed, times=moments, places=[(11.5, 46.25)] * 2) - found)
    assert np.unravel_index(moved[0].sum(axis=0).argmax(), (14, 14)) == (4, 10)


def test_rs_embed_gets_raw_numbers_place_and_date(monkeypatch, chips):
    embedder = encoders.install_rs_embed(monkeypatch)
    made = card(
        "rs_embed", options={"model": "fake", "model_config": {"variant": "x"}}, conditions=BOTH
    )
    chips[0, 1, :5] = np.nan
    found = open_model(made).embed(chips, times=[DATES, None], places=[(11.5, 46.25), None])
    np.testing.assert_allclose(found, encoders.expected(chips), rtol=1e-3, atol=1e-4)
    first, second = embedder.calls
    assert first[0] == encoders.PointBuffer(lon=11.5, lat=46.25, buffer_m=320.0)
    assert first[1] == encoders.TemporalSpec("2024-03-01", "2024-03-02")
    assert first[3:] == ("cpu", {"variant": "x"})
    with pytest.raises(NotImplementedError):  # it fetches nothing
        first[2].fetch_array_chw()
    assert second[1] is None


def test_what_rs_embed_lacks_is_told(monkeypatch):
    with pytest.raises(errors.ModelUnavailableError, match=r"openeo-nc\[rs-embed\]"):
        open_model(card("rs_embed", options={"model": "a"}, conditions=BOTH))
    encoders.install_rs_embed(monkeypatch)
    with pytest.raises(errors.ModelUnavailableError, match="no model 'b'"):
        open_model(card("rs_embed", options={"model": "b"}, conditions=BOTH))
    with pytest.raises(errors.CardInvalidError, match="date and place"):
        open_model(card("rs_embed", options={"model": "fake"}))


def test_files_at_hugging_face(monkeypatch, tmp_path):
    import huggingface_hub

    asked = []
    sha = encoders.write_checkpoint(tmp_path / "w.pt")

    def download(**arguments):
        asked.append(arguments)
        return str(tmp_path / "w.pt")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    source = {"repo": "a/b", "revision": "0123abc", "file": "w.pt"}
    assert file_of(card("terratorch", source=source, weights_sha256=sha)) == tmp_path / "w.pt"
    assert asked == [{"repo_id": "a/b", "filename": "w.pt", "revision": "0123abc"}]
    with pytest.raises(errors.WeightsInvalidError, match="SHA-256"):
        file_of(card("terratorch", source=source, weights_sha256="0" * 64))

    def refuse(**arguments):
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    with pytest.raises(errors.WeightsNotFoundError, match=r"a/b at 0123abc.*no network"):
        file_of(card("terratorch", source=source))


def test_onnx_names_are_checked(tmp_path):
    sha = encoders.write_onnx(tmp_path / "e.onnx")
    source = {"href": str(tmp_path / "e.onnx")}
    named = card("onnx_model", weights_sha256=sha, source=source, options={"output": "none"})
    with pytest.raises(errors.CardInvalidError, match=r"pixels.*map"):
        open_model(named)
    (tmp_path / "e.onnx").write_bytes(b"no network")
    with pytest.raises(errors.WeightsInvalidError, match="no ONNX"):
        open_model(card("onnx_model", source=source))
    with pytest.raises(errors.WeightsInvalidError, match="no TorchScript"):
        open_model(card("torchscript", source=source))


def test_maps_are_told_from_sizes():
    made = card("onnx_model")
    maps = np.arange(2 * 6 * 8 * 8, dtype="f4").reshape(2, 6, 8, 8)
    tokens = maps.reshape(2, 6, 64).transpose(0, 2, 1)
    prefixed = np.concatenate([np.zeros((2, 5, 6), "f4"), tokens], axis=1)
    for given in (maps, maps.transpose(0, 2, 3, 1), tokens, prefixed):
        np.testing.assert_array_equal(vectors(given, made, (64, 64)), maps)
    order = ("height", "width", "embedding", "batch")
    np.testing.assert_array_equal(vectors(maps.transpose(2, 3, 1, 0), made, (64, 64), order), maps)
    for given in (maps[:, :5], tokens[:, :40], maps[:, :, :4]):
        with pytest.raises(errors.CardInvalidError, match="stride 8"):
            vectors(given, made, (64, 64))


def test_unit_vectors():
    made = card("onnx_model", unit_norm=True)
    found = vectors(np.random.default_rng(0).normal(size=(1, 6, 8, 8)), made, (64, 64))
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)


def test_shipped_cards_name_their_weights():
    for shipped in list_models():
        assert shipped.weights or {"repo", "revision", "file"} <= set(shipped.source)


def test_the_card_of_the_docs_is_one():
    page = Path(__file__).parents[2] / "docs" / "embeddings.md"
    (text,) = re.findall(r"```json\n(.*?)```", page.read_text(), re.DOTALL)
    assert parse_model_card(json.loads(text)).dates == 3
