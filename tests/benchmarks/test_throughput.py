"""What coding and embedding cost is measured in a form that estimates take."""

from __future__ import annotations

import numpy as np

from openeo_nc.benchmarks.throughput import Task, measure_model
from openeo_nc.cli.bench_throughput import throughput_table
from openeo_nc.cubes.throughput import Throughput


def test_what_a_model_costs_is_what_estimates_take():
    tile = np.random.default_rng(0).integers(1, 9000, (12, 64, 80)).astype(np.uint16)
    found = measure_model(Task(codec="s2-embed-small", device="cpu", tiles=[tile]))
    name = found.pop("model")
    report = {
        "machine": {"cpu": "abacus", "cores": 1}, "device": "cpu", "tiles": ["one"],
        "shape": [12, 384, 384], "codecs": {}, "models": {name: found},
    }  # fmt: skip
    known = Throughput.of(report)
    assert 0 < known.embedding(name) < 1e-3
    assert known.memory(name).tile > 0
    assert known.memory(None).codec == found["memory"]["codec"]
    assert f"{1e-6 / found['embed']:.2f}" in throughput_table(report)
