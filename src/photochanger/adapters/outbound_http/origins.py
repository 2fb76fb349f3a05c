"""Where calls may go: over HTTPS, or over plain HTTP to this machine only."""

import ipaddress
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from yarl import URL

from photochanger.adapters.outbound_http.guard import Endpoint
from photochanger.adapters.outbound_http.outcomes import Forbidden

_PLAIN_URL: Final = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+(?:[/?#][!-\[\]-~]*)?")
"""No user, no zone id, and nothing that two parsers could read in two ways: backslashes, blanks, controls."""

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Origin:
    """A scheme, a host in lower case, and a port."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> "Origin":
        """Return the origin of an absolute http or https URL; raises `ValueError` for anything else."""
        if not _PLAIN_URL.fullmatch(url):
            raise ValueError("not an http or https URL")
        parts = urlsplit(url)
        if not parts.hostname:
            raise ValueError("a URL without a host")
        return cls(parts.scheme, parts.hostname.lower(), parts.port or _DEFAULT_PORTS[parts.scheme])

    @property
    def is_loopback(self) -> bool:
        """Whether the host is this machine by its very name: `localhost` or a loopback address."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def endpoints(self) -> frozenset[Endpoint]:
        """The addresses and ports of an origin on this machine; none of any other."""
        if not self.is_loopback:
            return frozenset()
        hosts = ("127.0.0.1", "::1") if self.host == "localhost" else (self.host,)
        return frozenset((host, self.port) for host in hosts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Destinations:
    """The places that somebody else's URL may name.

    They are `domains` and all their subdomains, over HTTPS on port 443, and `origins` exactly.
    """

    domains: tuple[str, ...]
    origins: tuple[Origin, ...] = ()

    def check(self, url: str) -> None:
        """Raise `Forbidden` where `url` names another place, or cannot be read in just one way."""
        try:
            origin = Origin.of(url)
        except ValueError:
            raise Forbidden("not a plain http or https URL") from None
        if not self._has(origin):
            raise Forbidden("not one of the hosts that are allowed")
        # Whoever connects reads the URL with another parser; what the two read must be the same.
        read = URL(url, encoded=True)
        if (read.scheme, read.host, read.port) != (origin.scheme, origin.host, origin.port):
            raise Forbidden("a URL that can be read in two ways")

    def _has(self, origin: Origin) -> bool:
        if origin in self.origins:
            return True
        in_domains = any(
            origin.host == domain or origin.host.endswith(f".{domain}") for domain in self.domains
        )
        return in_domains and (origin.scheme, origin.port) == ("https", 443)


def parse_base_url(text: str) -> str:
    """Return a provider's base URL without a slash at its end.

    Raises `ValueError` with a sentence for the operator where calls must not go there.
    """
    try:
        origin = Origin.of(text)
    except ValueError:
        raise ValueError("must look like https://api.example.org") from None
    if "?" in text or "#" in text:
        raise ValueError("must not have a query or a fragment")
    if origin.scheme != "https" and not origin.is_loopback:
        raise ValueError("must begin with https:// (plain http is for loopback addresses only)")
    return text.rstrip("/")
