"""A server over HTTP on this machine, with embedded defaults and a Dask cluster in this process."""

from __future__ import annotations

import openeo
import pytest
import requests
from distributed import LocalCluster
from live_server import USERS, serving

from openeo_nc.server.settings import Settings


@pytest.fixture(scope="session")
def cluster():
    """Address of a Dask scheduler with one worker in this process."""
    with LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, protocol="tcp",
        dashboard_address="127.0.0.1:0",
    ) as started:  # fmt: skip
        yield started.scheduler_address


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """Folder of the server's data."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="session")
def settings(data, cluster):
    """Settings of the server."""
    return Settings(
        data=data, scheduler=cluster, development=True, users=USERS, requests_per_minute=10**6
    )


@pytest.fixture(scope="session")
def url(settings):
    """URL of the server."""
    with serving(settings) as address:
        yield address


@pytest.fixture(scope="session")
def token(url):
    """Authorization headers of a user."""

    def of(user="ada"):
        given = requests.get(f"{url}/credentials/basic", auth=(user, USERS[user]), timeout=30)
        return {"Authorization": f"Bearer basic//{given.json()['access_token']}"}

    return of


@pytest.fixture
def connect(url):
    """Connects openEO clients, logged in if a user is named, and closes them after the test."""
    opened = []

    def connected(user=None, place=url):
        connection = openeo.connect(place)
        opened.append(connection)
        return connection if user is None else connection.authenticate_basic(user, USERS[user])

    yield connected
    for connection in opened:
        connection.session.close()


@pytest.fixture
def connection(connect):
    """The openEO client, logged in as ada."""
    return connect("ada")
