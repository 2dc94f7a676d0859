"""Writes embeddings as NeuCo-Bench takes them: CSV, a row a sample, `id,0,1,...`.

The format is that of embed2scale.github.io/NeuCo-Bench/embedding_generation: one vector of fixed
length a sample, whose id is the name of its file without endings. A cube of many patches or dates
is one sample, of which the mean is taken.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xarray as xr

from openeo_nc.cubes.dims import EMBEDDING, require
from openeo_nc.errors import InvalidParameterError, NoDataAvailableError, OutputExistsError


def sample_id(source: str) -> str:
    """The id of a file or store: its name without any endings, as NeuCo-Bench cleans them."""
    return Path(source.rstrip("/")).name.split(".")[0]


def pooled(cube: xr.DataArray) -> npt.NDArray[np.float32]:
    """The mean vector `(dim,)` over all that is known of a cube.

    Raises
    ------
    DimensionMissingError
        It is no embedding cube.
    NoDataAvailableError
        All of it is no data.
    """
    require(cube, EMBEDDING)
    others = [dim for dim in cube.dims if dim != EMBEDDING]
    mean = cube.astype(np.float64).mean(others, skipna=True).values
    if not np.isfinite(mean).all():
        raise NoDataAvailableError("The embedding has no vector without missing values.")
    return np.asarray(mean, np.float32)


def write_neuco(
    vectors: Mapping[str, npt.NDArray[np.float32]] | Iterable[tuple[str, npt.NDArray[np.float32]]],
    path: str | os.PathLike[str],
) -> int:
    """Write ids with their vectors; gives the number of rows.

    Raises
    ------
    OutputExistsError
        The file exists.
    InvalidParameterError
        Vectors differ in length, hold NaN, an id comes twice, or there is none.
    """
    pairs = list(vectors.items() if isinstance(vectors, Mapping) else vectors)
    if not pairs:
        raise InvalidParameterError("There are no vectors to write.")
    dim = len(pairs[0][1])
    for name, v in pairs:
        if v.shape != (dim,) or not np.isfinite(v).all():
            raise InvalidParameterError(
                f"The vector of '{name}' is {v.shape}, or not finite; expected ({dim},)."
            )
    if len({name for name, _ in pairs}) < len(pairs):
        raise InvalidParameterError("Two samples have the same id: ids are names without endings.")
    try:
        with open(path, "x", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["id", *range(dim)])
            # NumPy's shortest text of a float32 reads back as the same float32
            writer.writerows([name, *(str(value) for value in v)] for name, v in pairs)
    except FileExistsError as error:
        raise OutputExistsError(f"{path} exists; nothing in it was touched.") from error
    return len(pairs)
