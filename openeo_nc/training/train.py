"""`openeo-nc train`: train the hyperprior codec from a config, a split file and a data folder."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm

from openeo_nc.codecs.hyperprior_rate import EntropyModel
from openeo_nc.codecs.hyperprior_transform import Transform, Widths, step
from openeo_nc.codecs.spectral import (
    BLOCK,
    UNIT,
    ZONES,
    SpectralBasis,
    block_dct,
    principal_axes,
    zone_covariances,
)
from openeo_nc.errors import OutputExistsError
from openeo_nc.training.data import Source, load_places, samples
from openeo_nc.training.split import load_split

CONFIG = Path(__file__).parent / "configs" / "s2l2a-hyperprior.json"
"""Configuration of the shipped codec."""
SIDE_BYTES = 200
"""Of the spectral basis, about; counted by `evaluate`."""
LAMBDA_STEP = 0.13
"""1 / lambda = LAMBDA_STEP * step^2, bits against squared error in card units: the trade-off at
which uniform quantisation with that step is optimal (H.264 uses the same constant)."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything that decides a run, but the data."""

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
    widths: dict[str, Any]


def read_config(path: Path) -> TrainConfig:
    return TrainConfig(**json.loads(path.read_text()))


class Model(torch.nn.Module):
    """Transform and entropy model, trained together."""

    def __init__(self, widths: Widths, selected: Tensor) -> None:
        super().__init__()
        self.transform = Transform(widths, selected)
        self.entropy = EntropyModel(widths)

    def forward(
        self, u: Tensor, quality: Tensor, *, noisy: bool
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Reconstruction, bits of y a sample, bits of z a sample, and rounded y."""
        y = self.transform.analyse(u, quality)
        y_hat = y + (y.detach().round() - y.detach())
        context = y_hat.detach()
        z = self.entropy.hyper_latent(context)
        z_hat = z + (z.detach().round() - z.detach())
        mean, index = self.entropy(context, z_hat, quality)
        if noisy:
            y_rated = y + torch.rand_like(y) - 0.5
            z_rated = z + torch.rand_like(z) - 0.5
        else:
            y_rated, z_rated = y_hat, z_hat
        bits_y = self.entropy.y_bits(y_rated, mean, index).sum(dim=(1, 2, 3))
        bits_z = self.entropy.z_bits(z_rated).sum(dim=(1, 2, 3))
        return self.transform.synthesise(y_hat, quality), bits_y, bits_z, y_hat


def card_basis(places: dict[str, list[Source]], weights: dict[str, float]) -> SpectralBasis:
    """The card's spectral basis, from statistics averaged over places."""
    moments, mean, share = np.zeros((ZONES, 12, 12)), np.zeros(12), 0.0
    for name, sources in places.items():
        w = weights.get(name, 1.0)
        for source in sources:
            x = source.pixels.astype(np.float64)
            mean += w / len(sources) * x.mean(axis=(1, 2))
            x = x[:, : x.shape[1] // BLOCK * BLOCK, : x.shape[2] // BLOCK * BLOCK]
            centred = x - x.mean(axis=(1, 2), keepdims=True)
            moments += w / len(sources) * zone_covariances(block_dct(centred))
        share += w
    return SpectralBasis.of_axes(mean / share, [principal_axes(m) for m in moments / share])


def components(
    x: npt.NDArray[np.float32], card: SpectralBasis, own: bool
) -> npt.NDArray[np.float32]:
    """A crop in spectral components, `(768, y / 8, x / 8)` float32."""
    mean = np.rint(x.mean(axis=(1, 2), dtype=np.float64)) if own else card.mean
    c = block_dct(x - mean[:, None, None])
    basis = SpectralBasis.of_tile(mean, c, reference=card) if own else card
    return basis.forward(c).astype(np.float32).reshape(-1, *c.shape[2:])


def strongest(cs: list[npt.NDArray[np.float32]], count: int) -> npt.NDArray[np.int64]:
    """Indexes of the coefficients that are worth most bits at the highest quality, strongest first."""
    worth = np.mean([np.log1p((c / 75.0) ** 2).mean(axis=(1, 2)) for c in cs], axis=0)
    return np.argsort(-worth, kind="stable")[:count]


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


def loss_of(model: Model, u: Tensor, quality: Tensor) -> tuple[Tensor, dict[str, float]]:
    """Mean over samples of (bits + lambda * squared error) a pixel, weighted to even out the rates."""
    u_hat, bits_y, bits_z, _ = model(u, quality, noisy=True)
    pixels = u.shape[-2] * u.shape[-1] * BLOCK**2
    error = ((u_hat - u) ** 2).sum(dim=(1, 2, 3)) / pixels
    rate = (bits_y + bits_z) / pixels
    weight = (12 * 0.05 * 1.55 ** (quality - 1)) ** -0.8
    loss = ((rate + error / (LAMBDA_STEP * step(quality) ** 2)) * weight).mean()
    return loss, {
        "rate": float(rate.detach().mean() / 12),
        "z": float(bits_z.detach().mean() / pixels / 12),
        "psnr": float((10 * torch.log10(1e8 / (error.detach() / 12))).mean()),
    }


@torch.no_grad()
def follow(average: Model, model: Model, decay: float) -> None:
    """One step of the moving average of the parameters."""
    for a, p in zip(average.parameters(), model.parameters(), strict=True):
        a.lerp_(p, 1 - decay)


@torch.no_grad()
def evaluate(
    model: Model,
    places: dict[str, list[npt.NDArray[np.float32]]],
    card: SpectralBasis,
    qualities: tuple[float, ...] = (2.0, 4.0, 6.0),
) -> dict[str, list[list[float]]]:
    """Estimated [bpppb, PSNR] a quality for every place; basis bytes counted, headers not."""
    model.eval()
    out: dict[str, list[list[float]]] = {}
    for name, tiles in places.items():
        rows = []
        for q in qualities:
            scores = []
            for x in tiles:
                u = torch.from_numpy(components(x, card, True))[None]
                u_hat, bits_y, bits_z, _ = model(u, torch.tensor([q]), noisy=False)
                mse = float(((u_hat - u) ** 2).mean())
                bits = float(bits_y + bits_z) + 8 * SIDE_BYTES
                scores.append([bits / x.size, 10 * math.log10(1e8 / mse)])
            rows.append([float(v) for v in np.mean(scores, axis=0)])
        out[name] = rows
    model.train()
    return out


def evaluation_tiles(data: Path, split: dict[str, Any]) -> dict[str, list[npt.NDArray[np.float32]]]:
    """The evaluation files as they are, cut to whole multiples of 32 pixels."""
    import rasterio

    tiles: dict[str, list[npt.NDArray[np.float32]]] = {}
    for entry in split["evaluation"]:
        for name in entry["files"]:
            with rasterio.open(data / name) as file:
                x = file.read().astype(np.float32)
            h, w = (n // 32 * 32 for n in x.shape[1:])
            tiles.setdefault(entry["place"], []).append(x[:, :h, :w])
    return tiles


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
    widths = Widths.of(config.widths)
    selected = strongest([components(next(stream), card, True) for _ in range(200)], widths.latents)
    model = Model(widths, torch.from_numpy(selected))
    with torch.no_grad():
        start = torch.from_numpy(
            np.stack([components(next(stream), card, True) for _ in range(64)])
        )
        y = model.transform.analyse(start, torch.full((64,), 4.5))
        model.entropy.start_from((y - y.mean()).abs().mean(dim=(0, 2, 3)) * 1.4)
    average = copy.deepcopy(model).requires_grad_(False)
    optimiser = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
    started, log = time.monotonic(), (out / "log.jsonl").open("a")
    curve: list[dict[str, Any]] = []

    def save(done: int) -> None:
        state = {
            "config": asdict(config),
            "widths": asdict(widths),
            "steps": done,
            "minutes": (time.monotonic() - started) / 60,
            "card_axes": np.stack(card.stored) / UNIT,
            "card_mean": card.mean,
            "model": model.state_dict(),
            "average": average.state_dict(),
            "curve": curve,
        }
        torch.save(state, out / "checkpoint.tmp")
        (out / "checkpoint.tmp").replace(out / "checkpoint.pt")

    bar = tqdm(total=config.steps, unit="step")
    for i, u in enumerate(batches(stream, card, config, rng)):
        elapsed = (time.monotonic() - started) / 60
        progress = max(i / config.steps, elapsed / config.minutes)
        if progress >= 1:
            break
        rate = config.learning_rate * min(1.0, (i + 1) / config.warm_up)
        rate *= 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress))
        for group in optimiser.param_groups:
            group["lr"] = rate
        quality = torch.from_numpy(rng.uniform(1, 8, size=len(u)).astype("f4"))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss, shown = loss_of(model, u, quality)
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        if torch.isfinite(norm):
            optimiser.step()
        follow(average, model, min(config.ema, (1 + i) / (10 + i)))
        bar.update()
        if i % 50 == 0:
            row = {
                "step": i,
                "minutes": round(elapsed, 2),
                "loss": float(loss.detach()),
                "norm": float(norm),
            }
            log.write(json.dumps(row | shown) + "\n")
            log.flush()
            bar.set_postfix(
                loss=f"{float(loss.detach()):.3f}", **{k: f"{v:.3f}" for k, v in shown.items()}
            )
        if i % config.evaluate_every == 0 and i:
            scores = evaluate(average, evaluation, card)
            curve.append({"step": i, "minutes": elapsed, "scores": scores})
            log.write(json.dumps(curve[-1]) + "\n")
            log.flush()
            save(i)
    scores = evaluate(average, evaluation, card)
    curve.append({"step": i, "minutes": elapsed, "scores": scores})
    log.write(json.dumps(curve[-1]) + "\n")
    log.close()
    save(i)
    bar.close()
    return out / "checkpoint.pt"
