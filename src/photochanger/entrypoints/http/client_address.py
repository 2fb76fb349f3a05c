"""Whose request it is: the address of the client, where there may be proxies on the way.

Whoever sends a request may write any `X-Forwarded-For` in it, and each proxy adds the address that it was
asked from at the end. So the header is read from its end, and only as far as trusted proxies wrote it.
"""

import ipaddress
import re
from collections.abc import Collection, Iterator
from ipaddress import IPv4Address, IPv6Address

from litestar.types import Scope

from photochanger.entrypoints.http.heads import header_values
from photochanger.entrypoints.settings import Network

_HEX = r"[0-9a-fA-F:.]{2,45}"
_ENTRY = re.compile(rf"\[({_HEX})](?::\d{{1,5}})?|([\d.]{{7,15}}):\d{{1,5}}|({_HEX})", re.ASCII)
"""With a port or without; an IPv6 address with a port has brackets."""


def client_address(scope: Scope, trusted: Collection[Network]) -> str:
    """Return the client's address; empty where there is none, as on a Unix socket.

    That is the peer, unless it is a trusted proxy; then it is the last entry of `X-Forwarded-For` that is not
    one itself. An entry that is no address ends the search: what stands before it proves nothing.
    """
    address = _parsed(scope["client"][0].partition("%")[0]) if scope["client"] else None
    for forwarded in _forwarded(scope):
        if address is None or not _is_trusted(address, trusted):
            break
        entry = _parsed(forwarded)
        if entry is None:
            break
        address = entry
    return "" if address is None else str(address)


def _forwarded(scope: Scope) -> Iterator[str]:
    for value in reversed(header_values(scope, b"x-forwarded-for")):
        yield from reversed([entry.strip() for entry in value.decode("latin-1").split(",")])


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    entry = _ENTRY.fullmatch(text)
    if entry is None or entry.lastindex is None:
        return None
    try:
        address = ipaddress.ip_address(entry[entry.lastindex])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _is_trusted(address: IPv4Address | IPv6Address, trusted: Collection[Network]) -> bool:
    return any(address in network for network in trusted)
