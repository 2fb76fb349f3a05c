"""Where an S3-compatible service keeps our files, and as whom we ask for them."""

from dataclasses import dataclass, field

DEFAULT_REGION = "us-east-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """A bucket, or the part of it below `prefix` (without a slash at either end; empty: all of it).

    `endpoint` is the service's address, None for Amazon's own. Without an `access_key_id` the credentials are
    those that the machine or the container has by itself.
    """

    name: str
    prefix: str = ""
    endpoint: str | None = None
    region: str = DEFAULT_REGION
    access_key_id: str | None = field(default=None, repr=False)
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
