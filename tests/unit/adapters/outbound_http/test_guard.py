import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from photochanger.adapters.outbound_http import AddressGuard, Forbidden, is_public

PUBLIC = (
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "77.88.55.242",
    "93.184.216.34",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "169.253.255.255",
    "172.15.255.255",
    "172.32.0.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2001:200::1",
    "2001:4860:4860::8888",
    "2003::1",
    "2606:4700:4700::1111",
    "2a00:1450:4001:829::200e",
    "2a02:6b8::2:242",
)

INSIDE = (
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.100.100.200",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.8",
    "192.0.0.192",
    "192.0.2.1",
    "192.31.196.1",
    "192.52.193.1",
    "192.88.99.1",
    "192.168.0.1",
    "192.168.255.255",
    "192.175.48.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",  # IPv4-compatible
    "::8.8.8.8",
    "::ffff:127.0.0.1",  # IPv4-mapped
    "::ffff:8.8.8.8",
    "::ffff:0:127.0.0.1",  # IPv4-translated
    "64:ff9b::127.0.0.1",  # NAT64
    "64:ff9b::8.8.8.8",
    "64:ff9b:1::10.0.0.1",
    "64:ff9b:1:ffff::1",
    "100::1",  # discard
    "2001::1",  # Teredo
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:2::1",  # benchmarking
    "2001:10::1",  # ORCHID
    "2001:20::1",
    "2001:db8::1",  # documentation
    "2002:7f00:1::",  # 6to4
    "2002:808:808::1",
    "2620:4f:8000::1",
    "2a00::5efe:7f00:1",  # ISATAP
    "2a00:1450::200:5efe:a9fe:a9fe",
    "2a00::5efe:808:808",
    "3fff::1",
    "4000::1",
    "5f00::1",  # segment routing
    "fc00::1",
    "fd00:ec2::254",
    "fdff::1",
    "fe80::1",
    "fe80::1%lo",
    "fe80::5efe:10.0.0.1",
    "fec0::1",  # site-local
    "ff02::1",
    "ff0e::1",
    "2a00:1450::1%lo",
)

NO_ADDRESS = ("", "localhost", "127.1", "0x7f000001", "2130706433", "0177.0.0.1", "1.1.1.1 ", "[::1]", "::1%")


def info(host: str, port: int = 443, *, scope: int = 0) -> tuple[int, int, int, str, tuple[str | int, ...]]:
    where = (host, port, 0, scope) if ":" in host else (host, port)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", where


def allows(guard: AddressGuard, host: str, port: int = 443, *, scope: int = 0) -> bool:
    try:
        guard(info(host, port, scope=scope)).close()
    except Forbidden:
        return False
    return True


@pytest.mark.parametrize("address", PUBLIC)
def test_the_public_internet_is_open(address: str) -> None:
    assert is_public(address)
    assert allows(AddressGuard(), address)


@pytest.mark.parametrize("address", INSIDE + NO_ADDRESS)
def test_everything_else_is_closed(address: str) -> None:
    assert not is_public(address)
    assert not allows(AddressGuard(), address)


@given(st.ip_addresses())
def test_it_opens_nothing_that_the_standard_library_calls_inside(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    inside = not address.is_global or address.is_multicast or address.is_reserved
    assert not (inside and is_public(str(address)))


@given(st.ip_addresses(v=4))
def test_no_ipv6_address_with_another_inside_is_open(inner: ipaddress.IPv4Address) -> None:
    number = int(inner)
    embedded = (
        number,
        0xFFFF << 32 | number,
        0x0064_FF9B << 96 | number,
        0x2002 << 112 | number << 80,
        0x2001 << 112 | number ^ 0xFFFF_FFFF,
        0x2A00_1450 << 96 | 0x5EFE << 32 | number,
    )
    assert [
        str(ipaddress.IPv6Address(it)) for it in embedded if is_public(str(ipaddress.IPv6Address(it)))
    ] == []


def test_a_zone_is_closed_wherever_it_is_written() -> None:
    assert not allows(AddressGuard(), "2606:4700:4700::1111", scope=1)


def test_other_families_are_closed() -> None:
    with pytest.raises(Forbidden):
        AddressGuard()((socket.AF_UNIX, socket.SOCK_STREAM, 0, "", ("/run/docker.sock", 0)))


def test_what_is_allowed_is_allowed_by_address_and_port_exactly() -> None:
    guard = AddressGuard([("127.0.0.1", 8080), ("::1", 8080)])
    assert allows(guard, "127.0.0.1", 8080)
    assert allows(guard, "::1", 8080)
    assert not allows(guard, "127.0.0.1", 8081)
    assert not allows(guard, "127.0.0.2", 8080)
    assert not allows(guard, "::ffff:127.0.0.1", 8080)
