"""What stores of payloads and plain ones share: their plan, the ledger's objects, the last step."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from openeo_nc import metrics
from openeo_nc.cubes.inspect import RECORD, StoreReport, inspect_store
from openeo_nc.cubes.ledger import Written
from openeo_nc.cubes.staging import Staging

if TYPE_CHECKING:
    from dask.delayed import Delayed

ITEM = "item.json"
"""The STAC Item, in the store's root."""


@dataclass(frozen=True, kw_only=True, eq=False)
class StorePlan:
    """A write that has not been started; computing `report` does all of it."""

    staging: Staging
    """Where it happens."""
    objects: tuple[Delayed, ...]
    """One task for each object that holds data; gives `Written`."""
    report: Delayed
    """Publishes the store once all objects are written; gives its `StoreReport`."""


def written_in(staging: Staging, mark: str, key: str, size: int) -> Written:
    """An object that was written into the store."""
    places = (staging.store / key, staging.path / key)
    metrics.RESULT_BYTES_WRITTEN.add(size)
    return Written(output=staging.path.name, fingerprint=mark, key=key, bytes=size, places=places)


def keep(staging: Staging, written: Written, begun: None) -> Written:
    """Take an object of an earlier attempt into this one's store."""
    return staging.keep(written)


def published(staging: Staging) -> StoreReport | None:
    """The report of a store that this very write has published already; its tasks ran again."""
    record = staging.path / RECORD
    if not record.is_file():
        return None
    if json.loads(record.read_text(encoding="utf-8")).get("write") != staging.token:
        return None
    staging.discard()
    return inspect_store(staging.path)


def publish(staging: Staging, item: dict[str, Any], report: StoreReport) -> StoreReport:
    """Add the store's Item, and put the store where it belongs."""
    size = write_json(staging, ITEM, item)
    staging.publish()
    return replace(report, path=staging.path, bytes=report.bytes + size)


def write_json(staging: Staging, key: str, document: dict[str, Any]) -> int:
    """Write a document into the store; its bytes."""
    data = json.dumps(document, indent=2).encode()
    staging.write(key, data)
    return len(data)
