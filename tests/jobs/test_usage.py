"""What jobs used: kept by attempt, added up, and told in openEO's words."""

from __future__ import annotations

import time

import pytest
from distributed import Client

from openeo_nc import metrics
from openeo_nc.economics.assumptions import Assumptions
from openeo_nc.jobs import claims, jobs, logs, usage
from openeo_nc.jobs.claims import Claim


def attempt(job, token):
    return Claim(job_id=job.id, token=token, attempt=claims.attempt_of(token))


def busy(i):
    """A task that takes processor time, and counts."""
    began = time.thread_time()
    while time.thread_time() - began < 0.1:
        sum(range(1000))
    metrics.encoded(1000, 10)
    return i


def broken(i):
    busy(i)
    raise ValueError("broken")


def test_attempts_are_added_up_and_the_largest_memory_counts(db, queued):
    first = {"tiles_encoded": 2, "pixel_bytes_encoded": 4e9, "payload_bytes_encoded": 1e9}
    usage.add(db, attempt(queued, 1), seconds=10, cpu_seconds=7200, counts={**first, usage.PEAK: 5})
    usage.add(db, attempt(queued, 2), seconds=20, cpu_seconds=0, counts={"device_seconds_cuda": 360,
              "cache_hits": 3, usage.PEAK: 4})  # fmt: skip
    found = usage.total(db, queued.id, stored=123)
    assert found["duration"] == {"value": 30.0, "unit": "seconds"}
    assert found["cpu"] == {"value": 7200.0, "unit": "cpu-seconds"}
    assert found["gpu"] == {"value": 360.0, "unit": "seconds"}
    assert found["memory"] == {"value": 5, "unit": "b"}
    assert found["cache_hits"] == {"value": 3, "unit": "tiles"}
    assert found["storage"] == {"value": 123, "unit": "b"}
    assert found["energy"]["value"] == pytest.approx(2 * 0.005 + 0.1 * 0.4)  # 5 W and 400 W
    assert found["transfer_uncompressed_energy"]["value"] == pytest.approx(0.04)
    assert found["transfer_compressed_price"]["value"] == pytest.approx(0.02)
    assert "0.01 kWh/GB" in found["transfer_compressed_energy"]["assumption"]


def test_time_that_is_added_later_takes_nothing_away(db, queued):
    mine = attempt(queued, 1)
    usage.add(db, mine, seconds=5, cpu_seconds=3, counts={"cache_hits": 1})
    usage.add(db, mine, seconds=6)
    found = usage.total(db, queued.id)
    assert (found["duration"]["value"], found["cpu"]["value"]) == (6, 3)
    assert found["cache_hits"]["value"] == 1


def test_nothing_is_kept_of_a_job_that_is_gone(db, queued):
    jobs.delete(db, "a", queued.id)
    usage.add(db, attempt(queued, 1), seconds=5)
    assert usage.total(db, queued.id)["duration"]["value"] == 0


def test_an_attempt_that_fails_has_used_what_it_used(db, queued, cluster):
    mine = attempt(queued, 1)
    with Client(cluster, set_as_default=False) as client:
        with (
            pytest.raises(ValueError, match="broken"),
            usage.counted(client, db, mine, time.monotonic()),
        ):
            client.gather(client.map(busy, range(4), key=f"busy-{queued.id}"))
            time.sleep(1.5)  # workers tell with their heartbeats
            client.submit(broken, 0, key=f"broken-{queued.id}").result()
        other = attempt(queued, 2)
        with usage.counted(client, db, other, time.monotonic()):
            client.gather(client.map(busy, range(4), key=f"again-{queued.id}"))
    found = usage.total(db, queued.id)
    assert found["tiles_encoded"]["value"] >= 8
    assert found["cpu"]["value"] >= 0.75


def test_experience_is_of_the_same_codecs(db, process):
    def finished(planned, used, codecs):
        job = jobs.queue(db, "a", jobs.create(db, "a", {"process": process}).id)
        claim = claims.claim(db, "test", lease=60)
        data = {"codecs": codecs, "cpu_seconds": planned and {"value": planned}}
        logs.add(db, job.id, "info", f"{usage.PLANNED}x.", data=data)
        usage.add(db, claim, seconds=1, cpu_seconds=used)
        assert claims.publish(db, job.id, claim.token, [], {})

    finished(10, 20, ["klt-dct"])
    finished(10, 5, ["klt-dct"])
    finished(10, 70, ["zfp"])
    finished(None, 70, ["klt-dct"])
    assert usage.experience(db, ["klt-dct"]) == [0.5, 2.0]
    assert usage.experience(db, []) == []


def test_energy_has_its_assumption():
    found = usage.document(
        {}, seconds=1, cpu_seconds=3600, peak=0, stored=None, assumed=Assumptions(pue=2)
    )
    assert found["energy"]["value"] == pytest.approx(0.01)
    assert found["energy"]["assumption"] == "5 W a core, 400 W a GPU, PUE 2"
    assert "transfer_uncompressed" not in found
    assert "memory" not in found
