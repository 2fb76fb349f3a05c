"""`MEDIA_URL`, and what goes with it: the variables that every program for Amazon's S3 reads."""

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import urlsplit

from photochanger.adapters.object_store.bucket import DEFAULT_REGION, Bucket
from photochanger.domain.errors import Problem, ValidationFailed

BUCKET_VARIABLES: Final = (
    "MEDIA_URL",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_ALLOW_HTTP",
)
"""https://docs.aws.amazon.com/sdkref/latest/guide/settings-reference.html; `AWS_ALLOW_HTTP` is obstore's."""

# https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html and …/object-keys.html
_MEDIA_URL = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/([A-Za-z0-9!_.'()/-]{0,512}))?")
_VISIBLE = re.compile(r"[!-~]+")
_REGION = re.compile(r"[a-z0-9-]{1,64}")
_ENDPOINT = re.compile(r"(https?)://(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(?::[0-9]{1,5})?/?")


def read_bucket(environ: Mapping[str, str]) -> Bucket | None:
    """Return the bucket that `MEDIA_URL` names; None where it is unset: then the others do not matter.

    Raises `ValidationFailed` with every problem. Empty values count as unset.
    """
    variables = _Variables(environ)
    if "MEDIA_URL" not in variables.given:
        return None
    variables.check_media_root()
    variables.check_credentials()
    name, _, prefix = (variables.read("MEDIA_URL", _place) or "").partition("/")
    bucket = Bucket(
        name=name,
        prefix=prefix,
        endpoint=variables.endpoint(),
        region=variables.region() or DEFAULT_REGION,
        access_key_id=variables.read("AWS_ACCESS_KEY_ID", _visible),
        secret_access_key=variables.read("AWS_SECRET_ACCESS_KEY", _visible),
        session_token=variables.read("AWS_SESSION_TOKEN", _visible),
    )
    if variables.problems:
        raise ValidationFailed(variables.problems)
    return bucket


class _Variables:
    """What is given, and what is wrong with it."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.given = {name: value.strip() for name, value in environ.items() if value.strip()}
        self.problems: list[Problem] = []

    def read(self, variable: str, check: Callable[[str], str]) -> str | None:
        """Return the variable's value, or None where it is unset or wrong."""
        try:
            return check(self.given[variable]) if variable in self.given else None
        except ValueError as error:
            self._refuse(variable, str(error))
            return None

    def check_media_root(self) -> None:
        if "MEDIA_ROOT" in self.given:
            self._refuse("MEDIA_ROOT", "must not be set together with MEDIA_URL: it is one or the other")

    def check_credentials(self) -> None:
        key_id, secret, token = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"
        for missing, there in ((key_id, secret), (secret, key_id), (key_id, token)):
            if there in self.given and missing not in self.given:
                self._refuse(missing, f"must be set where {there} is")

    def region(self) -> str | None:
        return self.read("AWS_REGION", _region) or self.read("AWS_DEFAULT_REGION", _region)

    def endpoint(self) -> str | None:
        allow_http = self.read("AWS_ALLOW_HTTP", _true_or_false) == "true"
        found = [
            self.read(variable, lambda text: _endpoint(text, allow_http=allow_http))
            for variable in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
        ]
        return next(filter(None, found), None)

    def _refuse(self, variable: str, message: str) -> None:
        self.problems.append(Problem(field=variable, code="invalid", message=message))


def _place(text: str) -> str:
    """Return the bucket and the prefix, with one slash between them where there is a prefix."""
    match = _MEDIA_URL.fullmatch(text)
    if match is None or ".." in match[1]:
        raise ValueError(
            "must look like s3://bucket or s3://bucket/folder, with a bucket's name in lower case"
        )
    prefix = (match[2] or "").removesuffix("/")
    if prefix and not {"", ".", ".."}.isdisjoint(prefix.split("/")):
        raise ValueError("must not have an empty part, . or .. in its path")
    return f"{match[1]}/{prefix}".removesuffix("/")


def _endpoint(text: str, *, allow_http: bool) -> str:
    match = _ENDPOINT.fullmatch(text)
    if match is None or not _has_port(text):
        raise ValueError("must look like https://s3.example.org, without a path: the bucket is MEDIA_URL's")
    if match[1] == "http" and not allow_http and not _is_loopback(urlsplit(text).hostname or ""):
        raise ValueError(
            "must begin with https:// (plain http is for this machine, or with AWS_ALLOW_HTTP=true)"
        )
    return text.rstrip("/")


def _has_port(url: str) -> bool:
    """Say whether the port, if there is one, is one."""
    try:
        return urlsplit(url).port != 0
    except ValueError:
        return False


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _region(text: str) -> str:
    if not _REGION.fullmatch(text):
        raise ValueError("must look like eu-central-1")
    return text


def _visible(text: str) -> str:
    if not _VISIBLE.fullmatch(text):
        raise ValueError("must consist of visible ASCII characters")
    return text


def _true_or_false(text: str) -> str:
    if text.lower() not in {"true", "false"}:
        raise ValueError("must be one of true, false")
    return text.lower()
