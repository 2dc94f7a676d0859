"""Turns a checkpoint into what ships: integer and float weights as safetensors, and the codec card.

The card's evaluation holds counted bytes and PSNR of every evaluation file, coded by the exported
weights themselves.
"""

from __future__ import annotations

import json
import platform
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from openeo_nc.codecs import weights
from openeo_nc.codecs.base import CodecCard
from openeo_nc.codecs.hyperprior import HyperpriorCodec
from openeo_nc.codecs.hyperprior_entropy import (
    Arrays,
    integer_arrays,
)
from openeo_nc.codecs.hyperprior_rate import LOG_SCALE_GAIN, SCALE_MIN
from openeo_nc.codecs.registry import card_document
from openeo_nc.training.evaluate import coded_places
from openeo_nc.training.tables import fitted, hyper_tables, latent_tables, table_arrays

BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
TABLE_ROUNDS = 2
QUALITIES = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0)


def shipped_arrays(checkpoint: dict[str, Any]) -> Arrays:
    """All arrays of the weights file by name."""
    state = {k: v.detach().cpu().numpy() for k, v in checkpoint["average"].items()}
    entropy = {k.removeprefix("entropy."): v for k, v in state.items() if k.startswith("entropy.")}
    arrays = {f"entropy.{k}": v for k, v in integer_arrays(entropy).items()}
    z_scale = SCALE_MIN + np.exp(LOG_SCALE_GAIN * entropy["z_log_scale"])
    arrays |= table_arrays("y_tables", latent_tables())
    arrays |= table_arrays("z_tables", hyper_tables(entropy["z_mean"], z_scale))
    arrays["entropy.slices"] = np.array(checkpoint["widths"]["slices"], np.int32)
    for name, size in checkpoint["widths"].items():
        arrays[f"widths.{name}"] = np.array(size, np.int32)
    for name, value in entropy.items():
        if name.startswith("h_a."):
            arrays[name] = value.astype(np.float32)
    for name, value in state.items():
        if name.startswith("transform."):
            arrays[name] = value if value.dtype.kind == "i" else value.astype(np.float32)
    for name in ("card_axes", "card_mean"):
        arrays[name] = checkpoint[name].astype(np.float32)
    return arrays


def export(checkpoint_path: Path, data: Path, split_path: Path, folder: Path, command: str) -> Path:
    """Write `weights/<codec>-<version>.safetensors` and `cards/<codec>.json` under a codecs folder.

    Parameters
    ----------
    checkpoint_path
        What `train` wrote.
    data
        Folder of the files of the split: training places fit the tables, the others evaluate.
    split_path
        The split file of the run.
    folder
        The codecs folder, or any other with `weights/` and `cards/`.
    command
        The training command, for the card.
    """
    checkpoint = torch.load(checkpoint_path, weights_only=False)
    split = json.loads(split_path.read_text())
    codec_id = checkpoint["config"]["codec_id"]
    for name in ("weights", "cards"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    file = f"{codec_id}-1.safetensors"
    card = CodecCard(
        codec_id=codec_id,
        title="Learned codec for the twelve bands of Sentinel-2 L2A",
        description=(
            "Spectral KLT of the tile, block DCT with residual convolutional analysis and synthesis, "
            "integer mean-scale hyperprior with channel slices; one model for all rates. Made for "
            "surface reflectance of all twelve bands at 10 m; other bands go to klt-dct."
        ),
        architecture="hyperprior",
        version="1.0.0",
        bands=BANDS,
        dtypes=("int16", "uint16", "float32"),
        units="reflectance x 10000, baseline offset removed",
        scale=0.0001,
        peak=10000.0,
        tile=384,
        stride=8,
        latent_channels=int(checkpoint["widths"]["latents"]),
        embedding=True,
        quality=(1.0, 8.0, 5.0),
        resolution=10.0,
        weights=None,
        weights_sha256=None,
        decode_tolerance=1.0,
        licence="Apache-2.0",
        attributions=tuple(split["attributions"]),
    )
    arrays = shipped_arrays(checkpoint)
    for _ in range(TABLE_ROUNDS):  # what is chosen depends on the tables, which depend on it
        arrays |= table_arrays("y_tables", fitted(HyperpriorCodec(card, arrays, None), data, split))
    digest = weights.save(arrays, folder / "weights" / file)
    card = replace(card, weights=file, weights_sha256=digest)
    codec = HyperpriorCodec(card, weights.load(card, [folder / "weights"]), None)
    card = replace(card, evaluation=_evaluation(codec, checkpoint, data, split_path, command))
    path = folder / "cards" / f"{codec_id}.json"
    path.write_text(json.dumps(card_document(card), indent=1) + "\n")
    return path


def _evaluation(
    codec: HyperpriorCodec, checkpoint: dict[str, Any], data: Path, split_path: Path, command: str
) -> dict[str, Any]:
    split = json.loads(split_path.read_text())
    return {
        "command": command,
        "config": checkpoint["config"],
        "steps": checkpoint["steps"],
        "minutes": round(checkpoint["minutes"], 1),
        "machine": f"{platform.machine()} CPU, {checkpoint['config']['threads'] or torch.get_num_threads()} thread(s), "
        f"torch {torch.__version__}, bfloat16 autocast",
        "split": {
            side: [entry["place"] for entry in split[side]] for side in ("train", "evaluation")
        },
        "licences": split["licences"],
        "curve": checkpoint["curve"],
        "curve_is": "estimated [bpppb, PSNR] at qualities 2, 4, 6 of every evaluation place",
        "bytes": coded_places(codec, data, split_path, QUALITIES),
    }
