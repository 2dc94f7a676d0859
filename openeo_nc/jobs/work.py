"""Computes the plans of a job on its cluster: followed object by object, and left without a trace.

The runner itself is the client of all its tasks. Tasks that submit tasks would leave those behind
when they are cancelled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from openeo_nc.cubes.ledger import Written
from openeo_nc.cubes.outputs import Saved
from openeo_nc.errors import ClusterLostError, PoisonTaskError
from openeo_nc.jobs import ledger
from openeo_nc.jobs.poison import Graph, given_up, graph_of, guilty, place, suspects, withhold

if TYPE_CHECKING:
    from dask.delayed import Delayed
    from distributed import Client, Future

    from openeo_nc.jobs.claims import Claim
    from openeo_nc.jobs.database import Database
    from openeo_nc.jobs.heart import Stop

_POLL_SECONDS = 0.1
_NO_REASON = "Workers ended, and no task of the job is the reason."
_INNOCENT = 2  # a task that is given up may still run somewhere, and end its worker once more


@dataclass(kw_only=True)
class Work:
    """A `cubes.ledger.Ledger` of one attempt."""

    db: Database
    """Where the ledger is."""
    claim: Claim
    """Whose attempt it is."""
    client: Client
    """Client of the cluster."""
    stop: Stop
    """When to stop."""
    progressed: Callable[[int, int], None]
    """Told objects that are done, and all of them."""
    forgiving: bool = False
    """Whether a task that ends its workers gives no data, where it can, and the job goes on."""
    kept: int = 0
    """Objects that were taken from earlier attempts."""
    _recorded: set[tuple[str, str]] = field(default_factory=set, init=False)

    def written(self, output: str, fingerprint: str) -> Mapping[str, Written]:
        """Objects that earlier attempts wrote."""
        return ledger.written(self.db, self.claim.job_id, output, fingerprint)

    def compute(self, plans: Sequence[Delayed], objects: Sequence[Delayed]) -> Sequence[Saved]:
        """Compute all plans, and record each object when it is there.

        Raises
        ------
        Stopped
        ClusterLostError
            The scheduler forgot the tasks.
        PoisonTaskError
            A task ended each worker that it was given to, and may or can not be done without.
        Exception
            What a task raised.
        """
        from distributed import KilledWorker

        self.stop.check()
        collections = [*plans, *objects]
        wanted = [one.key for one in collections]
        futures: list[Future[Any]] = self.client.compute(collections)
        graph: Graph | None = None
        found: list[Any] = []
        withheld: set[Any] = set()
        innocent = 0
        try:
            while True:
                try:
                    self._follow(futures, set(wanted[len(plans) :]))
                    return [future.result() for future in futures[: len(plans)]]
                except KilledWorker as error:
                    graph = graph_of(collections) if graph is None else graph
                    key, futures = self._poison(futures, graph)
                    if key is None and innocent < _INNOCENT:
                        innocent += 1
                    elif key is None:
                        raise ClusterLostError(_NO_REASON) from error
                    elif not self.forgiving or key in withheld:
                        raise PoisonTaskError(
                            f"Workers ended, one after the other, while they ran {place(key)}."
                        ) from error
                if key is not None:
                    found.append(key)
                    new = [one for one in given_up(graph, found) if one not in withheld]
                    withheld.update(new)
                    graph = withhold(graph, new)
                again = self.client.get(graph, wanted, sync=False)
                futures = self._released(futures, again)
        finally:
            self._released(futures, [])

    def _poison(
        self, futures: Sequence[Future[Any]], graph: Graph
    ) -> tuple[Any, list[Future[Any]]]:
        """The task that ends its workers; and the futures that are done, all others are let go."""
        suspected = suspects(self.client, [future.key for future in futures])
        wanted = [future.key for future in futures if future.status != "finished"]
        done = [future for future in futures if future.status == "finished"]
        self._released(futures, done)
        key = guilty(self.client, graph, wanted, suspected, self.stop.wait)
        return key, done

    def _released(
        self, futures: Sequence[Future[Any]], kept: list[Future[Any]]
    ) -> list[Future[Any]]:
        """Futures to be kept, the others released; nobody else wants those, so tasks are dropped."""
        for future in futures:
            if future not in kept:
                future.release()
        return kept

    def _follow(self, futures: Sequence[Future[Any]], objects: set[Any]) -> None:
        from distributed import as_completed

        completed = as_completed(futures)
        waiting, done = len(futures), 0
        while waiting:
            batch = completed.next_batch(block=False)
            if not batch:
                self.stop.wait(_POLL_SECONDS)
                self._check_cluster(futures)
                continue
            waiting -= len(batch)
            there = [f for f in batch if f.key in objects and f.status == "finished"]
            self._record([_result(future) for future in there])
            done += len(there)
            self.progressed(done, len(objects))
            for future in batch:
                _result(future)

    def _record(self, written: Sequence[Written]) -> None:
        if not written:
            return
        written = [one for one in written if (one.output, one.key) not in self._recorded]
        self._recorded |= {(one.output, one.key) for one in written}
        self.kept += sum(one.kept for one in written)
        if not ledger.record(self.db, self.claim.job_id, self.claim.token, written):
            self.stop.set("fenced")
        self.stop.check()

    def _check_cluster(self, futures: Sequence[Future[Any]]) -> None:
        if self.client.status != "running" or any(f.status == "cancelled" for f in futures):
            raise ClusterLostError("The cluster forgot the job's tasks.")


def _result(future: Future[Any]) -> Any:
    try:
        return future.result()
    except CancelledError as error:
        raise ClusterLostError("The cluster forgot the job's tasks.") from error
