"""One codec a process, and never another than the graph was built for."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor

import fakes
import pytest

from openeo_nc import errors
from openeo_nc.codecs import registry
from openeo_nc.inference.cache import get_codec
from openeo_nc.inference.spec import CodecSpec


@pytest.fixture
def codecs():
    with fakes.codecs_installed() as blocks:
        yield blocks


@pytest.fixture
def spec(codecs):
    return CodecSpec.of(registry.get_card("fake-rgb"))


def test_many_threads_open_it_once(codecs, spec):
    with ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(get_codec, [spec] * 64))
    assert len(set(map(id, opened))) == 1
    assert codecs.loads == {"fake-rgb": 1}


def test_a_spec_is_small_hashable_and_comes_back(spec):
    data = pickle.dumps(spec)
    assert len(data) < 300
    assert pickle.loads(data) == spec
    assert hash(pickle.loads(data)) == hash(spec)


def test_other_weights_are_refused(codecs):
    other = CodecSpec(codec_id="fake-rgb", weights_sha256="00" * 32)
    with pytest.raises(errors.WeightsNotFoundError, match="0000"):
        get_codec(other)
    assert not codecs.loads


def test_an_unknown_codec_is_refused(codecs):
    with pytest.raises(errors.CodecNotFoundError, match="fake-rgb"):
        get_codec(CodecSpec(codec_id="nothing", weights_sha256=None))
