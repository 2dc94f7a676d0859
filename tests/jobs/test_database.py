"""The database: its schema is that of the tables, and locks are waited for."""

from __future__ import annotations

import gc
import os
import signal
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from silent_host import silent
from sqlalchemy import inspect, text
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError

from openeo_nc.errors import DatabaseBusyError, InvalidParameterError
from openeo_nc.jobs import database, jobs, logs
from openeo_nc.jobs.database import Database
from openeo_nc.jobs.faults import fault_of
from openeo_nc.jobs.tables import Table

GRAPH = {"process_graph": {"one": {"process_id": "absolute", "arguments": {}, "result": True}}}


BOTH = pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)


@BOTH
def test_migrations_give_the_tables(db):
    with db.read() as session:
        context = MigrationContext.configure(session.connection(), opts={"compare_type": True})
        assert compare_metadata(context, Table.metadata) == []


@BOTH
def test_migrations_go_down_and_up_again(db):
    db.downgrade("base")
    with db.read() as session:
        assert set(inspect(session.connection()).get_table_names()) <= {"alembic_version"}
    db.migrate()
    assert jobs.get(db, "a", jobs.create(db, "a", {"process": GRAPH}).id).status == "created"


@BOTH
def test_migrating_again_changes_nothing(db, database_url):
    job = jobs.create(db, "a", {"process": GRAPH})
    again = Database.open(database_url)
    assert jobs.get(again, "a", job.id) == job
    again.close()


@BOTH
def test_many_servers_may_start_at_once(database_url):
    with ThreadPoolExecutor(4) as threads:
        opened = list(threads.map(Database.open, [database_url] * 4))
    job = jobs.create(opened[0], "a", {"process": GRAPH})
    for one in opened:
        assert jobs.get(one, "a", job.id) == job
        one.close()


def test_sqlite_runs_in_wal_mode(db):
    with db.read() as session:
        assert session.scalar(text("PRAGMA journal_mode")) == "wal"
        assert session.scalar(text("PRAGMA foreign_keys")) == 1


@BOTH
def test_a_failing_transaction_leaves_nothing(db):
    with pytest.raises(ZeroDivisionError), db.write() as session:
        session.execute(
            text("INSERT INTO process_graphs VALUES ('a', 'b', '{}', '2026-01-01 00:00:00')")
        )
        1 / 0  # noqa: B018
    with db.read() as session:
        assert session.scalar(text("SELECT count(*) FROM process_graphs")) == 0


def test_a_lock_is_waited_for(tmp_path):
    path = tmp_path / "jobs.sqlite"
    db = Database.open(f"sqlite:///{path}", busy=0.05)
    holder = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN EXCLUSIVE")
    threading.Timer(0.6, lambda: holder.execute("COMMIT")).start()
    start = time.monotonic()
    job = jobs.create(db, "a", {"process": GRAPH})
    assert time.monotonic() - start > 0.4
    assert jobs.get(db, "a", job.id) == job
    holder.close()
    db.close()


def test_a_lock_that_stays_is_a_typed_error_and_readers_go_on(tmp_path):
    path = tmp_path / "jobs.sqlite"
    db = Database.open(f"sqlite:///{path}", busy=0.05, patience=0.2)
    job = jobs.create(db, "a", {"process": GRAPH})
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseBusyError):
        jobs.create(db, "a", {"process": GRAPH})
    assert jobs.get(db, "a", job.id) == job
    holder.close()
    db.close()


@BOTH
def test_what_is_told_of_a_job_that_is_deleted_meanwhile_is_lost(db):
    def tell(job):
        for _ in range(20):
            logs.add(db, job.id, "info", "told")
        return True

    for _ in range(3):
        job = jobs.create(db, "a", {"process": GRAPH})
        with ThreadPoolExecutor(2) as threads:
            told = threads.submit(tell, job)
            jobs.delete(db, "a", job.id)
            assert told.result()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_database_that_starts_again_is_used_again(db, postgres):
    job = jobs.create(db, "a", {"process": GRAPH})
    postgres.stop()
    assert not db.answers()
    with pytest.raises((InterfaceError, OperationalError)):
        jobs.get(db, "a", job.id)
    assert fault_of(OperationalError("", {}, Exception("at host secret"))).again
    assert "secret" not in fault_of(OperationalError("", {}, Exception("host secret"))).message
    postgres.start()
    assert jobs.get(db, "a", job.id) == job


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_lock_is_not_waited_for_without_an_end(db, database_url, monkeypatch):
    monkeypatch.setattr(database, "_LOCK_SECONDS", 0.3)
    job = jobs.create(db, "a", {"process": GRAPH})
    other = Database.open(database_url, migrate=False)
    with db.write() as session:
        session.execute(text(f"UPDATE jobs SET title = 'held' WHERE id = '{job.id}'"))
        with pytest.raises(SQLAlchemyError) as raised:
            jobs.queue(other, "a", job.id)
    assert fault_of(raised.value).again
    assert jobs.queue(other, "a", job.id).status == "queued"
    with other.read() as session:
        held = session.scalar(text("SHOW idle_in_transaction_session_timeout"))
    assert held == "2min"
    other.close()


@pytest.mark.filterwarnings(
    "ignore:.*unclosed <socket"
)  # pg8000 leaves its socket to the collector
def test_a_database_that_is_silent_is_not_waited_for_without_an_end(monkeypatch):
    monkeypatch.setattr(database, "ANSWER_SECONDS", 0.5)
    with silent() as (host, port):
        db = Database.open(f"postgresql://user:secret@{host}:{port}/name", migrate=False)
        assert not db.answers()
        with pytest.raises((InterfaceError, OperationalError)) as raised, db.read():
            pass
        db.close()
    assert fault_of(raised.value).again
    raised = None
    gc.collect()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_connection_that_falls_silent_is_given_up(db, database_url, monkeypatch):
    monkeypatch.setattr(database, "ANSWER_SECONDS", 0.5)
    other = Database.open(database_url, migrate=False)
    job = jobs.create(other, "a", {"process": GRAPH})
    paused = []

    def pause(session):
        paused.append(session.scalar(text("SELECT pg_backend_pid()")))
        os.kill(paused[-1], signal.SIGSTOP)

    try:
        with pytest.raises(OperationalError), other.read() as session:
            pause(session)
            session.execute(text("SELECT 1"))
        assert jobs.get(other, "a", job.id) == job  # by another connection
        with other.read() as session:
            paused.append(session.scalar(text("SELECT pg_backend_pid()")))
        os.kill(paused[-1], signal.SIGSTOP)
        with pytest.raises(OperationalError):
            jobs.get(other, "a", job.id)
        assert jobs.get(other, "a", job.id) == job
    finally:
        for pid in paused:
            os.kill(pid, signal.SIGCONT)
    other.close()


@pytest.mark.parametrize("url", ["nonsense", "nosuch://user:pass@host/db"])
def test_a_url_of_no_database_is_a_typed_error(url):
    with pytest.raises(InvalidParameterError) as raised:
        Database.open(url)
    assert "pass@" not in str(raised.value)
