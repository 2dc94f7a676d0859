"""`openeo-nc train`: trains what a configuration describes, and exports what ships of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from openeo_nc.errors import InvalidParameterError
from openeo_nc.training import embedding, export, restoration, train

CONFIGS = Path(__file__).parent / "configs"
"""The shipped configurations, a file each, named as the codec or model that it makes."""
_STEPS = {
    "hyperprior": (train.train, export.export),
    "restoration": (restoration.train, restoration.export),
    "s2_embed": (embedding.train, embedding.export),
}
"""How each architecture is trained and exported."""


def train_codec(
    config: str, data: Path, out: Path, split: Path | None = None, **changes: Any
) -> Path:
    """Train, and write `weights/` and `cards/` into `out`; returns the card's path.

    Parameters
    ----------
    config
        Name of a shipped configuration, or a JSON file.
    data
        Folder that the split's paths are relative to.
    out
        Folder to make.
    split
        Split file, default the configuration's; see `load_split` for folders without one.
    changes
        Fields of the configuration to change, e.g. `minutes=10`.

    Raises
    ------
    OutputExistsError, InvalidParameterError, NoDataAvailableError
    """
    shipped = CONFIGS / f"{config}.json"
    path = shipped if shipped.is_file() else Path(config)
    try:
        architecture = json.loads(path.read_text(encoding="utf-8"))["architecture"]
        run, ship = _STEPS[architecture]
    except (OSError, ValueError, KeyError, TypeError) as error:
        names = ", ".join(sorted(p.stem for p in CONFIGS.glob("*.json")))
        raise InvalidParameterError(
            f"'{config}' is neither one of {names} nor a JSON file whose 'architecture' is one of "
            f"{', '.join(_STEPS)}."
        ) from error
    checkpoint = run(path, data, out, split, **changes)
    options = "".join(f" --{name} {value}" for name, value in changes.items())
    command = f"openeo-nc train --config {path.stem} --data DIR{options}"
    return ship(checkpoint, data, out / "split.json", out, command)
