"""Trains `s2-embed-small` without labels, and exports its weights and card.

    openeo-nc train --config s2-embed-small --data DIR --out runs/embedding

Two views of the same ground are embedded. From the first, in which bands and patches are hidden, a
linear map must tell the patch's statistics (masked autoencoding, He et al. 2022) and its kind of
ground, clusters that k-means finds in the training places (DeepCluster, Caron et al. 2018), so that
linear probes find what they look for; a small network tells its detail. Kinds are those of what is
seen, clouds and all, and of what lasts: where there are dates, of their median. The vectors of both
views are to be alike and those of a batch unlike and uncorrelated (VICReg, Bardes et al. 2022). Noise
on the vectors makes what matters survive 8 bits. Same data, seed, steps and machine: same weights. `curve` in the card has the share of the variance that is told of places that
were left out.
"""

from __future__ import annotations

import copy
import json
import math
import platform
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from sklearn.cluster import MiniBatchKMeans
from sklearn.decomposition import PCA
from torch import Tensor, nn
from tqdm import tqdm

from openeo_nc.codecs import weights
from openeo_nc.codecs.hyperprior_transform import bias_of
from openeo_nc.errors import OutputExistsError
from openeo_nc.models.base import ModelCard
from openeo_nc.models.registry import card_document
from openeo_nc.models.s2_embed_network import MARGIN, STRIDE, Encoder, logarithm, moments
from openeo_nc.sentinel2 import BANDS
from openeo_nc.training.embedding_data import Config, Ground, Views, load_ground, views
from openeo_nc.training.split import load_split

_KINDS = 128
"""Kinds of ground that patches are sorted into, at each of two scales."""
_DEEP = 0.3
"""Weight of the network's features in the shipped vectors; 1 is that of the bands'."""
_SHARPNESS = 0.25
"""How sharply a patch belongs to its nearest kinds: the factor of squared distances."""


class Decoder(nn.Module):
    """What a vector tells: statistics and kinds by a linear map, detail by a small network."""

    def __init__(self, bands: int, dim: int) -> None:
        super().__init__()
        self.statistics = nn.Conv2d(dim, 3 * bands, 1)
        self.kinds = nn.Conv2d(dim, 4 * _KINDS, 1)
        self.detail = nn.Sequential(
            nn.Conv2d(dim, 256, 1), nn.GELU(), nn.Conv2d(256, bands * (STRIDE // 2) ** 2, 1)
        )


class Kinds(nn.Module):
    """Kinds of ground: centres among the statistics of patches, and of 3 x 3 patches."""

    centres: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, found: npt.NDArray[np.float32], rng: int) -> None:
        """`found`: `(patches, 2, features)` of training places."""
        super().__init__()
        flat = found.reshape(-1, found.shape[-1])
        self.register_buffer("mean", torch.from_numpy(flat.mean(axis=0)))
        self.register_buffer("std", torch.from_numpy(flat.std(axis=0) + 1e-6))
        scaled = (found - flat.mean(axis=0)) / (flat.std(axis=0) + 1e-6)
        centres = [
            MiniBatchKMeans(_KINDS, n_init=3, random_state=rng).fit(scaled[:, i]).cluster_centers_
            for i in range(2)
        ]
        self.register_buffer("centres", torch.from_numpy(np.stack(centres).astype(np.float32)))

    def forward(self, statistics: Tensor) -> Tensor:
        """`(b, features, h, w)` to the share of each kind `(b, 2, kinds, h, w)`."""
        shares = []
        for scale, v in enumerate((statistics, around(statistics))):
            scaled = (v - self.mean[:, None, None]) / self.std[:, None, None]
            b, f, h, w = scaled.shape
            distance = torch.cdist(scaled.permute(0, 2, 3, 1).reshape(-1, f), self.centres[scale])
            share = torch.softmax(-_SHARPNESS * distance**2, dim=1)
            shares.append(share.reshape(b, h, w, _KINDS).permute(0, 3, 1, 2))
        return torch.stack(shares, dim=1)


def around(v: Tensor) -> Tensor:
    """Mean of 3 x 3 patches."""
    return F.avg_pool2d(F.pad(v, (1, 1, 1, 1), mode="replicate"), 3, 1)


def statistics(x: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """`(b, 3 * bands, h, w)` of patches: mean, mean of the logarithm, its deviation."""
    v = (x - mean[:, None, None]) / std[:, None, None]
    dark = logarithm(x)
    known = torch.ones_like(dark[:, :1])
    middle, spread = moments(dark, known)
    level = logarithm(mean)[:, None, None]
    return torch.cat([F.avg_pool2d(v, STRIDE), middle - level, 3 * spread], dim=1)


def loss_of(
    encoder: Encoder, decoder: Decoder, projector: nn.Module, kinds: Kinds, batch: Views,
    config: Config,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The loss, and of it the error of what is told."""
    with torch.autocast(batch.first.device.type, dtype=torch.bfloat16):
        z = encoder(torch.cat([batch.first, batch.second])).float()
        noisy = z + config.noise * z.detach().abs().amax(dim=1, keepdim=True) * torch.randn_like(z)
        one, two = noisy.chunk(2)
        detail = decoder.detail(one).float()
        a, b = (projector(v).float() for v in (one, two))
    wanted = statistics(batch.target, encoder.mean, encoder.std)
    telling = F.smooth_l1_loss(decoder.statistics(one), wanted, beta=0.2)
    lasting = statistics(batch.lasting, encoder.mean, encoder.std)
    shares = torch.cat([kinds(v[:, len(encoder.mean) :]) for v in (wanted, lasting)], dim=1)
    guessed = decoder.kinds(one).unflatten(1, (4, _KINDS)).log_softmax(dim=2)
    sorting = -(shares * guessed).sum(dim=2).mean()
    v = (batch.target - encoder.mean[:, None, None]) / encoder.std[:, None, None]
    fine = F.avg_pool2d(v, 2) - F.interpolate(F.avg_pool2d(v, STRIDE), scale_factor=STRIDE // 2)
    texture = F.smooth_l1_loss(detail, F.pixel_unshuffle(fine, STRIDE // 2), beta=0.2)
    a, b = (v.permute(0, 2, 3, 1).flatten(0, 2) for v in (a, b))
    alike = F.mse_loss(a, b)
    unlike = sum((_unlike(v) for v in (a, b)), torch.zeros(()))
    loss = telling + config.kinds * sorting + config.detail * texture
    return loss + config.invariance * alike + config.spread * unlike, telling


def _unlike(v: Tensor) -> Tensor:
    """How far `(vectors, features)` fall short of deviation 1 each and of no correlation."""
    centred = v - v.mean(dim=0)
    short = F.relu(1 - (centred.var(dim=0) + 1e-4).sqrt()).mean()
    covariance = centred.T @ centred / (len(v) - 1)
    off = covariance - torch.diag(torch.diagonal(covariance))
    return short + off.pow(2).sum() / v.shape[1]


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
    ground, left_out = (load_ground(data, split, side) for side in ("train", "evaluation"))
    bands = len(BANDS)
    encoder = Encoder(bands, config.dim, config.width)
    encoder.mean, encoder.std = _statistics(ground)
    decoder = Decoder(bands, config.dim)
    kinds = Kinds(_patches(ground, encoder, config.seed), config.seed).to(config.device)
    projector = nn.Sequential(
        nn.Conv2d(config.dim, 256, 1), nn.GELU(), nn.Conv2d(256, 2 * config.dim, 1)
    )
    parts = nn.ModuleList([encoder, decoder, projector]).to(config.device)
    average = copy.deepcopy(parts).requires_grad_(False)
    optimiser = torch.optim.AdamW(
        parts.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    started, curve, shown = time.monotonic(), list[dict[str, Any]](), math.nan
    with tqdm(total=config.steps, unit="step") as bar:
        for step, batch in enumerate(views(ground, config)):
            minutes = (time.monotonic() - started) / 60
            progress = max(step / config.steps, minutes / config.minutes)
            if (step % config.evaluate_every == 0 and step) or progress >= 1:
                shares = {
                    place: share(average[0], average[1], found, config.device)  # type: ignore[arg-type]
                    for place, found in left_out.items()
                }
                curve.append({"step": step, "minutes": round(minutes, 1), "told": shares})
                shipped = principal(average[0], ground)  # type: ignore[arg-type]
                state = {"average": shipped.state_dict(), "config": asdict(config)}
                run = {"curve": curve, "steps": step, "minutes": minutes}
                torch.save(state | run, out / "checkpoint.pt")
            if progress >= 1:
                break
            rate = config.learning_rate * min(1.0, (step + 1) / config.warm_up)
            rate *= 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress))
            for group in optimiser.param_groups:
                group["lr"] = rate
            on = Views(**{n: v.to(config.device) for n, v in vars(batch).items()})
            loss, telling = loss_of(encoder, decoder, projector, kinds, on, config)
            optimiser.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            if torch.isfinite(torch.nn.utils.clip_grad_norm_(parts.parameters(), 1.0)):
                optimiser.step()
            decay = min(config.ema, (1 + step) / (10 + step))
            with torch.no_grad():
                for a, p in zip(average.parameters(), parts.parameters(), strict=True):
                    a.lerp_(p, 1 - decay)
            found = float(telling.detach())
            shown = found if math.isnan(shown) else shown + 0.02 * (found - shown)
            bar.update()
            if step % 20 == 0:
                bar.set_postfix(told=f"{shown:.4f}", loss=f"{float(loss.detach()):.3f}")
    return out / "checkpoint.pt"


def _statistics(ground: dict[str, Ground]) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each band, every place counting alike."""
    means = [np.mean([x.mean(axis=(1, 2)) for x in g.images], axis=0) for g in ground.values()]
    squares = [
        np.mean([(x**2).mean(axis=(1, 2)) for x in g.images], axis=0) for g in ground.values()
    ]
    mean = np.mean(means, axis=0)
    std = np.sqrt(np.mean(squares, axis=0) - mean**2)
    return torch.from_numpy(np.float32(mean)), torch.from_numpy(np.float32(std))


@torch.no_grad()
def principal(encoder: Encoder, ground: dict[str, Ground], count: int = 4000) -> Encoder:
    """The encoder with another head: principal components of its features over the places.

    The trained head serves what training tells; these keep more of what probes look for, come in
    the order of what they keep, and so may be cut off. What the bands tell of a patch weighs more
    than what the network makes of it and around it (`_DEEP`): few labels then find the plain facts
    first.
    """
    shipped = copy.deepcopy(encoder).cpu()
    found, rng = list[npt.NDArray[np.float32]](), np.random.default_rng(0)
    for place in ground.values():
        of_place = []
        for image in place.images:
            height, width = (n // STRIDE * STRIDE for n in image.shape[1:])
            v = shipped.features(torch.from_numpy(image[None, :, :height, :width]))
            of_place.append(v[0].flatten(1).T.numpy())
        patches = np.concatenate(of_place)
        found.append(patches[rng.integers(len(patches), size=count)])
    features = np.concatenate(found)
    mean = features.mean(axis=0)
    deep, bands = shipped.join.out_channels, 3 * len(shipped.mean)
    shares = {deep: _DEEP, features.shape[1] - deep - bands: 0.0, bands: 1.0}
    weights_of = np.concatenate([np.full(n, share / n**0.5) for n, share in shares.items()])
    scale = np.float32(weights_of / (features.std(axis=0) + 1e-3))
    components = PCA(encoder.head.out_channels, random_state=0).fit((features - mean) * scale)
    weight = torch.from_numpy(np.float32(components.components_ * scale))
    shipped.head.weight.copy_(weight[:, :, None, None])
    bias_of(shipped.head).copy_(-weight @ torch.from_numpy(mean))
    return shipped


@torch.no_grad()
def _patches(
    ground: dict[str, Ground], encoder: Encoder, seed: int, count: int = 3000
) -> npt.NDArray[np.float32]:
    """`(patches, 2, features)` of random patches, every place counting alike; see `Kinds`."""
    rng = np.random.default_rng(seed)
    found = []
    for place in ground.values():
        of_place = []
        for image in place.images:
            height, width = (n // STRIDE * STRIDE for n in image.shape[1:])
            x = torch.from_numpy(image[None, :, :height, :width])
            v = statistics(x, encoder.mean, encoder.std)[:, len(encoder.mean) :]
            both = torch.stack([v[0], around(v)[0]]).flatten(2).permute(2, 0, 1)
            of_place.append(both.numpy())
        patches = np.concatenate(of_place)
        found.append(patches[rng.integers(len(patches), size=count)])
    return np.concatenate(found)


@torch.no_grad()
def share(encoder: Encoder, decoder: Decoder, ground: Ground, device: str) -> float:
    """Share of the variance of a place, within its images, that vectors tell of it."""
    left = whole = 0.0
    for image in ground.images:
        height, width = (n // STRIDE * STRIDE for n in image.shape[1:])
        x = torch.from_numpy(image[None, :, :height, :width]).to(device)
        wanted = statistics(x, encoder.mean, encoder.std)
        guess = decoder.statistics(encoder(x))
        left += float((guess - wanted).pow(2).sum())
        whole += float((wanted - wanted.mean(dim=(2, 3), keepdim=True)).pow(2).sum())
    return round(1 - left / whole, 4)


def export(checkpoint_path: Path, data: Path, split_path: Path, folder: Path, command: str) -> Path:
    """Write `weights/` and `cards/` of a run into a folder; as `training.export.export` does."""
    state = torch.load(checkpoint_path, weights_only=False)
    config, split = state["config"], json.loads(split_path.read_text())
    file = f"{config['codec_id']}-2.safetensors"
    arrays = {name: v.cpu().numpy().astype(np.float32) for name, v in state["average"].items()}
    for name in ("weights", "cards"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    digest = weights.save(arrays, folder / "weights" / file)
    evaluation = {
        "command": command,
        "config": config,
        "steps": state["steps"],
        "minutes": round(state["minutes"], 1),
        "machine": f"{platform.machine()}, {config['device']}, "
        f"{config['threads'] or torch.get_num_threads()} thread(s), "
        f"torch {torch.__version__}, bfloat16 autocast",
        "split": {
            side: [entry["place"] for entry in split[side]] for side in ("train", "evaluation")
        },
        "licences": split["licences"],
        "curve": state["curve"],
        "curve_is": "share of the variance within images that a small decoder tells from vectors",
    }
    card = ModelCard(
        model_id=config["codec_id"],
        title="Small encoder of Sentinel-2 L2A, trained without labels",
        description=(
            "A vector of 64 values for every patch of 8 x 8 pixels of 10 m, from the patch and "
            "480 m around it. Surface reflectance; any of the twelve bands may lack. Trained on few "
            "places: a default that works offline, not a foundation model."
        ),
        architecture="s2_embed",
        version="2.0.0",
        bands=BANDS,
        optional=BANDS,
        units="reflectance x 10000, baseline offset removed",
        scale=0.0001,
        mean=tuple(round(float(v), 2) for v in arrays["mean"]),
        std=tuple(round(float(v), 2) for v in arrays["std"]),
        resolution=10.0,
        dim=config["dim"],
        stride=STRIDE,
        chip=None,
        margin=MARGIN,
        weights=file,
        weights_sha256=digest,
        options={"width": config["width"], "principal": True},
        licence="Apache-2.0",
        attributions=tuple(split["attributions"]),
        evaluation=evaluation,
    )
    path = folder / "cards" / f"{card.model_id}.json"
    path.write_text(json.dumps(card_document(card), indent=1) + "\n")
    return path
