"""Trains the restoration network behind `klt-dct`, and exports its weights and card.

    openeo-nc train --config s2l2a-restoration --data DIR --out runs/restoration

Crops of the training places are coded by `klt-dct` at random qualities, once; the network learns
what the coding took away, from parts of them. The loss is the mean logarithm of the squared error, so
that a decibel counts alike at every rate and on every place. Same data, seed, steps and machine: same
weights. `curve` in the card has PSNR gains on the left-out places while training went on.
"""

from __future__ import annotations

import copy
import json
import math
import platform
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from openeo_nc.benchmarks.tiles import Tile, from_split
from openeo_nc.codecs import weights
from openeo_nc.codecs.base import quality_step
from openeo_nc.codecs.cells import REPEATS
from openeo_nc.codecs.klt_dct import KltDctCodec
from openeo_nc.codecs.registry import card_document, get_card
from openeo_nc.codecs.restoration import RestorationCodec, in_steps
from openeo_nc.codecs.restoration_network import PREFIX, Restoration
from openeo_nc.errors import OutputExistsError
from openeo_nc.sentinel2 import BANDS
from openeo_nc.training.data import load_places
from openeo_nc.training.evaluate import coded_places
from openeo_nc.training.restoration_data import Config, batches, coded_crops, universal
from openeo_nc.training.split import load_split

QUALITIES = (2.0, 4.0, 6.0, 8.0)
FLOOR = 1e-4
"""Squared error, in steps, below which no more is asked for."""


def settled(correction: Tensor, repeats: Tensor) -> Tensor:
    """The correction with bands of repeated pixels averaged over their cells, as the codec does."""
    out = correction
    for side in REPEATS[1:]:
        which = repeats == side
        if which.any():
            cells = F.interpolate(F.avg_pool2d(correction, side), scale_factor=side)
            out = torch.where(which[:, :, None, None], cells, out)
    return out


def loss_of(network: Restoration, batch: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
    """Mean over samples of log(error with restoration / error without)."""
    values, errors, quality, repeats = batch
    with torch.autocast(values.device.type, dtype=torch.bfloat16):
        correction = network(values, quality)
    left = errors - settled(correction.float(), repeats)
    after, before = (((e**2).mean(dim=(1, 2, 3)) + FLOOR).log() for e in (left, errors))
    return (after - before).mean()


def train(
    config_path: Path, data: Path, out: Path, split_path: Path | None = None, **changes: Any
) -> Path:
    """Train and write `out/checkpoint.pt` (moving average, curve); as `training.train.train` does."""
    config = Config(**(json.loads(config_path.read_text()) | changes))
    split = load_split(data, split_path or config_path.parent / config.split)
    if out.exists():
        raise OutputExistsError(f"{out} exists; name a new folder for the run")
    out.mkdir(parents=True)
    (out / "split.json").write_text(json.dumps(split, indent=1))
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    codec = universal()
    pairs = coded_crops(load_places(data, split, "train"), config, codec)
    left_out = from_split(data, out / "split.json")
    network = Restoration(pairs.pixels.shape[1], config.width, config.blocks).to(config.device)
    average = copy.deepcopy(network).requires_grad_(False)
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    started, curve, gain = time.monotonic(), list[dict[str, Any]](), 0.0
    with tqdm(total=config.steps, unit="step") as bar:
        for step, batch in enumerate(batches(pairs, config)):
            minutes = (time.monotonic() - started) / 60
            progress = max(step / config.steps, minutes / config.minutes)
            if (step % config.evaluate_every == 0 and step) or progress >= 1:
                gains = evaluate(average, left_out, codec, config.device)
                curve.append({"step": step, "minutes": round(minutes, 1), "gain": gains})
                state = {"average": average.state_dict(), "curve": curve, "config": asdict(config)}
                torch.save(state | {"steps": step, "minutes": minutes}, out / "checkpoint.pt")
            if progress >= 1:
                break
            rate = config.learning_rate * min(1.0, (step + 1) / config.warm_up)
            rate *= 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress))
            for group in optimiser.param_groups:
                group["lr"] = rate
            loss = loss_of(network, tuple(t.to(config.device) for t in batch))  # type: ignore[arg-type]
            optimiser.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            if torch.isfinite(torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)):
                optimiser.step()
            decay = min(config.ema, (1 + step) / (10 + step))
            with torch.no_grad():
                for a, p in zip(average.parameters(), network.parameters(), strict=True):
                    a.lerp_(p, 1 - decay)
            gain += 0.01 * (-10 / math.log(10) * float(loss.detach()) - gain)
            bar.update()
            if step % 50 == 0:
                bar.set_postfix(gain=f"{gain:.3f} dB")
    return out / "checkpoint.pt"


@torch.no_grad()
def evaluate(
    network: Restoration, tiles: list[Tile], codec: KltDctCodec, device: str
) -> dict[str, dict[str, float]]:
    """Mean gain in dB a left-out place and quality, before rounding."""
    gains: dict[str, dict[str, list[float]]] = {}
    for tile in tiles:
        for quality in QUALITIES:
            latents = codec.analyse(tile.pixels, quality=quality, nodata=tile.nodata)
            values = codec.reconstruct(latents)
            error = (tile.pixels - values) / quality_step(quality)
            whole = [n // 4 * 4 for n in values.shape[1:]]
            v = torch.from_numpy(in_steps(values, quality))[None, :, : whole[0], : whole[1]]
            correction = network(v.to(device), torch.tensor([quality], device=device)).cpu()
            repeats = torch.from_numpy(codec.side(latents).repeats)[None]
            side = 12 * (min(whole) // 12)
            cut = settled(correction[..., :side, :side], repeats)[0].numpy()
            e = error[:, :side, :side]
            gain = 10 * math.log10(float((e**2).mean() / ((e - cut) ** 2).mean()))
            gains.setdefault(tile.place, {}).setdefault(f"{quality:g}", []).append(gain)
    return {
        place: {q: round(float(np.mean(found)), 3) for q, found in rows.items()}
        for place, rows in gains.items()
    }


def export(checkpoint_path: Path, data: Path, split_path: Path, folder: Path, command: str) -> Path:
    """Write `weights/` and `cards/` of a run into a folder; as `training.export.export` does."""
    state = torch.load(checkpoint_path, weights_only=False)
    config, split = state["config"], json.loads(split_path.read_text())
    base, file = get_card("klt-dct"), f"{config['codec_id']}-1.safetensors"
    arrays = weights.load(base) | {
        "restoration_sizes": np.array([len(BANDS), config["width"], config["blocks"]], np.int32),
        "restoration_top": np.array(config["quality"][1], np.float32),
    }
    for name, value in state["average"].items():
        arrays[PREFIX + name] = value.cpu().numpy().astype(np.float32)
    for name in ("weights", "cards"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    digest = weights.save(arrays, folder / "weights" / file)
    card = replace(
        base,
        codec_id=config["codec_id"],
        title="klt-dct with learned restoration, for the twelve bands of Sentinel-2 L2A",
        description=(
            "The integers of klt-dct and a residual convolutional network behind the decoder, which "
            "predicts what quantisation took away. Surface reflectance of all twelve bands at 10 m; "
            f"above quality {config['quality'][1]:g} the network rests. No embeddings."
        ),
        architecture="restoration",
        version="1.0.0",
        bands=BANDS,
        dtypes=("int16", "uint16", "float32"),
        units="reflectance x 10000, baseline offset removed",
        scale=0.0001,
        peak=10000.0,
        resolution=10.0,
        rank=1,
        weights=file,
        weights_sha256=digest,
        attributions=tuple(split["attributions"]),
        evaluation={},
    )
    codec = RestorationCodec(card, weights.load(card, [folder / "weights"]), None)
    places = coded_places(codec, data, split_path, range(1, 9))
    evaluation = {
        "command": command,
        "config": config,
        "steps": state["steps"],
        "minutes": round(state["minutes"], 1),
        "machine": f"{platform.machine()}, {config['device']}, {config['threads'] or torch.get_num_threads()} thread(s), "
        f"torch {torch.__version__}, bfloat16 autocast",
        "split": {
            side: [entry["place"] for entry in split[side]] for side in ("train", "evaluation")
        },
        "licences": split["licences"],
        "curve": state["curve"],
        "curve_is": "dB over klt-dct at qualities 2, 4, 6, 8 of every evaluation place, all shares 1",
        "bytes": places,
    }
    path = folder / "cards" / f"{card.codec_id}.json"
    document = card_document(replace(card, evaluation=evaluation))
    path.write_text(json.dumps(document, indent=1) + "\n")
    return path
