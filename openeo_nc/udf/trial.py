"""Learns what a script gives by running it on a few made-up pixels."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from openeo_nc.errors import UDFFailedError, UDFSandboxError, UDFTimeError
from openeo_nc.udf import calls, labels
from openeo_nc.udf.script import Script

PIXELS = 8
"""Labels of dimensions along which blocks are cut, in the first trial; the second has a block's."""
_BANDS = ("bands", "band", "embedding")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a script gives for a block."""

    dims: tuple[str, ...]
    """Dimensions in their order."""
    shape: tuple[int, ...]
    """Their lengths; those of kept dimensions are the trial's."""
    kept: tuple[str, ...]
    """Dimensions that are as long as they were."""
    labels: dict[str, str] = field(hash=False)
    """Labels, as JSON, of dimensions where they are not the cube's."""
    dtype: str
    """Of the values."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """A trial; two that are equal have one outcome."""

    script: Script
    """What to run."""
    dims: tuple[str, ...]
    """Dimensions."""
    shape: tuple[int, ...]
    """Labels of each."""
    dtype: str
    """Of the values."""
    labels: str
    """Labels as JSON."""
    cut: tuple[str, ...]
    """Dimensions that must stay."""
    may_change: tuple[str, ...] | None
    """Dimensions that may change, of those that are not cut; None is all, and there may be more."""
    epsg: int | None
    """Code of the CRS."""


def outcome(
    cube: xr.DataArray,
    script: Script,
    *,
    cut: tuple[str, ...],
    may_change: Collection[str] | None,
    epsg: int | None,
) -> Outcome:
    """What a script gives for blocks of a cube; parameters and errors as of `apply.applied`.

    It is run on a few pixels, numbers between 0 and 1. If that fails, perhaps since it needs the
    size of a block, it is run on a made-up block.
    """
    chunks = {str(n): max(cube.chunksizes[n], default=1) for n in cube.dims}
    few = {n: min(size, PIXELS) if n in cut else size for n, size in chunks.items()}
    changing = None if may_change is None else tuple(sorted(may_change))
    try:
        return _outcome(_question(cube, script, few, cut, changing, epsg))
    except (UDFSandboxError, UDFTimeError):
        raise
    except UDFFailedError:
        if few == chunks:
            raise
        return _outcome(_question(cube, script, chunks, cut, changing, epsg))


def _question(
    cube: xr.DataArray,
    script: Script,
    sizes: dict[str, int],
    cut: tuple[str, ...],
    may_change: tuple[str, ...] | None,
    epsg: int | None,
) -> Question:
    known = {
        name: labels.to_json(_near_zero(cube[name].values[:size]) if name in cut
                             else cube[name].values[:size])
        for name, size in sizes.items()
        if name in cube.coords
    }  # fmt: skip
    return Question(
        script=script,
        dims=tuple(sizes),
        shape=tuple(sizes.values()),
        dtype=np.dtype(cube.dtype).str,
        labels=json.dumps(known),
        cut=cut,
        may_change=may_change,
        epsg=epsg,
    )


def _near_zero(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Positions from the first one on, so that one trial stands for windows anywhere."""
    return values - values[0] if values.dtype.kind in "iuf" and len(values) else values


@lru_cache(maxsize=256)
def _outcome(question: Question) -> Outcome:
    given = dict(zip(question.dims, question.shape, strict=True))
    reply, result = calls.call(
        question.script, _made_up(question), question.dims, json.loads(question.labels),
        epsg=question.epsg, trial=True,
    )  # fmt: skip
    names = [str(name) for name in reply.get("dims") or ()]
    if len(names) != result.ndim or len(set(names)) != len(names):
        raise UDFFailedError("The UDF gave an array without a name for each of its dimensions.")
    found = dict(zip(names, result.shape, strict=True))
    _check(question, given, found)
    dims = tuple(found) if {*found} - {*given} else tuple(n for n in given if n in found)
    return Outcome(
        dims=dims,
        shape=tuple(found[name] for name in dims),
        kept=tuple(name for name in dims if found[name] == given.get(name)),
        labels=_labels(question, reply, found),
        dtype=result.dtype.str,
    )


def _made_up(question: Question) -> npt.NDArray[Any]:
    values = np.random.default_rng(0).random(question.shape)
    dtype = np.dtype(question.dtype)
    return (values if dtype.kind in "fc" else 2 * values).astype(dtype)


def _check(question: Question, given: dict[str, int], found: dict[str, int]) -> None:
    """UDFFailedError where dimensions changed that are to stay."""
    changed = [name for name, size in given.items() if found.get(name) != size]
    wrong = [name for name in changed if name in question.cut]
    if question.may_change is not None:
        wrong += [n for n in changed if n not in question.may_change and n not in wrong]
        wrong += [name for name in found if name not in given]
    if wrong:
        raise UDFFailedError(
            f"The UDF changed the dimension {', '.join(map(repr, wrong))}: it was given "
            f"{_shown(given)} and gave {_shown(found)}. Dimensions along which the cube is cut "
            "into chunks, and those that the process around it keeps, are to stay."
        )


def _labels(question: Question, reply: dict[str, Any], found: dict[str, int]) -> dict[str, str]:
    """Labels that the script gave to dimensions along which blocks are not cut."""
    before, after = json.loads(question.labels), reply.get("labels") or {}
    changed: dict[str, str] = {}
    for name, size in found.items():
        one = after.get(name)
        if name in question.cut or one is None or one == before.get(name):
            continue
        try:
            if len(labels.from_json(one)) == size:
                changed[name] = json.dumps(one)
        except (ValueError, TypeError, AttributeError) as error:
            raise UDFFailedError(f"The UDF gave labels of '{name}' that are none.") from error
    bands = reply.get("bands")
    for name, size in found.items():
        if bands and name.casefold() in _BANDS:
            if len(bands) != size:
                raise UDFFailedError(
                    f"apply_metadata names {len(bands)} bands and the UDF gives {size}."
                )
            changed[name] = json.dumps({"kind": labels.OTHERS, "values": [str(b) for b in bands]})
    return changed


def _shown(sizes: dict[str, int]) -> str:
    return ", ".join(f"{name}: {size}" for name, size in sizes.items()) or "one number"
