"""Which places train and which evaluate: read from a split file, or made for a folder of tiles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from openeo_nc.errors import InvalidParameterError, NoDataAvailableError

SIDES = ("train", "evaluation")
LEFT_OUT = 8
"""Of a folder without a split file, every eighth place is left out of training."""


def load_split(data: Path, path: Path) -> dict[str, Any]:
    """The split of a file if the folder has its files, else one made for the folder.

    Parameters
    ----------
    data
        Folder that the split's paths are relative to.
    path
        JSON: `train` and `evaluation`, lists of `{"place": ..., "files": [...]}`; `attributions` and
        `licences` go into the card.

    Raises
    ------
    InvalidParameterError
        The folder has some of the split's files but not all, or a place stands on both sides.
    NoDataAvailableError
        The folder has neither the split's files nor two GeoTIFFs of its own.
    """
    split: dict[str, Any] = json.loads(path.read_text())
    places = [{entry["place"] for entry in split[side]} for side in SIDES]
    if both := places[0] & places[1]:
        raise InvalidParameterError(f"{path}: places on both sides: {', '.join(sorted(both))}")
    files = [name for side in SIDES for entry in split[side] for name in entry["files"]]
    missing = [name for name in files if not (data / name).is_file()]
    if not missing:
        return split
    if len(missing) < len(files):
        raise InvalidParameterError(
            f"{data} lacks {len(missing)} of the {len(files)} files of {path.name}, e.g. {missing[0]}"
        )
    return split_folder(data)


def split_folder(data: Path) -> dict[str, Any]:
    """A split of a folder's GeoTIFFs: a subfolder is a place, and so is a file outside of one.

    Put all images of a place into one subfolder: places, not files, are left out of training.
    """
    places: dict[str, list[str]] = {}
    for path in sorted(data.rglob("*.tif")):
        name = path.relative_to(data)
        place = name.parts[0] if len(name.parts) > 1 else name.stem
        places.setdefault(place, []).append(name.as_posix())
    if len(places) < 2:
        raise NoDataAvailableError(
            f"{data} has {len(places)} places; training needs GeoTIFFs of two or more: "
            "a subfolder is a place, and so is a file outside of one"
        )
    entries = [{"place": place, "files": files} for place, files in sorted(places.items())]
    left_out = [e for i, e in enumerate(entries) if i % LEFT_OUT == LEFT_OUT - 1] or entries[-1:]
    return {
        "description": f"made for a folder of tiles; every {LEFT_OUT}th place left out",
        "licences": {},
        "attributions": [],
        "train": [e for e in entries if e not in left_out],
        "evaluation": left_out,
    }
