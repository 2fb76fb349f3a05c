"""Where calls may go: over HTTPS, or over plain HTTP to this machine only."""

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Origin:
    """A scheme, a host in lower case, and a port."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> "Origin":
        """Return the origin of an absolute http or https URL; raises `ValueError` for anything else."""
        parts = urlsplit(url)
        if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or "@" in parts.netloc:
            raise ValueError("not an http or https URL")
        return cls(parts.scheme, parts.hostname.lower(), parts.port or _DEFAULT_PORTS[parts.scheme])

    @property
    def is_loopback(self) -> bool:
        """Whether the host is this machine by its very name: `localhost` or a loopback address."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


_DEFAULT_PORTS = {"http": 80, "https": 443}


def parse_base_url(text: str) -> str:
    """Return a provider's base URL without a slash at its end.

    Raises `ValueError` with a sentence for the operator where calls must not go there.
    """
    parts = urlsplit(text)
    try:
        origin = Origin.of(text)
    except ValueError:
        raise ValueError("must look like https://api.example.org") from None
    if parts.query or parts.fragment:
        raise ValueError("must not have a query or a fragment")
    if origin.scheme != "https" and not origin.is_loopback:
        raise ValueError("must begin with https:// (plain http is for loopback addresses only)")
    return text.rstrip("/")
