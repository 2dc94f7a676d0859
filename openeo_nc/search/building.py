"""Makes and fills indexes from stored embedding cubes, each source once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from openeo_nc.cubes.embedding_codes import model_of
from openeo_nc.cubes.embedding_reading import load_vectors
from openeo_nc.cubes.publishing import ITEM
from openeo_nc.errors import EmbeddingsIncomparableError, InvalidParameterError
from openeo_nc.search.index import VectorIndex
from openeo_nc.search.opening import create_index, open_index, place_of
from openeo_nc.search.patches import rows_of
from openeo_nc.search.rows import Rows


@dataclass(frozen=True, kw_only=True)
class Added:
    """What was added to an index."""

    rows: int
    """Vectors."""
    sources: tuple[str, ...]
    """Items that they are from."""
    skipped: tuple[str, ...]
    """Items that were there already."""


def build(
    path: Path,
    urls: Sequence[str],
    *,
    kind: str = "arrow",
    metric: str = "cosine",
    overwrite: bool = False,
) -> Added:
    """A new index of the embedding cubes at URLs or paths.

    Raises
    ------
    OutputExistsError, InvalidParameterError, NoDataAvailableError, EmbeddingsIncomparableError
    """
    sources = tuple(dict.fromkeys(map(source_of, urls)))
    if not sources:
        raise InvalidParameterError("There is nothing to build an index of.")
    made = create_index(path, _rows(urls, set(), ()), kind=kind, metric=metric, overwrite=overwrite)
    return Added(rows=made.info().rows, sources=sources, skipped=())


def add(name: str, urls: Sequence[str]) -> Added:
    """Add the cubes at URLs or paths whose items an index does not have yet."""
    index: VectorIndex = open_index(place_of(name))
    known = index.info()
    there = set(known.sources)
    sources = tuple(dict.fromkeys(map(source_of, urls)))
    new = tuple(source for source in sources if source not in there)
    rows = index.add(_rows(urls, there, known.models)) if new else 0
    return Added(rows=rows, sources=new, skipped=tuple(s for s in sources if s in there))


def source_of(url: str) -> str:
    """Address of the item of what lies at a URL or path, or its own where there is none."""
    if "://" in url:
        return url
    folder = Path(url).absolute()
    beside = folder.with_suffix(".json")
    items = [folder / ITEM, *([beside] if beside != folder else [])]
    return next((one.as_uri() for one in items if one.is_file()), folder.as_uri())


def _rows(urls: Sequence[str], there: set[str], models: Sequence[str]) -> Iterator[Rows]:
    """The rows of sources that are not there; all of one model, and of what is there."""
    seen, model = set(there), next(iter(models), "")
    for url in urls:
        source = source_of(url)
        if source in seen:
            continue
        seen.add(source)
        cube = load_vectors(url)
        own = str(model_of(cube).get("id", ""))
        if own and model and own != model:
            raise EmbeddingsIncomparableError(
                f"{url} is of the model '{own}' and the index of '{model}': embeddings of different "
                "models do not compare. Nothing of it was added."
            )
        model = model or own
        yield from rows_of(cube, source)
