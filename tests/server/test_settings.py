"""Settings come from the environment; what is wrong is named, and secrets are not shown."""

from __future__ import annotations

import os
import stat

import pytest

from openeo_nc.errors import InvalidParameterError
from openeo_nc.server.backend import forget_secrets
from openeo_nc.server.serve import settings_of_environment
from openeo_nc.server.settings import Settings


def test_environment(monkeypatch, tmp_path):
    for name, value in {
        "DATA": str(tmp_path), "CATALOGUES": "https://a.org, https://b.org/c.json,",
        "DEVELOPMENT": "true", "USERS": '{"ada": "lovelace"}', "SYNC_SECONDS": "10",
        "OIDC": '[{"id": "x", "title": "X", "issuer": "https://x.org/", "clients": ["c"]}]',
        "URL": "https://nc.example.org/",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"OPENEO_NC_{name}", value)
    settings = settings_of_environment()
    assert settings.catalogues == ("https://a.org", "https://b.org/c.json")
    assert settings.users["ada"].get_secret_value() == "lovelace"
    assert settings.oidc[0].issuer == "https://x.org"
    assert settings.url == "https://nc.example.org"
    assert "lovelace" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("SYNC_SECONDS", "-1", "OPENEO_NC_SYNC_SECONDS"),
        ("USERS", '{"ada": "lovelace"}', "OPENEO_NC_DEVELOPMENT"),
        ("OIDC", '[{"id": "x", "title": "X", "issuer": "http://x.org"}]', "https"),
    ],
)
def test_what_is_wrong_is_named(monkeypatch, name, value, message):
    monkeypatch.setenv(f"OPENEO_NC_{name}", value)
    with pytest.raises(InvalidParameterError, match=message) as caught:
        settings_of_environment()
    assert "lovelace" not in str(caught.value)


def test_the_secret_is_made_once_for_this_user_only(tmp_path):
    settings = Settings(data=tmp_path / "data")
    secret = settings.secret_bytes()
    assert len(secret) >= 32
    assert settings.secret_bytes() == secret
    mode = stat.S_IMODE((tmp_path / "data" / "secret").stat().st_mode)
    assert mode == 0o600
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["secret"]
    assert Settings(data=tmp_path / "other").secret_bytes() != secret


def test_secrets_leave_the_environment(monkeypatch):
    for name in ("SECRET", "METRICS_TOKEN", "DATABASE", "USERS", "TITLE"):
        monkeypatch.setenv(f"OPENEO_NC_{name}", "known")
    forget_secrets()
    known = [name for name, value in os.environ.items() if value == "known"]
    assert known == ["OPENEO_NC_TITLE"]
