"""The device is the worker's choice; torch is asked only for learned codecs."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import fakes
import pytest

from openeo_nc import errors
from openeo_nc.codecs import registry
from openeo_nc.inference import device


@pytest.fixture
def learned():
    with fakes.codecs_installed():
        yield registry.get_card("fake-rgb")


@pytest.fixture
def cuda(monkeypatch):
    import torch

    def available(answer):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: answer)

    return available


def test_without_cuda_it_is_the_cpu(learned, cuda):
    cuda(False)
    assert device.choose(learned) == "cpu"
    with pytest.raises(errors.InvalidParameterError, match="no CUDA"):
        device.choose(learned, "cuda:0")


def test_with_cuda_it_is_cuda_unless_said_otherwise(learned, cuda, monkeypatch):
    cuda(True)
    assert device.choose(learned) == "cuda"
    assert device.choose(learned, "cpu") == "cpu"
    monkeypatch.setenv(device.VARIABLE, "cuda:1")
    assert device.choose(learned) == "cuda:1"
    assert device.choose(learned, "cuda:0") == "cuda:0"


def test_a_codec_without_network_runs_on_the_cpu(learned, cuda):
    cuda(True)
    assert device.choose(replace(learned, bands=None)) == "cpu"


def test_a_codec_without_network_does_not_import_torch():
    code = (
        "import sys\n"
        "from openeo_nc.codecs.base import CodecCard\n"
        "from openeo_nc.inference.device import choose\n"
        "card = CodecCard.__new__(CodecCard)\n"
        "object.__setattr__(card, 'bands', None)\n"
        "assert choose(card) == 'cpu'\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
