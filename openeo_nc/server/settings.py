"""What a server is told from outside: environment variables that begin with OPENEO_NC_."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from openeo_nc.cluster import Certificates
from openeo_nc.cubes.tile_store import BYTES, Spec

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_MEBI = 1 << 20


class OIDCProvider(BaseModel):
    """An OpenID Connect provider whose access tokens are taken."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    id: str = Field(pattern=r"^[a-z0-9]+$")
    """Short name, part of the bearer tokens of its users."""
    title: str
    """Shown to users."""
    issuer: str
    """URL below which `.well-known/openid-configuration` lies; https, or http on this machine."""
    clients: tuple[str, ...] = ()
    """Ids of OIDC clients whose tokens are taken; the first is offered to openEO clients."""
    audience: tuple[str, ...] = ()
    """Audiences of tokens that are taken, beside the clients."""
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    """Scopes that clients ask for."""
    redirects: tuple[str, ...] = ("https://editor.openeo.org/",)
    """Where the offered client may send browsers back to."""

    @field_validator("issuer")
    @classmethod
    def _secure(cls, issuer: str) -> str:
        parts = urlsplit(issuer)
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
            raise ValueError("an issuer is an https URL")
        return issuer.rstrip("/")

    @model_validator(mode="after")
    def _for_somebody(self) -> Self:
        if not self.clients and not self.audience:
            raise ValueError(
                "name the clients or the audience whose tokens are taken: "
                "others of the issuer were made for somebody else"
            )
        return self


class Settings(BaseSettings):
    """All settings; each is the environment variable OPENEO_NC_<NAME>."""

    model_config = SettingsConfigDict(
        env_prefix="OPENEO_NC_",
        frozen=True,
        extra="ignore",
        hide_input_in_errors=True,  # it may be a password
        use_attribute_docstrings=True,
    )

    title: str = "openeo_nc"
    """Name of the service."""
    url: str | None = None
    """Public URL; default is the one that a request came to."""
    data: Path = Path("openeo-nc-data")
    """Folder of all that is kept; workers must reach it under the same path."""
    database: str | None = None
    """SQLAlchemy URL of the database; default is SQLite in `data`."""
    results: str | None = None
    """Results of batch jobs: URL of object storage, `s3://bucket/prefix`; default is in `data`."""
    results_redirect: bool = False
    """Whether links to results lead on to the object storage's own, which clients must reach."""
    tls_certificate: Path | None = None
    """PEM file of the API's certificate chain, with `tls_key`; default is HTTP without TLS."""
    tls_key: Path | None = None
    """PEM file of the key of that certificate."""
    scheduler: str | None = None
    """Address of a Dask scheduler; default is a cluster on this machine."""
    scheduler_ca: Path | None = None
    """PEM file of the authority of a scheduler at `tls://`, with the two that follow."""
    scheduler_certificate: Path | None = None
    """PEM file of this server's certificate for connections to the scheduler."""
    scheduler_key: Path | None = None
    """PEM file of the key of that certificate."""
    workers: int | None = Field(default=None, ge=1)
    """Worker processes of the cluster on this machine."""
    catalogues: Annotated[tuple[str, ...], NoDecode] = ()
    """STAC catalogues, commas between them; default is a synthetic scene, drawn at first start."""
    currency: str | None = None
    """Currency that jobs are billed in; without one nothing is billed."""
    price_core_hour: float = Field(default=0.0, ge=0)
    """Price of a core for an hour."""
    price_gb: float = Field(default=0.0, ge=0)
    """Price of 10^9 bytes of results."""
    tiles: str | None = None
    """Tile store: folder that workers reach under the same path, or URL of object storage."""
    tiles_bytes: int = Field(default=BYTES, ge=_MEBI)
    """Bytes that the tile store may hold."""
    secret: SecretStr | None = None
    """Signs tokens and links; default is made once and kept in `data`."""
    metrics_token: SecretStr | None = None
    """Bearer token with which Prometheus reads `/metrics`; without one there is no such page."""
    log_format: Literal["text", "json"] = "text"
    """Log lines for people, or JSON objects for machines."""
    development: bool = False
    """Whether users may log in with name and password."""
    users: dict[str, SecretStr] = Field(default_factory=dict)
    """Passwords by user name, JSON; only with `development`."""
    oidc: tuple[OIDCProvider, ...] = ()
    """OpenID Connect providers, JSON."""
    cors_origins: Annotated[tuple[str, ...], NoDecode] = ("*",)
    """Origins whose pages may call the API, commas between them; tokens travel in a header only."""
    max_request_bytes: int = Field(default=4 * _MEBI, ge=1)
    """Bytes of the body of a request."""
    max_upload_bytes: int = Field(default=256 * _MEBI, ge=1)
    """Bytes of an uploaded file."""
    max_workspace_bytes: int = Field(default=2048 * _MEBI, ge=1)
    """Bytes of all files of a user."""
    requests_per_minute: int = Field(default=1200, ge=1)
    """Requests of one address to one server process; a failed log-in counts as many."""
    jobs_per_user: int = Field(default=1000, ge=1)
    """Batch jobs that a user may have."""
    running_per_user: int = Field(default=2, ge=1)
    """Batch jobs of a user that run at once."""
    running_jobs: int = Field(default=4, ge=1)
    """Batch jobs of this server that run at once."""
    job_seconds: float = Field(default=24 * 3600, gt=0)
    """Time of a batch job."""
    sync_seconds: float = Field(default=300, gt=0)
    """Time of a synchronous result."""
    sync_at_once: int = Field(default=4, ge=1)
    """Synchronous results that are computed at once; as many again wait, others are refused."""
    udfs: bool = True
    """Whether code of users runs, in sandboxes."""
    udf_seconds: float = Field(default=300, gt=0)
    """Time of a UDF for one chunk."""
    udf_memory_bytes: int = Field(default=4096 * _MEBI, ge=64 * _MEBI)
    """Memory of a UDF, beyond that of the libraries loaded at its start."""
    udf_file_bytes: int = Field(default=256 * _MEBI, ge=1)
    """Bytes that a UDF may write in its working folder."""
    udf_uid: int | None = Field(default=None, ge=1000)
    """First of the user ids that sandboxes take where workers are the superuser."""
    private_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    """Private hosts that `load_stac`, URLs of UDFs and saved models may name, commas between."""
    model_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    """Hosts whose embedding models users may name by the address of an Item, commas between."""
    link_seconds: int = Field(default=7 * 24 * 3600, ge=1)
    """Time for which links to results are valid."""
    token_seconds: int = Field(default=24 * 3600, ge=1)
    """Time for which tokens of a log-in with a password are valid."""

    @field_validator("catalogues", "cors_origins", "private_hosts", "model_hosts", mode="before")
    @classmethod
    def _listed(cls, given: Any) -> Any:
        if isinstance(given, str):
            return tuple(part.strip() for part in given.split(",") if part.strip())
        return given

    @field_validator("data")
    @classmethod
    def _absolute(cls, data: Path) -> Path:
        return data.expanduser().absolute()

    @field_validator("url")
    @classmethod
    def _without_slash(cls, url: str | None) -> str | None:
        return None if url is None else url.rstrip("/")

    @model_validator(mode="after")
    def _passwords_in_development(self) -> Self:
        if self.users and not self.development:
            raise ValueError("users with passwords need OPENEO_NC_DEVELOPMENT=true")
        if len({provider.id for provider in self.oidc}) != len(self.oidc):
            raise ValueError("two OIDC providers have one id")
        return self

    @field_validator("results")
    @classmethod
    def _storage(cls, results: str | None) -> str | None:
        if results is not None and urlsplit(results).scheme not in ("s3", "gs"):
            raise ValueError("results are in object storage, s3://bucket/prefix or gs://")
        return results

    @model_validator(mode="after")
    def _whole_certificates(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("a certificate of the API needs its key, and a key its certificate")
        files = (self.scheduler_ca, self.scheduler_certificate, self.scheduler_key)
        if any(files) and not (all(files) and (self.scheduler or "").startswith("tls://")):
            raise ValueError(
                "connections to a scheduler with TLS need its address, tls://host:port, an "
                "authority, a certificate and a key"
            )
        return self

    def certificates(self) -> Certificates | None:
        """Certificates of connections to the scheduler."""
        ca, certificate, key = self.scheduler_ca, self.scheduler_certificate, self.scheduler_key
        if ca is None or certificate is None or key is None:
            return None
        return Certificates(ca=str(ca), certificate=str(certificate), key=str(key))

    def folder(self) -> Path:
        """The folder `data`; where it is made, no other user of the machine may look into it."""
        self.data.parent.mkdir(parents=True, exist_ok=True)
        self.data.mkdir(mode=0o700, exist_ok=True)
        return self.data

    def database_url(self) -> str:
        """The database's SQLAlchemy URL; the folder of SQLite's file is made."""
        if self.database is not None:
            return self.database
        return f"sqlite:///{self.folder() / 'jobs.sqlite'}"

    def tile_store(self) -> Spec | None:
        """The tile store, if there is one."""
        return None if not self.tiles else Spec.at(self.tiles, self.tiles_bytes)

    def secret_bytes(self) -> bytes:
        """The secret; made, and readable for this user only, where none is given."""
        if self.secret is not None:
            return self.secret.get_secret_value().encode()
        path = self.folder() / "secret"
        if not path.exists():
            _write_once(path, secrets.token_hex(32).encode())
        return path.read_bytes()

    def secrets(self) -> tuple[str, ...]:
        """All passwords and keys that were given, so that logs leave them out."""
        return tuple(_secrets(self.model_dump()))


def _secrets(value: Any) -> Iterator[str]:
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, dict):
        for member in value.values():
            yield from _secrets(member)
    elif isinstance(value, list | tuple):
        for member in value:
            yield from _secrets(member)


def _write_once(path: Path, content: bytes) -> None:
    """Write a file that only this user reads, whole or not at all, unless another was first."""
    own = path.with_name(f"{path.name}.{os.getpid()}")
    with os.fdopen(os.open(own, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as opened:
        opened.write(content)
    with suppress(FileExistsError):
        os.link(own, path)
    own.unlink()
