"""Where media are kept, as the environment says it."""

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from photochanger.adapters.filesystem import FilesystemMediaStore
from photochanger.adapters.object_store.bucket import Bucket
from photochanger.adapters.object_store.store import ObjectMediaStore
from photochanger.domain.errors import ValidationFailed
from photochanger.entrypoints.container import Container
from photochanger.entrypoints.settings import read_environment

KEYS = {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "canary/+secret"}


def read(**variables: str) -> Bucket | None:
    """Return the bucket in an environment."""
    return read_environment(variables).media_bucket


def wrong(variables: Mapping[str, str]) -> set[str]:
    """Return the names of the variables that are refused; none of their values is repeated."""
    with pytest.raises(ValidationFailed) as failed:
        read_environment(variables)
    assert "canary" not in str(failed.value)
    return {problem.field for problem in failed.value.problems}


def test_unset_means_a_folder() -> None:
    environment = read_environment({**KEYS, "AWS_ENDPOINT_URL": "not a URL", "MEDIA_ROOT": "/mnt/media"})
    assert environment.media_bucket is None
    assert environment.media_dir == Path("/mnt/media")


def test_amazons_own_service_with_the_machines_credentials() -> None:
    assert read(MEDIA_URL="s3://photos-1") == Bucket(name="photos-1")


def test_all_of_it() -> None:
    bucket = read(
        **KEYS,
        MEDIA_URL="s3://photos/booth-7/media/",
        AWS_SESSION_TOKEN="canary-token",
        AWS_REGION="eu-central-1",
        AWS_DEFAULT_REGION="eu-west-1",
        AWS_ENDPOINT_URL="https://elsewhere.example.org",
        AWS_ENDPOINT_URL_S3="https://s3.example.org:9000/",
    )
    assert bucket == Bucket(
        name="photos",
        prefix="booth-7/media",
        endpoint="https://s3.example.org:9000",
        region="eu-central-1",
        access_key_id="AKIAEXAMPLE",
        secret_access_key="canary/+secret",
        session_token="canary-token",
    )
    assert "canary" not in repr(bucket)


def test_the_default_region_is_a_fallback() -> None:
    bucket = read(MEDIA_URL="s3://photos", AWS_DEFAULT_REGION="eu-west-1")
    assert bucket is not None
    assert bucket.region == "eu-west-1"


@pytest.mark.parametrize(
    "url",
    [
        "s3://",
        "s3://ab",
        "s3://Photos",
        "s3://-photos",
        "s3://photos..canary",
        "s3://photos_canary",
        "s3://user:canary@photos",
        "s3://photos:9000",
        "s3://photos//media",
        "s3://photos/../media",
        "s3://photos/./media",
        "s3://photos/media?canary",
        "s3://photos/фото",
        "s3://photos/a b",
        "s3://photos/" + "a" * 513,
        "https://photos.example.org",
        "/mnt/media",
        "photos",
    ],
)
def test_what_is_no_bucket_is_refused(url: str) -> None:
    assert wrong({"MEDIA_URL": url}) == {"MEDIA_URL"}


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://127.0.0.1:9000",
        "http://[::1]:9000",
        "http://localhost:9000",
        "https://10.0.0.7",
        "https://s3:443",
    ],
)
def test_an_endpoint_is_on_this_machine_or_encrypted(endpoint: str) -> None:
    bucket = read(MEDIA_URL="s3://photos", AWS_ENDPOINT_URL=endpoint)
    assert bucket is not None
    assert bucket.endpoint == endpoint


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://10.0.0.7:9000",
        "http://minio.canary.example.org",
        "http://localhost.canary.example.org",
        "https://user:canary@s3.example.org",
        "https://s3.example.org/canary",
        "https://s3.example.org?canary",
        "https://s3.example.org:0",
        "https://s3.example.org:99999",
        "s3.example.org",
        "ftp://s3.example.org",
    ],
)
@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_what_is_no_endpoint_is_refused(variable: str, endpoint: str) -> None:
    assert wrong({"MEDIA_URL": "s3://photos", variable: endpoint}) == {variable}


def test_plain_http_can_be_allowed() -> None:
    bucket = read(MEDIA_URL="s3://photos", AWS_ENDPOINT_URL="http://minio:9000", AWS_ALLOW_HTTP="True")
    assert bucket is not None
    assert bucket.endpoint == "http://minio:9000"


@pytest.mark.parametrize(
    ("variables", "refused"),
    [
        ({"MEDIA_ROOT": "/mnt/media"}, {"MEDIA_ROOT"}),
        ({"AWS_ACCESS_KEY_ID": "canary"}, {"AWS_SECRET_ACCESS_KEY"}),
        ({"AWS_SECRET_ACCESS_KEY": "canary"}, {"AWS_ACCESS_KEY_ID"}),
        ({"AWS_SESSION_TOKEN": "canary"}, {"AWS_ACCESS_KEY_ID"}),
        ({**KEYS, "AWS_SECRET_ACCESS_KEY": "canary canary"}, {"AWS_SECRET_ACCESS_KEY"}),
        ({"AWS_ALLOW_HTTP": "canary"}, {"AWS_ALLOW_HTTP"}),
        ({"AWS_REGION": "EU canary"}, {"AWS_REGION"}),
        ({"AWS_DEFAULT_REGION": "EU canary"}, {"AWS_DEFAULT_REGION"}),
        (
            {"WORKERS": "0", "AWS_REGION": "?", "AWS_ENDPOINT_URL": "?"},
            {"WORKERS", "AWS_REGION", "AWS_ENDPOINT_URL"},
        ),
    ],
)
def test_every_mistake_is_reported(variables: Mapping[str, str], refused: set[str]) -> None:
    assert wrong({"MEDIA_URL": "s3://photos", **variables}) == refused


def test_the_container_chooses_the_store(tmp_path: Path) -> None:
    folder = Container(environment=read_environment({"MEDIA_ROOT": str(tmp_path)}), database_url="")
    assert isinstance(folder.media_store(), FilesystemMediaStore)
    variables = {"MEDIA_URL": "s3://photos", "PHOTOCHANGER_DATA_DIR": str(tmp_path)}
    bucket = Container(environment=read_environment(variables), database_url="")
    assert isinstance(bucket.media_store(), ObjectMediaStore)
    with bucket.store().scratch() as file:
        assert file.read() == b""
    assert (tmp_path / "media" / "scratch").is_dir()


def test_without_obstore_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "photochanger.adapters.object_store.store", None)
    container = Container(environment=read_environment({"MEDIA_URL": "s3://photos"}), database_url="")
    with pytest.raises(ValidationFailed, match=r"photochanger\[s3\]"):
        container.media_bucket()
