"""Random forests, grown by scikit-learn from a sample of all samples, and kept as arrays of nodes.

A tree needs all its samples at once. So of a training set of more than `MOST`, as many are drawn,
each with the same chance, while chunks stream by. Trees are grown in groups, a task a group.

    nodes of all trees, one after the other; `roots` says where each begins
    feature (-1: leaf)   threshold   left, right (nodes of the whole forest)   value (outputs)

A node's children come after it, which is checked when a forest is read: so a walk ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from openeo_nc.errors import InvalidParameterError
from openeo_nc.ml.model import Array, Learner, Outcome
from openeo_nc.ml.samples import Samples, Scaling, joined

if TYPE_CHECKING:
    from dask._task_spec import TaskRef

    from openeo_nc.ml.passes import Passes

MOST = 200_000
"""Samples that trees are grown from, at most."""
TREES = 16
"""Trees of a task."""
_FEATURES = {"all": 1.0, "onethird": 1 / 3, "log2": "log2", "sqrt": "sqrt"}
_LEAF = -1


def fit(passes: Passes, learner: Learner) -> TaskRef:
    """Adds the tasks of a fit; the last gives the `Outcome`."""
    settings = learner.settings
    scaling = passes.scaling()
    drawn = [
        passes.task("draw", Drawn.of, one, settings["seed"], number, scaling, place=(number,))
        for number, one in enumerate(passes.samples(scaling))
    ]
    sample = passes.merged("drawn", Drawn.merged, drawn)
    first = range(0, settings["num_trees"], TREES)
    groups = [
        passes.task(
            "grow", partial(_grown, count=min(TREES, settings["num_trees"] - tree), number=tree),
            sample, scaling, learner, place=(tree,),
        )
        for tree in first
    ]  # fmt: skip
    return passes.task("fitted", _fitted, groups, scaling, sample, learner)


def scores(arrays: Mapping[str, Array], learner: Learner, x: Array) -> Array:
    """Means of what trees say: probabilities `(samples, classes)`, or numbers `(samples, 1)`."""
    node = np.repeat(arrays["roots"][None].astype(np.int64), len(x), axis=0)
    rows = np.arange(len(x))[:, None]
    feature = arrays["feature"]
    while (inside := feature[node] != _LEAF).any():
        value = x[rows, np.maximum(feature[node], 0)]
        left = value <= arrays["threshold"][node]
        node = np.where(inside, np.where(left, arrays["left"][node], arrays["right"][node]), node)
    return np.asarray(arrays["value"][node].mean(axis=1, dtype=np.float64))


def shapes(features: int, columns: int, learner: Learner) -> dict[str, tuple[int, ...]]:
    """Shapes of the arrays of a model; -1 is any size, the same for all."""
    of_nodes = dict.fromkeys(("feature", "threshold", "left", "right"), (-1,))
    return {"roots": (learner.settings["num_trees"],), "value": (-1, columns), **of_nodes}


def sound(arrays: Mapping[str, Array], features: int) -> bool:
    """Whether walks stay within the nodes and end."""
    if any(arrays[name].dtype.kind != "i" for name in ("roots", "feature", "left", "right")):
        return False
    nodes = np.arange(len(arrays["feature"]))
    inside = arrays["feature"] != _LEAF
    known = (arrays["feature"] >= _LEAF) & (arrays["feature"] < features)
    after = [
        (arrays[side] > nodes) & (arrays[side] < len(nodes)) | ~inside for side in ("left", "right")
    ]
    roots = (arrays["roots"] >= 0) & (arrays["roots"] < len(nodes))
    return bool(known.all() and all(one.all() for one in after) and roots.all())


@dataclass(frozen=True, kw_only=True, eq=False)
class Drawn:
    """Samples, each with a number between 0 and 1; those of the lowest numbers are kept."""

    samples: Samples
    """At most `MOST`."""
    lots: Array
    """`(samples,)`."""

    @classmethod
    def of(cls, samples: Samples, seed: int, chunk: int, _first: Scaling) -> Drawn:
        """Those of a chunk."""
        lots = np.random.default_rng([seed, chunk]).random(len(samples))
        return cls(samples=samples, lots=lots)._fewer()

    @staticmethod
    def merged(parts: list[Drawn]) -> Drawn:
        """Those of several chunks."""
        return Drawn(
            samples=joined([part.samples for part in parts]),
            lots=np.concatenate([part.lots for part in parts]),
        )._fewer()

    def _fewer(self) -> Drawn:
        if len(self.lots) <= MOST:
            return self
        kept = np.sort(np.argpartition(self.lots, MOST)[:MOST])
        return Drawn(
            samples=Samples(x=self.samples.x[kept], y=self.samples.y[kept]), lots=self.lots[kept]
        )


def _grown(
    drawn: Drawn, scaling: Scaling, learner: Learner, *, count: int, number: int
) -> list[dict[str, Array]]:
    """The nodes of some trees."""
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    settings, samples = learner.settings, drawn.samples
    most, width = settings["max_variables"], samples.x.shape[1]
    if isinstance(most, int) and most > width:
        raise InvalidParameterError(f"max_variables is {most}; samples have {width} features.")
    classes = learner.task == "classification"
    grow = RandomForestClassifier if classes else RandomForestRegressor
    seed = np.random.SeedSequence([settings["seed"], number]).generate_state(1)[0]
    forest = grow(
        n_estimators=count, max_features=_FEATURES.get(most, most), random_state=int(seed)
    )
    target = scaling.numbers(samples) if classes else samples.y
    forest.fit(samples.x, target)
    columns = forest.classes_ if classes else np.zeros(1, int)
    width = len(scaling.codes) if classes else 1
    return [_nodes(tree.tree_, columns, width) for tree in forest.estimators_]


def _nodes(tree: Any, columns: Array, width: int) -> dict[str, Array]:
    """Nodes of a tree; classes that no sample was drawn of have a column of zeros."""
    leaf = tree.children_left == _LEAF
    value = np.zeros((tree.node_count, width), np.float32)
    value[:, columns] = tree.value[:, 0]
    return {
        "feature": np.where(leaf, _LEAF, tree.feature).astype(np.int32),
        "threshold": np.where(leaf, 0, tree.threshold),
        "left": np.where(leaf, 0, tree.children_left).astype(np.int32),
        "right": np.where(leaf, 0, tree.children_right).astype(np.int32),
        "value": value * leaf[:, None],
    }


def _fitted(
    groups: list[list[dict[str, Array]]], scaling: Scaling, drawn: Drawn, learner: Learner
) -> Outcome:
    trees = [tree for group in groups for tree in group]
    roots = np.cumsum([0, *(len(tree["feature"]) for tree in trees[:-1])])
    for tree, root in zip(trees, roots, strict=True):
        for side in ("left", "right"):
            tree[side] = np.where(tree["feature"] == _LEAF, 0, tree[side] + root).astype(np.int32)
    arrays = {name: np.concatenate([tree[name] for tree in trees]) for name in trees[0]}
    return Outcome(
        arrays=arrays | {"roots": roots.astype(np.int64)},
        facts={"samples": scaling.count, "drawn": len(drawn.lots)},
        codes=scaling.codes if learner.task == "classification" else None,
    )
