"""What a year of an archive costs to compress and to move: the review's Table V, and ours beside it.

The review's inputs: 10 PB a year are processed and 100 PB downloaded. Its results: 1 GWh and 2 million
USD for the transfer, about 10 MWh for the compression on A100s. How fast these compress it does not
say; 10 MWh at 400 W are 111 MB/s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from openeo_nc.economics.assumptions import Assumptions

PETABYTE = 1e15


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """A year of an archive."""

    processed: float = 10 * PETABYTE
    """Bytes that are compressed, uncompressed."""
    downloaded: float = 100 * PETABYTE
    """Bytes that users download, if nothing is compressed."""


@dataclass(frozen=True, kw_only=True)
class Coder:
    """How fast bytes are compressed, and how well."""

    name: str
    """What codes, at which rate."""
    device: str
    """`cpu` or `gpu`: whose watts count."""
    bytes_per_second: float
    """Uncompressed bytes a second of one core, or of one GPU."""
    ratio: float | None
    """Uncompressed bytes for a stored one; None where it is not known."""
    source: str
    """Where these numbers are from."""


REVIEW = Coder(
    name="review's Table V",
    device="gpu",
    bytes_per_second=1e9 / 9,
    ratio=None,
    source="the review; 111 MB/s an A100 is what its 10 MWh for 10 PB mean at 400 W",
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """What a coder changes."""

    coder: Coder
    """It."""
    coding_seconds: float
    """Seconds of a core, or of a GPU, to compress what is processed."""
    coding_kwh: float
    """Energy of that."""
    transfer_kwh: float
    """Energy of the downloads, compressed if the ratio is known."""
    egress_usd: float
    """Price of the downloads, likewise."""
    saved_kwh: float | None
    """Energy that is saved in all; None where the ratio is not known."""
    saved_usd: float | None
    """Money that is saved by smaller downloads."""


def uncompressed(inputs: Inputs, assumed: Assumptions) -> tuple[float, float]:
    """kWh and USD of the downloads as they are."""
    return assumed.transfer_kwh(inputs.downloaded), assumed.egress_usd(inputs.downloaded)


def rows(coders: Sequence[Coder], inputs: Inputs, assumed: Assumptions) -> list[Row]:
    """One row a coder."""
    return [_row(coder, inputs, assumed) for coder in coders]


def _row(coder: Coder, inputs: Inputs, assumed: Assumptions) -> Row:
    seconds = inputs.processed / coder.bytes_per_second
    used = {"cpu_seconds": seconds} if coder.device == "cpu" else {"gpu_seconds": seconds}
    coding = assumed.compute_kwh(**used)
    full_kwh, full_usd = uncompressed(inputs, assumed)
    moved = inputs.downloaded / (coder.ratio or 1.0)
    kwh, usd = assumed.transfer_kwh(moved), assumed.egress_usd(moved)
    known = coder.ratio is not None
    return Row(
        coder=coder,
        coding_seconds=seconds,
        coding_kwh=coding,
        transfer_kwh=kwh,
        egress_usd=usd,
        saved_kwh=full_kwh - kwh - coding if known else None,
        saved_usd=full_usd - usd if known else None,
    )


def report(coders: Sequence[Coder], inputs: Inputs, assumed: Assumptions) -> dict[str, Any]:
    """All of it as JSON."""
    kwh, usd = uncompressed(inputs, assumed)
    return {
        "inputs": asdict(inputs),
        "assumptions": asdict(assumed),
        "uncompressed": {"transfer_kwh": kwh, "egress_usd": usd},
        "rows": [asdict(row) for row in rows(coders, inputs, assumed)],
    }
