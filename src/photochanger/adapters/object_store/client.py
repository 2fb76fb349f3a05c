"""Connections to the service, through obstore."""

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from obstore.store import S3Store

from photochanger.adapters.object_store.bucket import Bucket

if TYPE_CHECKING:
    from obstore.store import S3Config  # not there at run time

CONNECT_SEC: Final = 2.0

REQUEST_SEC: Final = 60.0
"""How long one request may take, its body included: as long as the longest deadline of a photo."""

DOWNLOAD_SEC: Final = 24 * 3600.0
"""The same for what is handed on to a guest, who may be slow; it is each chunk that has its time."""

_RETRIES: Final = 2
_RETRY_FOR: Final = timedelta(seconds=10)
_FIRST_PAUSE: Final = timedelta(milliseconds=100)
_LONGEST_PAUSE: Final = timedelta(seconds=1)


def connect(bucket: Bucket, *, request_sec: float = REQUEST_SEC, deletes_many: bool = False) -> S3Store:
    """Return a client that sees nothing but what is below the bucket's prefix. Nothing is sent yet.

    One that `deletes_many` deletes with the request for many (DeleteObjects), even a single object.
    """
    return S3Store(
        bucket.name,
        prefix=bucket.prefix or None,
        config=_config(bucket, deletes_many=deletes_many),
        client_options={
            "allow_http": bucket.endpoint is not None and bucket.endpoint.startswith("http://"),
            "connect_timeout": timedelta(seconds=CONNECT_SEC),
            "timeout": timedelta(seconds=request_sec),
        },
        retry_config={
            "max_retries": _RETRIES,
            "retry_timeout": _RETRY_FOR,
            "backoff": {"init_backoff": _FIRST_PAUSE, "max_backoff": _LONGEST_PAUSE, "base": 2},
        },
    )


def _config(bucket: Bucket, *, deletes_many: bool) -> "S3Config":
    # DeleteObjects, which deletes many at once, is what the fewest services have.
    config: S3Config = {"region": bucket.region, "disable_bulk_delete": not deletes_many}
    if bucket.endpoint is not None:
        config["aws_endpoint_url_s3"] = bucket.endpoint  # counts more than whatever the environment says
    # With a dot in its name a bucket's own host name does not fit Amazon's certificate.
    config["virtual_hosted_style_request"] = bucket.endpoint is None and "." not in bucket.name
    if bucket.access_key_id is not None and bucket.secret_access_key is not None:
        config["access_key_id"] = bucket.access_key_id
        config["secret_access_key"] = bucket.secret_access_key
    if bucket.session_token is not None:
        config["session_token"] = bucket.session_token
    return config
