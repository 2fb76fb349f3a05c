"""Which addresses calls that somebody else chose may go to: the public internet, and nothing else.

It is judged where a socket is made, for the very address that the socket is then connected to. So it does not
matter how the address was written, what a name resolved to a moment ago, or how many addresses it has.
"""

import ipaddress
import socket
from collections.abc import Collection
from typing import Final, TypeAlias

from aiohappyeyeballs import AddrInfoType

from photochanger.adapters.outbound_http.outcomes import Forbidden

Endpoint: TypeAlias = tuple[str, int]
"""An address as text and a port."""

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

# All that IANA's special-purpose address registries list, whether or not they call it globally reachable,
# https://www.iana.org/assignments/iana-ipv4-special-registry and …/iana-ipv6-special-registry, and more.
_SPECIAL_V4: Final = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "0.0.0.0/8",  # this network
            "10.0.0.0/8",  # private
            "100.64.0.0/10",  # carrier-grade NAT, and some clouds' metadata
            "127.0.0.0/8",  # loopback
            "168.63.129.16/32",  # a public address that is Azure's host inside Azure
            "169.254.0.0/16",  # link-local, and most clouds' metadata
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # IETF protocol assignments
            "192.0.2.0/24",  # documentation
            "192.31.196.0/24",  # AS112
            "192.52.193.0/24",  # AMT
            "192.88.99.0/24",  # 6to4 relays
            "192.168.0.0/16",  # private
            "192.175.48.0/24",  # AS112
            "198.18.0.0/15",  # benchmarking
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, broadcast
        ),
    )
)
_GLOBAL_UNICAST_V6: Final = ipaddress.IPv6Network("2000::/3")
"""What RFC 4291 and IANA have given out so far.

Outside of it are all that embed IPv4 in ::/8 (mapped, compatible, translated), NAT64 (64:ff9b::/96 and
64:ff9b:1::/48), the discard prefix, unique local, link-local, site-local and multicast addresses.
"""
_SPECIAL_V6: Final = tuple(
    map(
        ipaddress.IPv6Network,
        (
            "2001::/23",  # IETF protocol assignments: Teredo, benchmarking, ORCHID …
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4
            "2620:4f:8000::/48",  # AS112
            "3fff::/20",  # documentation
        ),
    )
)
_ISATAP: Final = frozenset({0x0000_5EFE, 0x0200_5EFE})
"""The first half of an interface identifier whose second half is an IPv4 address (RFC 5214, 6.1)."""


def is_public(address: str) -> bool:
    """Say whether `address` is one plain address on the public internet.

    An address with an IPv4 address inside it is not plain, whatever that inner address is: NAT64, 6to4,
    Teredo, ISATAP, mapped and compatible ones lead to where no rule for IPv6 looks.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if not parsed.is_global or parsed.is_multicast:
        return False
    if isinstance(parsed, ipaddress.IPv4Address):
        return not any(parsed in network for network in _SPECIAL_V4)
    return _is_plain_unicast(parsed)


def _is_plain_unicast(address: ipaddress.IPv6Address) -> bool:
    return (
        address.scope_id is None
        and address in _GLOBAL_UNICAST_V6
        and not any(address in network for network in _SPECIAL_V6)
        and (int(address) >> 32) & 0xFFFF_FFFF not in _ISATAP
    )


class AddressGuard:
    """Makes sockets for public addresses, and for the `allowed` ones by exact address and port.

    For aiohttp's `TCPConnector(socket_factory=…)`. `Forbidden` is no `OSError` on purpose: aiohttp then tries
    no other address of the name, but hands it through. Its happy eyeballs must be off, they swallow it.
    """

    def __init__(self, allowed: Collection[Endpoint] = ()) -> None:
        self._allowed = frozenset(allowed)

    def __call__(self, address: AddrInfoType) -> socket.socket:
        """Return a socket to connect to `address`; raises `Forbidden`."""
        family, kind, protocol, _, where = address
        if family not in {socket.AF_INET, socket.AF_INET6}:
            raise Forbidden("not an internet address")
        host, port, *more = where
        scope = more[1] if len(more) > 1 else 0
        if (host, port) not in self._allowed and (scope or not is_public(str(host))):
            raise Forbidden("not an address on the public internet")
        return socket.socket(family, kind, protocol)
