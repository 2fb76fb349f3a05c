"""Whose address counts: the peer's, unless a trusted proxy says otherwise."""

from ipaddress import ip_network
from typing import Any, cast

import pytest
from litestar.types import Scope

from photochanger.entrypoints.http.client_address import client_address

NOBODY: tuple[str, ...] = ()
PROXIES = ("10.0.0.0/8", "2001:db8:aaaa::/48", "192.0.2.1")


def address_of(peer: str | None, trusted: tuple[str, ...], *forwarded: bytes) -> str:
    scope: dict[str, Any] = {
        "type": "http",
        "client": None if peer is None else (peer, 4711),
        "headers": [(b"host", b"x"), *((b"x-forwarded-for", value) for value in forwarded)],
    }
    return client_address(cast("Scope", scope), [ip_network(network) for network in trusted])


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("203.0.113.7", [], "203.0.113.7"),
        ("10.1.2.3", [], "10.1.2.3"),
        # Who is no proxy of ours may say what they like.
        ("203.0.113.7", [b"198.51.100.1"], "203.0.113.7"),
        ("2001:db8:bbbb::1", [b"198.51.100.1"], "2001:db8:bbbb::1"),
        # One proxy, and what its client made up before.
        ("10.1.2.3", [b"198.51.100.1"], "198.51.100.1"),
        ("192.0.2.1", [b"198.51.100.1"], "198.51.100.1"),
        ("10.1.2.3", [b"1.1.1.1, 2.2.2.2, 198.51.100.1"], "198.51.100.1"),
        ("10.1.2.3", [b"1.1.1.1", b"2.2.2.2,198.51.100.1"], "198.51.100.1"),
        ("10.1.2.3", [b"198.51.100.1", b"203.0.113.9"], "203.0.113.9"),
        # A chain of proxies.
        ("10.1.2.3", [b"1.1.1.1, 198.51.100.1, 10.9.9.9"], "198.51.100.1"),
        ("10.1.2.3", [b"1.1.1.1, 198.51.100.1", b"192.0.2.1", b"2001:db8:aaaa::5"], "198.51.100.1"),
        ("10.1.2.3", [b"10.4.4.4, 10.5.5.5"], "10.4.4.4"),
        # Spellings.
        ("10.1.2.3", [b"198.51.100.1:443"], "198.51.100.1"),
        ("10.1.2.3", [b"  198.51.100.1\t"], "198.51.100.1"),
        ("10.1.2.3", [b"2001:DB8:0:0::1"], "2001:db8::1"),
        ("10.1.2.3", [b"[2001:db8::1]"], "2001:db8::1"),
        ("10.1.2.3", [b"[2001:db8::1]:65535"], "2001:db8::1"),
        ("10.1.2.3", [b"::ffff:198.51.100.1"], "198.51.100.1"),
        ("::ffff:10.1.2.3", [b"198.51.100.1"], "198.51.100.1"),
        ("::ffff:203.0.113.7", [b"198.51.100.1"], "203.0.113.7"),
        ("10.1.2.3", [b"1.1.1.1, ::ffff:10.9.9.9"], "1.1.1.1"),
        ("fe80::1%eth0", [b"198.51.100.1"], "fe80::1"),
        # What is no address ends the search at the last proxy.
        ("10.1.2.3", [b""], "10.1.2.3"),
        ("10.1.2.3", [b"198.51.100.1,"], "10.1.2.3"),
        ("10.1.2.3", [b"unknown"], "10.1.2.3"),
        ("10.1.2.3", [b"198.51.100.1, _hidden, 10.9.9.9"], "10.9.9.9"),
        ("10.1.2.3", [b"198.51.100.1 203.0.113.9"], "10.1.2.3"),
        ("10.1.2.3", [b"999.1.1.1"], "10.1.2.3"),
        ("10.1.2.3", [b"1.2.3"], "10.1.2.3"),
        ("10.1.2.3", [b"0x7f000001"], "10.1.2.3"),
        ("10.1.2.3", [b"2130706433"], "10.1.2.3"),
        ("10.1.2.3", [b"010.1.1.1"], "10.1.2.3"),
        ("10.1.2.3", [b"fe80::1%eth0"], "10.1.2.3"),
        ("10.1.2.3", [b"[2001:db8::1"], "10.1.2.3"),
        ("10.1.2.3", [b"2001:db8::1]"], "10.1.2.3"),
        ("10.1.2.3", [b"198.51.100.1:"], "10.1.2.3"),
        ("10.1.2.3", [b"198.51.100.1:999999"], "10.1.2.3"),
        ("10.1.2.3", [b'"198.51.100.1"'], "10.1.2.3"),
        ("10.1.2.3", [b"\xff\xfe"], "10.1.2.3"),
        ("10.1.2.3", ["١٩٨.51.100.1".encode()], "10.1.2.3"),
        ("10.1.2.3", [b"1" * 100_000], "10.1.2.3"),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_the_last_address_that_no_proxy_of_ours_has(peer: str, forwarded: list[bytes], expected: str) -> None:
    assert address_of(peer, PROXIES, *forwarded) == expected


@pytest.mark.parametrize("peer", ["203.0.113.7", "10.1.2.3", "127.0.0.1"])
def test_without_trusted_proxies_only_the_peer_counts(peer: str) -> None:
    assert address_of(peer, NOBODY, b"198.51.100.1") == peer


@pytest.mark.parametrize("peer", [None, "", "/run/photochanger.sock"])
def test_without_an_address_there_is_none(peer: str | None) -> None:
    assert address_of(peer, PROXIES, b"198.51.100.1") == ""


def test_a_long_header_is_not_walked_further_than_the_first_stranger() -> None:
    assert address_of("10.1.2.3", PROXIES, b"junk," * 10_000 + b"198.51.100.1") == "198.51.100.1"
