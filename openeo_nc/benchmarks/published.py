"""Takes from a rate-distortion report what the server's page shows: curves over all its tiles.

`openeo-nc bench publish-rates rd/rate_distortion.json` writes it into the package. One file, because
the page, which has no tiles, is to show exactly what docs/benchmarks.md tells.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from openeo_nc.benchmarks.baselines import BASELINES
from openeo_nc.benchmarks.rate_distortion import MEAN, TARGETS
from openeo_nc.errors import InvalidParameterError

COMMAND = "openeo-nc bench rate-distortion --out rd"
FILE = Path(__file__).resolve().parents[1] / "server" / "rate_distortion.json"
"""Where the server looks for it."""


def published(report: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a report of `rate_distortion.run` that is published.

    Gives `command`, `source`, `tiles`, `places` (tiles a place), `versions`, `targets` (PSNR in dB) and
    `curves`: for each codec its `points`, `[quality, bpppb, PSNR in dB]` with None for a PSNR of exact
    tiles, `at`, its bpppb at the targets, and the `title` of a baseline.

    Raises
    ------
    InvalidParameterError
        It is not such a report.
    """
    try:
        places = dict(report["places"])
        place = MEAN if len(places) > 1 else next(iter(places))
        means = [row for row in report["means"] if row["place"] == place]
        rates = [row for row in report["at_psnr"] if row["place"] == place]
        return {
            "command": COMMAND,
            "source": report["source"],
            "places": places,
            "tiles": sum(places.values()),
            "versions": dict(report["versions"]),
            "targets": list(TARGETS),
            "curves": {codec: _curve(codec, means, rates) for codec in _codecs(means)},
        }
    except (KeyError, TypeError, StopIteration) as error:
        raise InvalidParameterError(f"This is no report of '{COMMAND}': {error!r}.") from error


def write(report: Path, file: Path = FILE) -> None:
    """Publish a report's file.

    Raises
    ------
    InvalidParameterError
    """
    taken = published(json.loads(report.read_text(encoding="utf-8")))
    curves = [f'    "{name}": {json.dumps(one)}' for name, one in taken.pop("curves").items()]
    head = json.dumps(taken, indent=2).removesuffix("\n}")
    text = f'{head},\n  "curves": {{\n' + ",\n".join(curves) + "\n  }\n}\n"
    file.write_text(text, encoding="utf-8")


def _codecs(means: list[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(row["codec"] for row in means))


def _curve(
    codec: str, means: list[Mapping[str, Any]], rates: list[Mapping[str, Any]]
) -> dict[str, Any]:
    points = [
        [row["quality"], round(row["bpppb"], 4), _rounded(row["psnr"], 2)]
        for row in means
        if row["codec"] == codec
    ]
    at = {row["psnr"]: _rounded(row["bpppb"], 4) for row in rates if row["codec"] == codec}
    curve: dict[str, Any] = {"points": points, "at": [at.get(target) for target in TARGETS]}
    return {"title": BASELINES[codec].title, **curve} if codec in BASELINES else curve


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
