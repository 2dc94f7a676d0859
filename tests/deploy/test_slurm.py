"""The Slurm cluster: what its jobs ask for, and a run of it with programs that stand in for Slurm's."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time

import dask
import deployment
import pytest
import yaml
from click.testing import CliRunner
from dask_jobqueue.slurm import SLURMJob
from distributed import Client

from openeo_nc.cli import main
from openeo_nc.inference.placement import USUAL

FOLDER = deployment.DEPLOY / "slurm"
CONFIG = deployment.document(FOLDER / "jobqueue.yaml")
SBATCH = """#!/usr/bin/env bash
# Runs the job at once, as Slurm would on some machine, and tells its number.
cp "$1" "$FAKE_SLURM/$$.sh"  # as Slurm does: the file is gone afterwards
setsid bash "$FAKE_SLURM/$$.sh" >"$FAKE_SLURM/$$.log" 2>&1 &
echo "$!" >>"$FAKE_SLURM/submitted"
echo "Submitted batch job $!"
"""
SCANCEL = """#!/usr/bin/env bash
echo "$1" >>"$FAKE_SLURM/cancelled"
kill -TERM -- "-$1" 2>/dev/null || true
"""


@pytest.fixture(scope="module")
def script():
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("slurm_cluster", FOLDER / "cluster.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def job(kind):
    with dask.config.set(CONFIG):
        made = SLURMJob("tcp://192.0.2.1:8786", name=f"{kind}-0", config_name=f"openeo-nc-{kind}")
        return made.job_script()


def test_jobs_ask_for_what_they_need():
    cpu, gpu = job("cpu"), job("gpu")
    assert "#SBATCH --gres=gpu:1" in gpu
    assert "--gres" not in cpu
    assert "#SBATCH -p compute" in cpu
    assert "#SBATCH -p gpu" in gpu
    for text in (cpu, gpu):
        assert "#SBATCH -t 12:00:00" in text
        assert "export OPENEO_NC_THREADS=$SLURM_CPUS_PER_TASK" in text
    assert "#SBATCH --cpus-per-task=8" in cpu
    assert "#SBATCH --mem=48G" in gpu


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_jobs_run_the_worker_command(kind):
    line = job(kind).strip().splitlines()[-1].split()
    assert line[:4] == [sys.executable, "-m", "openeo_nc.cli", "worker"]
    assert ("--gpu" in line) == (kind == "gpu")
    assert CliRunner().invoke(main, ["worker", "--help"]).exit_code == 0
    # it ends by itself before Slurm ends it, so that it can hand over what it holds
    assert line[line.index("--lifetime") + 1] == "11h"


def test_each_kind_has_as_many_jobs_as_are_asked_for(script):
    found = script.workers({"cpu": 2, "gpu": 1})
    assert list(found) == ["cpu-0", "cpu-1", "gpu-0"]
    for name, one in found.items():
        section = one["options"]["config_name"]
        assert section == f"openeo-nc-{name[:3]}"
        assert section in CONFIG["jobqueue"]


def test_a_cluster_comes_up_and_leaves_no_job_behind(tmp_path):
    programs, state = tmp_path / "bin", tmp_path / "state"
    programs.mkdir()
    state.mkdir()
    for name, text in (("sbatch", SBATCH), ("scancel", SCANCEL)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    config = yaml.safe_load((FOLDER / "jobqueue.yaml").read_text())
    for section in config["jobqueue"].values():
        section.update(cores=1, memory="512MiB", **{"local-directory": str(tmp_path)})
    (tmp_path / "jobqueue.yaml").write_text(yaml.safe_dump(config))
    address = tmp_path / "scheduler.txt"
    environment = {**os.environ, "FAKE_SLURM": str(state), "OPENEO_NC_DEVICE": "cpu", "SLURM_CPUS_PER_TASK": "1",
                   "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}  # fmt: skip
    running = subprocess.Popen(
        [sys.executable, FOLDER / "cluster.py", "--cpu", "1", "--gpu", "1", "--port", "0",
         "--host", "127.0.0.1", "--address", address, "--config", tmp_path / "jobqueue.yaml"],
        env=environment, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        until = time.monotonic() + 60
        while not address.exists():
            assert running.poll() is None, "it ended"
            assert time.monotonic() < until, "no scheduler"
            time.sleep(0.1)
        with Client(address.read_text(), timeout=30) as client:
            client.wait_for_workers(2, timeout=60)
            workers = client.scheduler_info(n_workers=-1)["workers"].values()
            resources = {one["name"]: one["resources"] for one in workers}
            assert resources == {"cpu-0": {}, "gpu-0": {USUAL: 1.0}}
    finally:
        running.send_signal(signal.SIGTERM)
        assert running.wait(60) == 0
    assert not address.exists()
    submitted = (state / "submitted").read_text().split()
    assert sorted((state / "cancelled").read_text().split()) == sorted(submitted)
