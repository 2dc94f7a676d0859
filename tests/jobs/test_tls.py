"""Connections to the scheduler with TLS: runners and workers know each other by certificates."""

from __future__ import annotations

import dataclasses

import certificates
import pytest
from distributed import LocalCluster

from openeo_nc.cluster import connect
from openeo_nc.errors import SchedulerUnreachableError
from openeo_nc.jobs import jobs


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Certificates of everybody on this machine."""
    return certificates.made(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def cluster(files):
    """Address of a scheduler that speaks TLS, with a worker."""
    from distributed import Security

    security = Security(
        require_encryption=True,
        tls_ca_file=files.ca,
        **{f"tls_{who}_cert": files.certificate for who in ("scheduler", "worker", "client")},
        **{f"tls_{who}_key": files.key for who in ("scheduler", "worker", "client")},
    )
    with LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, protocol="tls://", security=security,
        dashboard_address="127.0.0.1:0",
    ) as started:  # fmt: skip
        yield started.scheduler_address


def test_a_job_runs_over_tls(db, queued, claim, orders, cluster, files, runners):
    assert cluster.startswith("tls://")
    on = dataclasses.replace(orders, scheduler=cluster, certificates=files)
    runner = runners(on, claim)
    runner.join(300)
    assert runner.exitcode == 0
    assert jobs.get(db, "a", queued.id).error is None
    assert jobs.get(db, "a", queued.id).status == "finished"


def test_who_has_no_certificate_is_refused(cluster, files, tmp_path):
    plain = cluster.replace("tls://", "tcp://")
    with pytest.raises(SchedulerUnreachableError), connect(plain):
        pass
    with pytest.raises(SchedulerUnreachableError), connect(cluster):
        pass
    with pytest.raises(SchedulerUnreachableError), connect(plain, certificates=files):
        pass
    stranger = certificates.made(tmp_path)
    with pytest.raises(SchedulerUnreachableError), connect(cluster, certificates=stranger):
        pass
    with connect(cluster, certificates=files) as client:
        assert client.submit(sum, [1, 2]).result() == 3
