"""Trains the hyperprior codec from a config, a split file and a data folder."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm

from openeo_nc.codecs.hyperprior_transform import Widths
from openeo_nc.codecs.spectral import UNIT, SpectralBasis
from openeo_nc.errors import OutputExistsError
from openeo_nc.training.data import load_places, samples
from openeo_nc.training.evaluate import evaluate, evaluation_tiles
from openeo_nc.training.model import Model, follow, loss_of
from openeo_nc.training.spectra import card_basis, components, strongest
from openeo_nc.training.split import load_split

LOG_EVERY = 50
Samples = Iterator[npt.NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything that decides a run, but the data."""

    architecture: str
    codec_id: str
    split: str
    """Path of the split file, relative to the config."""
    seed: int = 20
    steps: int = 20000
    minutes: float = 1e9
    """Stop after this time even if steps are left; the learning rate follows whichever is nearer."""
    batch: int = 8
    crop: int = 128
    learning_rate: float = 4e-4
    warm_up: int = 300
    ema: float = 0.999
    clip: float = 1.0
    card_basis_share: float = 0.2
    """Share of samples coded in the card's spectral basis instead of their own."""
    place_weights: dict[str, float]
    evaluate_every: int = 1500
    threads: int | None = None
    """CPU threads; None leaves it to torch."""
    device: str = "cpu"
    """torch device, e.g. `cuda`."""
    widths: dict[str, Any]


def read_config(path: Path) -> TrainConfig:
    return TrainConfig(**json.loads(path.read_text()))


def train(
    config_path: Path, data: Path, out: Path, split_path: Path | None = None, **changes: Any
) -> Path:
    """Train and write `out/checkpoint.pt` (weights, moving averages, curve); returns its path.

    Parameters
    ----------
    config_path
        JSON of TrainConfig; the split file is named relative to it.
    data
        Folder that the split's paths are relative to.
    out
        Folder to make, for `split.json`, `log.jsonl` and `checkpoint.pt`.
    split_path
        Split file, default the config's; see `load_split` for folders without one.
    changes
        Fields of the config to change, e.g. `minutes=10`.

    Raises
    ------
    OutputExistsError, InvalidParameterError, NoDataAvailableError
    """
    config = replace(read_config(config_path), **changes)
    split = load_split(data, split_path or config_path.parent / config.split)
    if out.exists():
        raise OutputExistsError(f"{out} exists; name a new folder for the run")
    out.mkdir(parents=True)
    (out / "split.json").write_text(json.dumps(split, indent=1))
    torch.manual_seed(config.seed)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    rng = np.random.default_rng(config.seed)

    places = load_places(data, split, "train")
    evaluation = evaluation_tiles(data, split)
    card = card_basis(places, config.place_weights)
    stream = samples(places, config.place_weights, config.crop, rng)
    model = start_model(Widths.of(config.widths), stream, card).to(config.device)
    run = Run(config=config, out=out, card=card, model=model)
    with tqdm(total=config.steps, unit="step") as bar:
        for c in batches(stream, card, config, rng):
            progress = run.progress
            if progress >= 1:
                break
            quality = torch.from_numpy(rng.uniform(1, 8, size=len(c)).astype("f4"))
            shown = run.step(c.to(config.device), quality.to(config.device), progress)
            bar.update()
            if run.steps % LOG_EVERY == 1:
                bar.set_postfix(run.log(shown))
            if run.steps % config.evaluate_every == 0:
                run.record(evaluate(run.average, evaluation, card))
    run.record(evaluate(run.average, evaluation, card))
    return run.checkpoint


def start_model(widths: Widths, stream: Samples, card: SpectralBasis) -> Model:
    """A model at the rate of the linear codec: coefficients chosen, scales set, from samples."""
    chosen = strongest([components(next(stream), card, True) for _ in range(200)], widths.latents)
    model = Model(widths, torch.from_numpy(chosen))
    start = torch.from_numpy(np.stack([components(next(stream), card, True) for _ in range(64)]))
    with torch.no_grad():
        y = model.transform.analyse(start, torch.full((64,), 4.5))
        model.entropy.start_from((y - y.mean()).abs().mean(dim=(0, 2, 3)) * 1.4)
    return model


def batches(
    stream: Iterator[npt.NDArray[np.float32]],
    card: SpectralBasis,
    config: TrainConfig,
    rng: np.random.Generator,
) -> Iterator[Tensor]:
    while True:
        us = [
            components(next(stream), card, rng.random() >= config.card_basis_share)
            for _ in range(config.batch)
        ]
        yield torch.from_numpy(np.stack(us))


@dataclass(kw_only=True, eq=False)
class Run:
    """A training run: the model, its moving average, and what has been logged."""

    config: TrainConfig
    out: Path
    card: SpectralBasis
    model: Model
    steps: int = 0
    curve: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.average = copy.deepcopy(self.model).requires_grad_(False)
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=self.config.learning_rate)
        self._started = time.monotonic()

    @property
    def minutes(self) -> float:
        return (time.monotonic() - self._started) / 60

    @property
    def progress(self) -> float:
        """0 to 1, by steps or by time, whichever is nearer to its end."""
        return max(self.steps / self.config.steps, self.minutes / self.config.minutes)

    @property
    def checkpoint(self) -> Path:
        return self.out / "checkpoint.pt"

    def step(self, c: Tensor, quality: Tensor, progress: float) -> dict[str, float]:
        """One step on components `(b, 768, y, x)`; loss and what it is made of."""
        rate = self.config.learning_rate * min(1.0, (self.steps + 1) / self.config.warm_up)
        rate *= 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress))
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        with torch.autocast(c.device.type, dtype=torch.bfloat16):
            loss, shown = loss_of(self.model, c, quality)
        self.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        if torch.isfinite(norm):
            self.optimiser.step()
        decay = min(self.config.ema, (1 + self.steps) / (10 + self.steps))
        follow(self.average, self.model, decay)
        self.steps += 1
        return {"loss": float(loss.detach()), "norm": float(norm)} | shown

    def log(self, values: dict[str, Any]) -> dict[str, str]:
        """Append values to the log; a short form of them to show."""
        row = {"step": self.steps, "minutes": round(self.minutes, 2)} | values
        with (self.out / "log.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
        return {k: f"{v:.3f}" for k, v in values.items()}

    def record(self, scores: dict[str, list[list[float]]]) -> None:
        """Append scores to the curve, and save all."""
        self.curve.append({"step": self.steps, "minutes": self.minutes, "scores": scores})
        with (self.out / "log.jsonl").open("a") as file:
            file.write(json.dumps(self.curve[-1]) + "\n")
        state = {
            "config": asdict(self.config),
            "widths": asdict(self.model.entropy.widths),
            "steps": self.steps,
            "minutes": self.minutes,
            "card_axes": np.stack(self.card.stored) / UNIT,
            "card_mean": self.card.mean,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "curve": self.curve,
        }
        unfinished = self.checkpoint.with_suffix(".tmp")
        torch.save(state, unfinished)
        unfinished.replace(self.checkpoint)
