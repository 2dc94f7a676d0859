"""Networks of many threads are joined into batches, kept within memory, and fail alone."""

from __future__ import annotations

import multiprocessing
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest

from openeo_nc import errors, metrics
from openeo_nc.codecs import networks
from openeo_nc.codecs.networks import Alone, Network
from openeo_nc.inference.engine import Engine, is_out_of_memory


class Fake:
    """A network that doubles, on a device with room for so many values; notes its batches."""

    def __init__(self, device="fake", *, room=10**9, seconds=0.0, error=MemoryError):
        self.batches = []
        self.room = room
        self.seconds = seconds
        self.error = error
        self.at_once = self.most_at_once = 0
        self._lock = threading.Lock()
        self.network = Network(name="fake", device=device, shape=np.shape, forward=self.forward)

    def forward(self, items):
        with self._lock:
            self.batches.append(len(items))
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            time.sleep(self.seconds)
            if sum(np.size(item) for item in items) > self.room:
                raise self.error("fake device is full")
            if any(np.isnan(item).any() for item in items):
                raise ValueError("NaN")
            return 2 * np.stack(items)
        finally:
            with self._lock:
                self.at_once -= 1


def tiles(count, side=2):
    return [np.full((side, side), float(i)) for i in range(count)]


@pytest.mark.parametrize("device", ["cpu", "fake"])
@pytest.mark.parametrize("runner", [Alone, Engine])
def test_results_come_in_order_whatever_the_shapes(runner, device):
    fake = Fake(device)
    items = [np.full((1 + i % 3, 2), float(i)) for i in range(20)]
    found = runner().run(fake.network, items)
    assert all(np.array_equal(a, 2 * b) for a, b in zip(found, items, strict=True))
    assert runner().run(fake.network, []) == []


def test_items_of_many_threads_are_one_batch():
    fake, engine = Fake(seconds=0.02), Engine(most=8, wait=5)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda tile: engine.run(fake.network, [tile])[0], tiles(32)))
    assert all(np.array_equal(a, 2 * b) for a, b in zip(found, tiles(32), strict=True))
    assert sum(fake.batches) == 32
    assert fake.batches == [8] * 4


def test_a_lone_item_waits_for_others_for_a_moment_only():
    fake, engine = Fake(), Engine(wait=0.05)
    began = time.monotonic()
    engine.run(fake.network, tiles(1))
    assert 0.04 < time.monotonic() - began < 20


def test_two_batches_are_under_way_at_once():
    fake, engine = Fake(seconds=0.3), Engine(most=2, wait=0.0)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda tile: engine.run(fake.network, [tile]), tiles(16)))
    assert fake.most_at_once == 2


def test_on_the_cpu_each_thread_runs_its_own():
    fake, engine = Fake("cpu", seconds=0.3), Engine()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda tile: engine.run(fake.network, [tile]), tiles(8)))
    assert fake.batches == [1] * 8
    assert fake.most_at_once == 4


# --- memory ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["cpu", "fake"])
@pytest.mark.parametrize(
    "error",
    [
        MemoryError,
        type("OutOfMemoryError", (RuntimeError,), {}),  # as torch.cuda's is
        lambda text: RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_out_of_memory_halves_the_batch_and_is_remembered(device, error):
    fake, engine = Fake(device, room=3 * 4, error=error), Engine(most=16)
    before = metrics.OUT_OF_MEMORY.value()
    found = engine.run(fake.network, tiles(16))
    assert all(np.array_equal(a, 2 * b) for a, b in zip(found, tiles(16), strict=True))
    assert fake.batches == [16, 8, 4] + [2] * 8
    assert metrics.OUT_OF_MEMORY.value() - before == 3
    fake.batches.clear()
    engine.run(fake.network, tiles(4))
    assert fake.batches == [2, 2]
    assert engine.limit(fake.network, (2, 2)) == 2


def test_what_is_remembered_is_of_one_network_and_shape():
    full, other, engine = Fake(room=4), Fake(), Engine(most=4)
    engine.run(full.network, tiles(4))
    assert engine.limit(full.network, (2, 2)) == 1
    assert engine.limit(full.network, (1, 1)) == 4
    assert engine.limit(other.network, (2, 2)) == 4


@pytest.mark.parametrize("device", ["cpu", "fake"])
def test_no_room_for_a_single_tile_is_a_typed_error(device):
    fake = Fake(device, room=1)
    with pytest.raises(
        errors.DeviceMemoryError, match=f"'{device}' does not hold the network 'fake'"
    ):
        Engine().run(fake.network, tiles(4))


@pytest.mark.gpu
def test_memory_of_a_real_device():
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    free, _ = torch.cuda.mem_get_info()
    side = int((free / 6 / 4) ** 0.5)

    def forward(items):
        return torch.zeros((len(items), side, side), device="cuda")[:, :1, :1].cpu().numpy()

    engine = Engine(most=16)
    network = Network(name="large", device="cuda", shape=np.shape, forward=forward)
    assert len(engine.run(network, tiles(16))) == 16
    assert engine.limit(network, (2, 2)) == 4


def test_what_means_that_memory_ran_out():
    import torch

    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert not is_out_of_memory(RuntimeError("size mismatch"))
    assert not is_out_of_memory(ValueError("can't allocate memory"))


# --- faults ----------------------------------------------------------------------------------------


def test_a_tile_that_fails_takes_no_other_along():
    fake, engine = Fake(), Engine(most=8, wait=0.2)
    items = [*tiles(7), np.full((2, 2), np.nan)]

    def one(tile):
        try:
            return engine.run(fake.network, [tile])[0]
        except ValueError as error:
            return str(error)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(one, items))
    assert found[-1] == "NaN"
    assert all(np.array_equal(a, 2 * b) for a, b in zip(found[:-1], items[:-1], strict=True))
    np.testing.assert_array_equal(engine.run(fake.network, tiles(2))[1], 2 * tiles(2)[1])


class Short(Fake):
    """A network that loses a result."""

    def forward(self, items):
        return super().forward(items)[1:]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("device", ["cpu", "fake"])
def test_a_network_that_gives_a_wrong_count_fails_and_holds_up_nobody(device):
    fake, engine = Short(device), Engine(most=4)
    for _ in range(3):  # more than there are lanes
        with pytest.raises(errors.CardInvalidError, match="gave 0 results of 1 items"):
            engine.run(fake.network, tiles(1))
        with pytest.raises(errors.CardInvalidError, match="'fake' gave"):
            engine.run(fake.network, tiles(3))
    other = Fake(device)
    assert len(engine.run(other.network, tiles(3))) == 3


@pytest.mark.timeout(60)
@pytest.mark.parametrize("where", ["made", "entered"])
def test_a_stream_that_fails_fails_who_waits_and_is_tried_again(where):
    broken = threading.Event()
    broken.set()

    @contextmanager
    def entered():
        if where == "entered" and broken.is_set():
            raise RuntimeError("no stream")
        yield

    def stream(device):
        if where == "made" and broken.is_set():
            raise RuntimeError("no stream")
        return entered()

    fake, engine = Fake(), Engine(stream=stream)
    for _ in range(3):
        with pytest.raises(RuntimeError, match="no stream"):
            engine.run(fake.network, tiles(2))
    broken.clear()
    assert len(engine.run(fake.network, tiles(2))) == 2


@pytest.mark.timeout(60)
def test_a_network_that_ends_its_thread_ends_no_lane():
    def forward(items):
        raise SystemExit(1)

    engine = Engine()
    network = Network(name="exits", device="fake", shape=np.shape, forward=forward)
    for _ in range(3):
        with pytest.raises(SystemExit):
            engine.run(network, tiles(2))
    assert len(engine.run(Fake().network, tiles(2))) == 2


@pytest.mark.parametrize("device", ["cpu", "fake"])
def test_what_is_counted_is_counted_in_the_thread_that_waits(device, monkeypatch):
    """Only so it goes to the usage of the job whose task runs in that thread."""
    told = []

    def add(self, amount=1, part=None):
        told.append((self.name, amount, threading.current_thread()))

    monkeypatch.setattr(metrics.Total, "add", add)
    fake, engine = Fake(device, room=3 * 4), Engine(most=4, wait=0.0)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: engine.run(fake.network, tiles(4)), range(4)))
    full = Fake(device, room=1)
    with pytest.raises(errors.DeviceMemoryError):
        engine.run(full.network, tiles(1))
    assert not [thread.name for *_, thread in told if thread.name.startswith("openeo_nc-")]
    sums = {name: sum(n for what, n, _ in told if what == name) for name, *_ in told}
    counted = sum(1 for size in fake.batches if size * 4 <= fake.room)
    assert sums["batches"] == counted
    assert sums["out_of_memory"] == len(fake.batches) - counted + 1


@pytest.mark.parametrize("device", ["cpu", "fake"])
def test_each_tile_that_waits_is_counted_once(device):
    depth = []
    fake = Fake(device)
    forward = fake.forward

    def looking(items):
        depth.append(metrics.QUEUE_DEPTH._value.get())
        return forward(items)

    network = Network(name="looks", device=device, shape=np.shape, forward=looking)
    before = metrics.QUEUE_DEPTH._value.get()
    Engine(most=2, lanes=1).run(network, tiles(6))
    assert depth
    assert set(depth) == {before + 6}
    assert metrics.QUEUE_DEPTH._value.get() == before


def test_metrics_tell_of_batches_and_leave_nothing_waiting():
    fake, engine = Fake(seconds=0.01), Engine(most=4)
    batches, seconds = metrics.BATCHES.value(), metrics.DEVICE_SECONDS.value("fake")
    engine.run(fake.network, tiles(16))
    assert metrics.BATCHES.value() - batches == 4
    assert 0.03 < metrics.DEVICE_SECONDS.value("fake") - seconds < 5
    assert metrics.QUEUE_DEPTH._value.get() == 0


def _in_a_child(fake, engine, results):
    networks_of_child = networks._runner
    results.put([float(v.sum()) for v in networks_of_child.run(fake.network, tiles(3))])


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_has_lanes_of_its_own(monkeypatch):
    from openeo_nc.inference import engine as module

    monkeypatch.setattr(module, "_installed", True)
    fake, engine = Fake(), Engine()
    before = networks.use(engine)
    try:
        engine.run(fake.network, tiles(1))
        context = multiprocessing.get_context("fork")
        results = context.SimpleQueue()
        child = context.Process(target=_in_a_child, args=(fake, engine, results))
        child.start()
        child.join(20)
        assert child.exitcode == 0
        assert results.get() == [0.0, 8.0, 16.0]
    finally:
        networks.use(before)
