"""Every codec that keeps bounds keeps them, over shapes, dtypes, masks and bounds of all sizes."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiles import tile, usual

from openeo_nc.codecs.base import LatentCodec
from openeo_nc.codecs.registry import list_codecs, open_codec
from openeo_nc.errors import InvalidParameterError, InvalidValuesError

CODECS = [c for c in (open_codec(card.codec_id) for card in list_codecs()) if c.keeps_bounds]


def worst(x, out, mask):
    """Largest error of each band, `(bands,)`, in more than float64."""
    error = np.abs(x.astype(np.longdouble) - out.astype(np.longdouble))
    return np.where(mask, 0, error).max(axis=(1, 2))


@st.composite
def tiles(draw, card):
    """A tile, its nodata value and its bounds."""
    dtype = np.dtype(draw(st.sampled_from(card.dtypes)))
    bands = len(card.bands or ()) or draw(st.integers(1, 5))
    shape = (bands, draw(st.integers(1, 27)), draw(st.integers(1, 27)))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    top = 120.0 if dtype.itemsize == 1 else 10000.0
    kind = draw(st.sampled_from(["noise", "flat", "ramp", "spikes"]))
    values = np.zeros(shape)
    if kind == "noise":
        values = rng.uniform(0, top, shape)
    elif kind == "ramp":
        values = np.linspace(0, top, shape[1] * shape[2]).reshape(shape[1:]) + np.zeros(shape)
    elif kind == "spikes":
        values[rng.random(shape) < 0.05] = top
    x = (values / draw(st.sampled_from([1, 100]))).astype(dtype)
    nodata = draw(st.sampled_from([None, 0, 100]))
    if nodata is not None:
        x[rng.random(shape) < 0.3] = nodata
    elif dtype.kind == "f":
        x[rng.random(shape) < draw(st.sampled_from([0, 0.5, 1]))] = np.nan
    bound = draw(st.sampled_from([0, 0.5, 1, 7, 300, 1e7]))
    bounds = [bound] * bands if draw(st.booleans()) else (bound * rng.random(bands)).tolist()
    return x, nodata, bounds


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.card.codec_id)
@settings(deadline=None, max_examples=12, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_bound_holds_or_is_refused(codec, data):
    x, nodata, bounds = data.draw(tiles(codec.card))
    before = x.copy()
    try:
        payload = codec.encode_bounded(x, bounds, nodata=nodata)
    except (InvalidParameterError, InvalidValuesError):
        # floats cannot always be brought back exactly; whole numbers can, where they are no wider
        assert x.dtype.kind == "f" or x.dtype.itemsize > 2
        assert min(bounds) < 2
        return
    np.testing.assert_array_equal(x, before)
    out = codec.decode(payload)
    assert (out.shape, out.dtype) == (x.shape, x.dtype)
    mask = np.isnan(x) if x.dtype.kind == "f" else np.zeros(x.shape, bool)
    if nodata is not None:
        mask |= x == nodata
    gone = np.isnan(out) if nodata is None and x.dtype.kind == "f" else out == nodata
    if mask.any() or nodata is not None:
        np.testing.assert_array_equal(gone, mask)
    assert (worst(x, out, mask) <= bounds).all()
    for other in codec.decode_batch([payload, payload]):
        assert (worst(x, other, mask) <= bounds).all()


ANOTHER_MACHINE = """
import sys
import numpy as np
from openeo_nc.codecs.registry import open_codec
codec = open_codec(sys.argv[1])
payload = open(sys.argv[2], "rb").read()
codec.decode(payload)  # networks are loaded on first use
if "torch" in sys.modules:
    import torch
    torch.set_num_threads(2)
    torch.backends.mkldnn.enabled = False
np.savez(sys.argv[3], *codec.decode_batch([payload] * 3), codec.decode(payload))
"""


@pytest.mark.parametrize(
    "codec",
    [codec for codec in CODECS if isinstance(codec, LatentCodec)],
    ids=lambda codec: codec.card.codec_id,
)
def test_a_bound_holds_in_another_process_with_other_threads(codec, tmp_path):
    """Without oneDNN and with two threads, floats come out otherwise; whole numbers must not."""
    x = tile(codec.card, 40, 56, usual(codec.card), noise=250)
    (tmp_path / "payload").write_bytes(codec.encode_bounded(x, [0.0] * len(x)))
    argv = [codec.card.codec_id, str(tmp_path / "payload"), str(tmp_path / "out.npz")]
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}
    subprocess.run(
        [sys.executable, "-c", ANOTHER_MACHINE, *argv], check=True, timeout=300, env=environment
    )
    for out in np.load(tmp_path / "out.npz").values():
        np.testing.assert_array_equal(out, x)


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.card.codec_id)
def test_bounds_must_be_one_a_band(codec):
    bands = len(codec.card.bands or range(3))
    x = np.zeros((bands, 8, 8), codec.card.dtypes[0])
    for wrong in ([1.0] * (bands + 1), [-1.0] * bands, [float("nan")] * bands):
        with pytest.raises(InvalidParameterError):
            codec.encode_bounded(x, wrong)
