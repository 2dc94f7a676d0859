"""Users' files: with the client, and with paths that want out."""

from __future__ import annotations

import http.client
import json
from urllib.parse import urlsplit

import pytest
import requests
from openeo.rest import OpenEoApiError
from openeo_api import check

from openeo_nc.errors import (
    FileOperationUnsupportedError,
    FilePathInvalidError,
    FileSizeExceededError,
    StorageQuotaExceededError,
)
from openeo_nc.server.accounts import User
from openeo_nc.server.settings import Settings
from openeo_nc.server.workspace import Workspaces

ADA = User(id="basic-1", name="ada")


def test_client_uploads_lists_downloads_and_deletes(connection, connect, tmp_path):
    (tmp_path / "field.geojson").write_text('{"type": "Point"}')
    file = connection.upload_file(tmp_path / "field.geojson", target="borders/münster.geojson")
    assert [str(one.path) for one in connection.list_files()] == ["borders/münster.geojson"]
    file.download(tmp_path / "again.geojson")
    assert (tmp_path / "again.geojson").read_text() == '{"type": "Point"}'
    other = connect("grace")
    assert list(other.list_files()) == []
    with pytest.raises(OpenEoApiError, match="FileNotFound"):
        other.get_file("borders/münster.geojson").download(tmp_path / "stolen")
    file.delete()
    assert list(connection.list_files()) == []


def test_answers_are_as_specified(url, token):
    place = f"{url}/files/a/b.txt"
    put = requests.put(place, data=b"12345", headers=token(), timeout=30)
    check(put, "/files/{path}", "put")
    assert put.json() == {"path": "a/b.txt", "size": 5, "modified": put.json()["modified"]}
    check(requests.get(f"{url}/files", headers=token(), timeout=30), "/files")
    folder = requests.get(f"{url}/files/a", headers=token(), timeout=30)
    check(folder, "/files/{path}")
    assert folder.json()["code"] == "FileOperationUnsupported"
    below = requests.put(f"{place}/c", data=b"", headers=token(), timeout=30)
    assert below.json()["code"] == "FileOperationUnsupported"
    again = requests.put(place, data=b"6", headers=token(), timeout=30)
    assert again.json()["size"] == 1
    assert requests.delete(place, headers=token(), timeout=30).status_code == 204
    missing = requests.delete(place, headers=token(), timeout=30)
    assert (missing.status_code, missing.json()["code"]) == (404, "FileNotFound")


PATHS = ["../x", "a/../../x", "%2e%2e/x", "..%2fx", "a//b", "./x", "a/.", "%2fetc/passwd", "a%5cb",
         "a%00b", "a%0ab", "a:b", "x" * 300, "a/" * 30 + "b"]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_paths_stay_in_the_users_folder(url, token, data, method, path):
    before = {p for p in data.rglob("*") if "jobs.sqlite" not in p.name}
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)  # sends paths as is
    connection.request(method, f"/files/{path}", body=b"x", headers=token())
    answer = connection.getresponse()
    assert answer.status in (400, 404)
    assert json.loads(answer.read())["code"] in ("FilePathInvalid", "NotFound")
    connection.close()
    assert {p for p in data.rglob("*") if "jobs.sqlite" not in p.name} - {data / "arriving"} == (
        before - {data / "arriving"}
    )


def test_links_out_of_the_folder_are_not_listed(tmp_path):
    workspaces = Workspaces(Settings(data=tmp_path))
    folder = tmp_path / "files" / ADA.id
    folder.mkdir(parents=True)
    (folder / "link").symlink_to("/etc/passwd")
    assert workspaces.listed(ADA) == []


def test_limits_of_files_and_of_folders(tmp_path):
    workspaces = Workspaces(Settings(data=tmp_path, max_upload_bytes=10, max_workspace_bytes=15))
    with pytest.raises(FileSizeExceededError), workspaces.upload(ADA, "large") as file:
        file.write(b"0123456789")
        file.write(b"0")
    with workspaces.upload(ADA, "one") as file:
        file.write(b"0123456789")
    with pytest.raises(StorageQuotaExceededError), workspaces.upload(ADA, "two") as file:
        file.write(b"0123456789")
    assert [one.path for one in workspaces.listed(ADA)] == ["one"]
    assert workspaces.free(ADA) == 5
    assert not list((tmp_path / "arriving").iterdir())


def test_uploads_beside_each_other_share_what_is_free(tmp_path):
    workspaces = Workspaces(Settings(data=tmp_path, max_workspace_bytes=15))
    with workspaces.upload(ADA, "one") as one:
        one.write(b"01234567")
        with pytest.raises(StorageQuotaExceededError), workspaces.upload(ADA, "two") as two:
            two.write(b"01234567")
        with pytest.raises(StorageQuotaExceededError), workspaces.upload(ADA, "two") as two:
            two.write(b"0")
            with workspaces.upload(User(id="basic-2", name="grace"), "hers") as hers:
                hers.write(b"0123456789abcde")
            two.write(b"1234567")
        one.write(b"89abcde")
    with workspaces.upload(ADA, "one") as one:  # the old one goes
        pass
    assert workspaces.free(ADA) == 15


def test_an_upload_that_was_overtaken_is_refused(tmp_path):
    workspaces = Workspaces(Settings(data=tmp_path, max_workspace_bytes=15))
    with pytest.raises(StorageQuotaExceededError), workspaces.upload(ADA, "late") as late:
        with workspaces.upload(ADA, "early") as early:
            early.write(b"01234567")
        late.write(b"01234567")
    assert [one.path for one in workspaces.listed(ADA)] == ["early"]
    assert not list((tmp_path / "arriving").iterdir())


def test_an_upload_that_breaks_off_leaves_what_was_there(tmp_path):
    workspaces = Workspaces(Settings(data=tmp_path))
    with workspaces.upload(ADA, "one") as file:
        file.write(b"old")
    with pytest.raises(ConnectionError), workspaces.upload(ADA, "one") as file:
        file.write(b"ne")
        raise ConnectionError
    assert workspaces.find(ADA, "one").read_bytes() == b"old"
    assert not list((tmp_path / "arriving").iterdir())


def test_empty_folders_go(tmp_path):
    workspaces = Workspaces(Settings(data=tmp_path))
    for path in ("a/b/one", "a/two"):
        with workspaces.upload(ADA, path) as file:
            file.write(b"x")
    workspaces.delete(ADA, "a/b/one")
    assert not (tmp_path / "files" / ADA.id / "a" / "b").exists()
    assert workspaces.find(ADA, "a/two").is_file()
    with pytest.raises(FileOperationUnsupportedError):
        workspaces.find(ADA, "a")
    with pytest.raises(FilePathInvalidError):
        workspaces.find(ADA, "")
