"""Log-in, tokens, and what they open; an OpenID Connect issuer runs in the test."""

from __future__ import annotations

import base64
import time

import jwt
import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import rsa
from live_server import USERS, serving
from oidc_issuer import issuing
from openeo.rest.auth.config import AuthConfig
from openeo_api import check
from pydantic import ValidationError

from openeo_nc.errors import (
    AuthenticationRequiredError,
    AuthenticationSchemeInvalidError,
    CredentialsInvalidError,
    IssuerUnavailableError,
    TokenInvalidError,
)
from openeo_nc.server.accounts import Accounts
from openeo_nc.server.settings import OIDCProvider, Settings

PRIVATE = [
    ("get", "/me"), ("get", "/jobs"), ("post", "/jobs"), ("get", "/jobs/x"), ("patch", "/jobs/x"),
    ("delete", "/jobs/x"), ("get", "/jobs/x/logs"), ("get", "/jobs/x/results"),
    ("post", "/jobs/x/results"), ("delete", "/jobs/x/results"), ("get", "/process_graphs"),
    ("get", "/process_graphs/x"), ("put", "/process_graphs/x"), ("delete", "/process_graphs/x"),
    ("get", "/files"), ("get", "/files/x"), ("put", "/files/x"), ("delete", "/files/x"),
    ("post", "/result"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), PRIVATE)
def test_what_is_of_users_is_for_users(url, method, path):
    for header, code, status in (
        (None, "AuthenticationRequired", 401),
        ("Bearer basic//wrong", "TokenInvalid", 403),
        ("Bearer basic//", "AuthenticationSchemeInvalid", 403),
        ("Bearer oidc/nobody/token", "AuthenticationSchemeInvalid", 403),
        ("Basic YWRhOmxvdmVsYWNl", "AuthenticationSchemeInvalid", 403),
    ):
        headers = {} if header is None else {"Authorization": header}
        answer = requests.request(method, url + path, headers=headers, json={}, timeout=30)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert set(answer.json()) == {"id", "code", "message", "links"}


def test_me(url, token):
    answer = requests.get(f"{url}/me", headers=token(), timeout=30)
    check(answer, "/me")
    assert answer.json()["name"] == "ada"
    other = requests.get(f"{url}/me", headers=token("grace"), timeout=30)
    assert other.json()["user_id"] != answer.json()["user_id"]


@pytest.mark.parametrize(
    ("header", "status", "code"),
    [
        (None, 401, "AuthenticationRequired"),
        ("Basic " + base64.b64encode(b"ada:wrong").decode(), 403, "CredentialsInvalid"),
        ("Basic " + base64.b64encode(b"nobody:lovelace").decode(), 403, "CredentialsInvalid"),
        ("Basic " + base64.b64encode(b"ada").decode(), 403, "CredentialsInvalid"),
        ("Basic !", 403, "CredentialsInvalid"),
        ("Bearer x", 403, "AuthenticationSchemeInvalid"),
    ],
)
def test_wrong_passwords(url, header, status, code):
    headers = {} if header is None else {"Authorization": header}
    answer = requests.get(f"{url}/credentials/basic", headers=headers, timeout=30)
    check(answer, "/credentials/basic")
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_tokens_expire_and_are_of_one_secret(tmp_path):
    settings = Settings(data=tmp_path, development=True, users=USERS)
    accounts = Accounts(settings, b"secret")
    basic = "Basic " + base64.b64encode(b"ada:lovelace").decode()
    bearer = f"Bearer basic//{accounts.log_in(basic)}"
    assert accounts.user(bearer).name == "ada"
    with pytest.raises(TokenInvalidError):
        Accounts(settings, b"other").user(bearer)
    with pytest.raises(TokenInvalidError):  # ada has left
        Accounts(settings.model_copy(update={"users": {}}), b"secret").user(bearer)
    with pytest.raises(AuthenticationSchemeInvalidError):  # passwords are for development
        Accounts(settings.model_copy(update={"development": False}), b"secret").user(bearer)
    brief = Accounts(settings.model_copy(update={"token_seconds": 1}), b"secret")
    bearer = f"Bearer basic//{brief.log_in(basic)}"
    time.sleep(1.1)
    with pytest.raises(TokenInvalidError):
        brief.user(bearer)


def test_unsigned_tokens_are_refused(tmp_path):
    accounts = Accounts(Settings(data=tmp_path, development=True, users=USERS), b"secret")
    claims = {"sub": "ada", "exp": int(time.time()) + 60, "aud": "openeo_nc"}
    unsigned = jwt.encode(claims, None, algorithm="none")
    with pytest.raises(TokenInvalidError):
        accounts.user(f"Bearer basic//{unsigned}")


def test_passwords_are_for_development_only(tmp_path):
    with pytest.raises(ValidationError, match="OPENEO_NC_DEVELOPMENT") as caught:
        Settings(data=tmp_path, users=USERS)
    assert "lovelace" not in str(caught.value)
    accounts = Accounts(Settings(data=tmp_path), b"secret")
    with pytest.raises(CredentialsInvalidError):
        accounts.log_in("Basic " + base64.b64encode(b"ada:lovelace").decode())
    with pytest.raises(AuthenticationRequiredError):
        accounts.user("")


# --- OpenID Connect ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def issuer():
    with issuing() as server:
        yield server


@pytest.fixture(scope="module")
def provider(issuer):
    return OIDCProvider(id="test", title="Test", issuer=issuer.url, clients=("robot",))


@pytest.fixture(scope="module")
def oidc_url(provider, cluster, tmp_path_factory, data):
    settings = Settings(
        data=tmp_path_factory.mktemp("oidc"), scheduler=cluster, oidc=(provider,),
        catalogues=(str(data / "demo" / "catalog.json"),),
    )  # fmt: skip
    with serving(settings) as address:
        yield address


def test_client_logs_in_with_client_credentials(oidc_url, connect, monkeypatch, tmp_path):
    monkeypatch.setattr(AuthConfig, "default_path", lambda: tmp_path / "auth.json")
    connection = connect(place=oidc_url)
    connection.authenticate_oidc_client_credentials("robot", "client secret", provider_id="test")
    assert connection.describe_account()["name"] == "Robot"
    assert connection.list_jobs() == []


def test_providers_are_listed_and_passwords_are_not(oidc_url, issuer):
    response = requests.get(f"{oidc_url}/credentials/oidc", timeout=30)
    check(response, "/credentials/oidc")
    assert response.json()["providers"][0]["issuer"] == issuer.url
    assert requests.get(f"{oidc_url}/credentials/basic", timeout=30).status_code == 404
    paths = [one["path"] for one in requests.get(oidc_url, timeout=30).json()["endpoints"]]
    assert "/credentials/oidc" in paths
    assert "/credentials/basic" not in paths


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": 1},
        {"exp": None},
        {"iss": "https://somebody.else"},
        {"azp": "other client"},
        {"sub": None},
        {"kid": "two"},
        {"key": rsa.generate_private_key(public_exponent=65537, key_size=2048)},
    ],
    ids=["expired", "forever", "issuer", "client", "nobody", "key id", "key"],
)
def test_tokens_of_others_are_refused(provider, issuer, tmp_path, changes):
    accounts = Accounts(Settings(data=tmp_path, oidc=(provider,)), b"secret")
    assert accounts.user(f"Bearer oidc/test/{issuer.token()}").name == "Robot"
    with pytest.raises(TokenInvalidError):
        accounts.user(f"Bearer oidc/test/{issuer.token(**changes)}")


def test_tokens_signed_with_the_public_key_as_a_secret_are_refused(provider, issuer, tmp_path):
    accounts = Accounts(Settings(data=tmp_path, oidc=(provider,)), b"secret")
    claims = {"iss": issuer.url, "sub": "service", "exp": int(time.time()) + 60, "azp": "robot"}
    forged = jwt.encode(claims, b"k" * 32, algorithm="HS256", headers={"kid": "one"})
    with pytest.raises(TokenInvalidError):
        accounts.user(f"Bearer oidc/test/{forged}")
    with pytest.raises(TokenInvalidError):
        accounts.user("Bearer oidc/test/opaque")


def test_unknown_keys_do_not_make_the_server_ask_again(provider, issuer, tmp_path):
    accounts = Accounts(Settings(data=tmp_path, oidc=(provider,)), b"secret")
    accounts.user(f"Bearer oidc/test/{issuer.token()}")
    asked = issuer.asked
    for number in range(5):
        with pytest.raises(TokenInvalidError):
            accounts.user(f"Bearer oidc/test/{issuer.token(kid=str(number))}")
    assert issuer.asked == asked


def test_users_of_an_issuer_keep_their_id(provider, issuer, tmp_path):
    accounts = Accounts(Settings(data=tmp_path, oidc=(provider,)), b"secret")
    one = accounts.user(f"Bearer oidc/test/{issuer.token()}")
    assert accounts.user(f"Bearer oidc/test/{issuer.token(name='Other')}").id == one.id
    assert accounts.user(f"Bearer oidc/test/{issuer.token(sub='../x')}").id != one.id


@pytest.mark.parametrize(
    "wrong",
    [
        {"issuer": "http://example.org"},
        {"clients": ()},
        {"id": "a/b"},
    ],
)
def test_providers_that_would_be_unsafe_are_refused(wrong):
    with pytest.raises(ValidationError):
        OIDCProvider(
            **{"id": "x", "title": "X", "issuer": "https://x.org", "clients": ("c",)} | wrong
        )


def test_an_issuer_that_is_away_keeps_nobody_out_whose_keys_are_known(
    issuer, tmp_path, monkeypatch
):
    provider = OIDCProvider(id="test", title="Test", issuer=issuer.url, clients=("robot",))
    accounts = Accounts(Settings(data=tmp_path, oidc=(provider,)), b"secret")
    bearer = f"Bearer oidc/test/{issuer.token()}"
    asked = []

    def away(url, timeout):
        asked.append(url)
        raise requests.ConnectionError("away")

    with monkeypatch.context() as patched:
        patched.setattr(requests, "get", away)
        for _ in range(3):
            with pytest.raises(IssuerUnavailableError) as raised:
                accounts.user(bearer)
        assert (raised.value.code, raised.value.http_status) == ("InfrastructureBusy", 503)
    assert len(asked) == 1  # it is not asked by each request
    own = accounts._issuers["test"]
    own._next = 0.0
    assert accounts.user(bearer).name == "Robot"
    with monkeypatch.context() as patched:
        patched.setattr(requests, "get", away)
        own._next = 0.0
        for _ in range(3):
            assert accounts.user(bearer).name == "Robot"
        with pytest.raises(TokenInvalidError):
            accounts.user(f"Bearer oidc/test/{issuer.token(exp=1)}")
    assert len(asked) == 2
