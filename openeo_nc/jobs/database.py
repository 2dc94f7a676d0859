"""The database behind jobs: opened, brought up to date, and read or written in transactions.

Reading and writing are told apart because of SQLite: a transaction that reads first and writes
then fails at once when another one wrote in between, whatever the time-out. Writing transactions
therefore take the lock at their beginning, where waiting helps, and beginning is all that is ever
tried again. PostgreSQL gets the same statements; since its transactions run beside each other,
those that decide by what they read lock it (`with_for_update`, `alone`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import (
    URL,
    Connection,
    Engine,
    ExceptionContext,
    create_engine,
    event,
    make_url,
    text,
)
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session

from openeo_nc.errors import DatabaseBusyError, InvalidParameterError

logger = logging.getLogger(__name__)

BUSY_SECONDS = 5.0
"""How long SQLite itself waits for a lock."""
PATIENCE_SECONDS = 30.0
"""How long the beginning of a transaction is tried again beyond that."""
ANSWER_SECONDS = 60.0
"""How long PostgreSQL, or what lies between, may be silent before its connection is given up."""
_LOCK_SECONDS = 30.0
_IDLE_SECONDS = 120.0  # of a transaction whose process was paused, and holds locks
_MIGRATIONS = Path(__file__).parent / "migrations"
_MIGRATING = 0x6F70656E  # "open": the advisory lock that two starting servers share on PostgreSQL
_WRITES = "openeo_nc_writes"


class Database:
    """Connections to one database; safe to share between threads, not between processes."""

    def __init__(self, engine: Engine, *, patience: float = PATIENCE_SECONDS) -> None:
        self.engine = engine
        self.patience = patience

    @classmethod
    def open(
        cls,
        url: str,
        *,
        migrate: bool = True,
        busy: float = BUSY_SECONDS,
        patience: float = PATIENCE_SECONDS,
    ) -> Database:
        """The database at a SQLAlchemy URL, its schema brought up to date if `migrate`.

        Raises
        ------
        InvalidParameterError
            The URL is none, or names a driver that is not installed. It is not in the message,
            since it may hold a password.
        DatabaseBusyError
            Another process holds it for longer than `busy` and `patience` seconds.
        """
        try:
            engine = _engine(url, busy)
        except (ArgumentError, NoSuchModuleError, ImportError) as error:
            raise InvalidParameterError(
                f"The database's URL is none, or its driver is not installed: {error}"
            ) from error
        database = cls(engine, patience=patience)
        if migrate:
            database.migrate()
        return database

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session whose transaction only reads."""
        with self._begun(writes=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session whose transaction may write; committed at the end, or nothing of it stays."""
        with self._begun(writes=True) as session:
            yield session

    def migrate(self) -> None:
        """Bring the schema up to the last version; does nothing if it is."""
        with self._begun(writes=True) as session:
            self.alone(session, _MIGRATING)
            command.upgrade(_config(session), "head")

    def downgrade(self, revision: str) -> None:
        """Bring the schema back to a version, `base` for none; what later ones hold is lost."""
        with self._begun(writes=True) as session:
            self.alone(session, _MIGRATING)
            command.downgrade(_config(session), revision)

    def alone(self, session: Session, lock: int) -> None:
        """Let no other transaction that asks for the same lock run until this one has ended.

        On SQLite none that writes does.
        """
        if self.engine.dialect.name == "postgresql":
            session.execute(text(f"SELECT pg_advisory_xact_lock({lock})"))

    def answers(self) -> bool:
        """Whether the database can be read at this moment."""
        try:
            with self._connected() as connection:
                connection.execute(text("SELECT 1"))
        except SQLAlchemyError:
            return False
        return True

    def close(self) -> None:
        """Close all connections that are not in use."""
        self.engine.dispose()

    def _connected(self) -> Connection:
        try:
            return self.engine.connect()
        except OSError as error:  # pg8000 lets some of these through, time-outs among them
            raise OperationalError(None, None, error) from error

    @contextmanager
    def _begun(self, *, writes: bool) -> Iterator[Session]:
        with self._connected() as plain:
            connection = plain.execution_options(**{_WRITES: writes})
            self._begin(connection)
            with Session(bind=connection, expire_on_commit=False) as session:
                yield session
                session.flush()
            connection.commit()

    def _begin(self, connection: Connection) -> None:
        """Begin, again and again while another process holds the lock."""
        last = time.monotonic() + self.patience
        pause = 0.02
        while True:
            try:
                connection.begin()
                return
            except OperationalError as error:
                if not _locked(error):
                    raise
                if time.monotonic() > last:
                    raise DatabaseBusyError(
                        "The database is held by another process; nothing was changed. "
                        "Please try again."
                    ) from error
            time.sleep(pause)
            pause = min(2 * pause, 0.5)


def _config(session: Session) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["connection"] = session.connection()
    return config


def _locked(error: OperationalError) -> bool:
    """Whether SQLite gave up waiting for a lock."""
    return "database is locked" in str(error.orig) or "database table is locked" in str(error.orig)


def _engine(url: str, busy: float) -> Engine:
    address = make_url(url)
    if address.get_backend_name() != "sqlite":
        if address.drivername == "postgresql":  # SQLAlchemy would take another driver
            address = address.set(drivername="postgresql+pg8000")
        return _over_network(address, busy)
    engine = create_engine(url, connect_args={"timeout": busy})

    @event.listens_for(engine, "connect")
    def connected(raw: Any, _record: Any) -> None:
        raw.isolation_level = None  # the driver would begin on its own, and too late
        cursor = raw.cursor()
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        _use_wal(connection)
        writes = connection.get_execution_options().get(_WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _over_network(address: URL, busy: float) -> Engine:
    """PostgreSQL's, where nothing is waited for without an end: neither an answer nor a lock."""
    engine = create_engine(
        address, pool_pre_ping=True, pool_timeout=busy,
        connect_args={"timeout": ANSWER_SECONDS} if address.get_driver_name() == "pg8000" else {},
    )  # fmt: skip

    if engine.dialect.name == "postgresql":

        @event.listens_for(engine, "connect")
        def connected(raw: Any, _record: Any) -> None:
            cursor = raw.cursor()
            for setting, seconds in (
                ("lock_timeout", _LOCK_SECONDS),
                ("idle_in_transaction_session_timeout", _IDLE_SECONDS),
            ):
                cursor.execute(f"SET {setting} = {round(seconds * 1000)}")
            cursor.close()
            raw.commit()

    @event.listens_for(engine, "handle_error")
    def failed(context: ExceptionContext) -> SQLAlchemyError | None:
        """Make an error of SQLAlchemy of what pg8000 lets through."""
        if not isinstance(context.original_exception, OSError):
            return None
        context.is_disconnect = True
        return OperationalError(context.statement, None, context.original_exception)

    return engine


def _use_wal(connection: Connection) -> None:
    """Have readers and the writer not wait for each other; kept by the file, so asked for once.

    Asked outside of `connected`, where its lock could not be waited for with patience.
    """
    info = connection.info
    if not info.get("wal"):
        connection.exec_driver_sql("PRAGMA journal_mode=WAL")
        info["wal"] = True
