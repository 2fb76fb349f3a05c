"""A Turbotext that points to inside addresses, in a network where every address is this machine.

Run by `test_ssrf.py` in a network namespace of its own, where somebody listens on every address and every
packet is seen. Prints, as JSON, what became of each target, and where connections went meanwhile.
"""

import asyncio
import json
import socket
import struct
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Final

from photochanger.adapters.outbound_http import Interrupted, NotSent, Origin, OutboundHttp
from photochanger.adapters.turbotext import TurbotextProvider
from photochanger.domain.errors import ProviderFault
from photochanger.testing.fake_turbotext import FakeTurbotext, result_at
from photochanger.testing.links import Links
from photochanger.testing.provider_requests import a_request, answer
from tests.names import Names

PORTS: Final = (21, 22, 70, 80, 443, 6379, 8080)
PUBLIC: Final = "1.1.1.1"

TARGETS: Final = (
    # literal addresses, plainly and in every odd spelling
    "http://127.0.0.1/x.png",
    "https://127.0.0.1/x.png",
    "http://127.0.0.1:8080/x.png",
    "http://127.0.0.2/x.png",
    "http://localhost/x.png",
    "https://localhost:8080/x.png",
    "http://localhost./x.png",
    "http://[::1]/x.png",
    "https://[::1]:8080/x.png",
    "http://[::]/x.png",
    "http://[::ffff:127.0.0.1]/x.png",
    "https://[::ffff:7f00:1]/x.png",
    "http://[::127.0.0.1]/x.png",
    "http://0.0.0.0/x.png",
    "http://0/x.png",
    "http://169.254.169.254/latest/meta-data/",
    "https://169.254.169.254/x.png",
    "http://[fd00:ec2::254]/latest/meta-data/",
    "http://100.64.0.1/x.png",
    "http://100.100.100.200/x.png",
    "https://10.0.0.1/x.png",
    "http://172.16.0.1/x.png",
    "https://192.168.0.1/x.png",
    "http://192.168.1.1:8080/x.png",
    "http://0x7f000001/x.png",
    "https://0x7f.0.0.1/x.png",
    "http://2130706433/x.png",
    "https://2130706433/x.png",
    "http://127.1/x.png",
    "https://127.1/x.png",
    "http://0177.0.0.1/x.png",
    "https://0177.0.0.1/x.png",
    "http://①②⑦.⓪.⓪.①/x.png",
    "https://[64:ff9b::7f00:1]/x.png",
    "https://[64:ff9b:1::a00:1]/x.png",
    "https://[2002:7f00:1::]/x.png",
    "https://[2001:0:7f00:1::80ff:fffe]/x.png",
    "https://[2a00::5efe:7f00:1]/x.png",
    "https://[fe80::1%25lo]/x.png",
    "https://[fe80::1%lo]/x.png",
    "https://[fc00::1]/x.png",
    "https://[fec0::1]/x.png",
    "https://[ff02::1]/x.png",
    "https://224.0.0.1/x.png",
    "https://255.255.255.255/x.png",
    # what looks like one URL and is another
    "http://www.turbotext.ru@127.0.0.1/x.png",
    "https://www.turbotext.ru:443@127.0.0.1/x.png",
    "https://user:password@www.turbotext.ru/x.png",
    "http://127.0.0.1\\@1.1.1.1/x.png",
    "https://1.1.1.1\\@127.0.0.1/x.png",
    "https://www.turbotext.ru\\@127.0.0.1/x.png",
    "https://127.0.0.1#@www.turbotext.ru/x.png",
    "https://127.0.0.1?@www.turbotext.ru/x.png",
    "https://127.0.0.1;www.turbotext.ru/x.png",
    "http:\t//127.0.0.1/x.png",
    "ht\ntp://127.0.0.1/x.png",
    "\x01http://127.0.0.1/x.png",
    "http:///127.0.0.1/x.png",
    "//127.0.0.1/x.png",
    "//www.turbotext.ru@127.0.0.1/x.png",
    "\\\\127.0.0.1\\x.png",
    # other hosts, schemes and ports
    "https://1.1.1.1/x.png",
    "https://example.com/x.png",
    "https://turbotext.ru.example.com/x.png",
    "https://evil-turbotext.ru/x.png",
    "http://www.turbotext.ru/x.png",
    "https://www.turbotext.ru:22/x.png",
    "https://www.turbotext.ru:8080/x.png",
    "file:///etc/passwd",
    "ftp://127.0.0.1/x.png",
    "gopher://127.0.0.1:6379/_x",
    "ws://127.0.0.1/x.png",
    "data:image/png;base64,iVBORw0KGgo=",
    "javascript:alert(1)",
    # the provider's own names, where they lead inside
    "https://loopback.turbotext.ru/x.png",
    "https://private.turbotext.ru/x.png",
    "https://metadata.turbotext.ru/x.png",
    "https://mapped.turbotext.ru/x.png",
    "https://nat64.turbotext.ru/x.png",
    "https://sixtofour.turbotext.ru/x.png",
    "https://zone.turbotext.ru/x.png",
    "https://two.turbotext.ru/x.png",
    "https://inside-first.turbotext.ru/x.png",
    "https://inside-last.turbotext.ru/x.png",
)

REBINDING: Final = "https://rebinding.turbotext.ru/x.png"

ADDRESSES: Final = {
    "loopback": [["127.0.0.1"]],
    "private": [["10.0.0.1"]],
    "metadata": [["169.254.169.254"]],
    "mapped": [["::ffff:10.0.0.1"]],
    "nat64": [["64:ff9b::a9fe:a9fe"]],
    "sixtofour": [["2002:a00:1::1"]],
    "zone": [["fe80::1%lo"]],
    "two": [["192.168.0.1", "fd00::1"]],
    "inside-first": [["127.0.0.1", PUBLIC]],
    "inside-last": [[PUBLIC, "127.0.0.1"]],
    "rebinding": [[PUBLIC], ["127.0.0.1"]],
}


def names() -> Names:
    return Names({f"{name}.turbotext.ru": answers for name, answers in ADDRESSES.items()})


CONTROLS: Final = (
    ("http://127.0.0.1:8080/", "127.0.0.1"),
    ("http://10.0.0.1/", "10.0.0.1"),
    ("http://169.254.169.254/", "169.254.169.254"),
    ("http://100.64.0.1:22/", "100.64.0.1"),
    ("https://192.168.0.1/", "192.168.0.1"),
    ("https://private.turbotext.ru/", "10.0.0.1"),
    ("http://0.0.0.0/", "127.0.0.1"),
)
CONTROLS_V6: Final = (
    ("http://[::1]/", "::1"),
    ("https://[64:ff9b::7f00:1]/", "64:ff9b::7f00:1"),
    ("https://[2002:7f00:1::]/", "2002:7f00:1::"),
    ("https://nat64.turbotext.ru/", "64:ff9b::a9fe:a9fe"),
    ("http://[fc00::1]:22/", "fc00::1"),
)


class Watch:
    """Sees every packet, and takes every connection to the usual ports of any address."""

    def __init__(self) -> None:
        # The kernel hands a packet here before the call that sends it returns; nothing need be waited for.
        self._packets = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0003))
        self._packets.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8_000_000)
        self._packets.setblocking(False)
        self._ours: set[tuple[str, int]] = set()
        self._taken: list[str] = []
        self.somebody = asyncio.Event()
        self.has_ipv6 = True

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        servers = [await asyncio.start_server(self._take, sock=sock) for sock in self._sockets()]
        yield
        for server in servers:
            server.close()

    def expects(self, url: str) -> None:
        """Overlook connections to a server of the scenario's own."""
        origin = Origin.of(url)
        self._ours.add((origin.host, origin.port))

    def seen(self) -> list[str]:
        """Return the addresses to which connections, or datagrams, have been sent since the last call."""
        self.somebody.clear()
        return sorted({address for address, port in self._sent() if (address, port) not in self._ours})

    def taken(self) -> list[str]:
        """Return the addresses on which connections have been accepted since the last call."""
        taken, self._taken = sorted(set(self._taken)), []
        return taken

    def _sockets(self) -> Iterator[socket.socket]:
        self.has_ipv6 = socket.has_dualstack_ipv6()
        for port in PORTS:
            if self.has_ipv6:
                yield socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
            else:
                yield socket.create_server(("0.0.0.0", port))

    async def _take(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._taken.append(writer.get_extra_info("sockname")[0].removeprefix("::ffff:"))
        self.somebody.set()
        writer.close()

    def _sent(self) -> Iterator[tuple[str, int]]:
        while True:
            try:
                packet, (_, protocol, kind, *_rest) = self._packets.recvfrom(65536)
            except BlockingIOError:
                return
            if kind == socket.PACKET_OUTGOING and protocol in {0x0800, 0x86DD}:
                yield from _destination(packet, is_v6=protocol == 0x86DD)


def _destination(packet: bytes, *, is_v6: bool) -> Iterator[tuple[str, int]]:
    """Yield address and port of a datagram, or of a packet that begins a connection (RFC 791, 8200, 9293)."""
    if is_v6:
        transport, kind, address = packet[40:], packet[6], socket.inet_ntop(socket.AF_INET6, packet[24:40])
    else:
        transport, kind = packet[(packet[0] & 0x0F) * 4 :], packet[9]
        address = socket.inet_ntop(socket.AF_INET, packet[16:20])
    begins = kind == socket.IPPROTO_TCP and transport[13] & 0x12 == 0x02
    if begins or kind == socket.IPPROTO_UDP:
        yield address, struct.unpack_from(">H", transport, 2)[0]


class Scenario:
    """One Turbotext, and a fresh provider for each target."""

    def __init__(self, watch: Watch, turbotext: FakeTurbotext, links: Links) -> None:
        self._watch = watch
        self._turbotext = turbotext
        self._links = links

    async def outcome(self, fault: str, resolver: Names) -> dict[str, object]:
        """Return what the provider made of an answer, and where it went."""
        self._turbotext.script.append(fault)
        provider = TurbotextProvider(
            api_key=self._turbotext.api_key,
            base_url=self._turbotext.base_url,
            poll_sec=0.005,
            resolver=resolver,
        )
        request = a_request(provider.description.operations[0], link=self._links, seconds=10)
        self._watch.expects(str(request.photo_url))
        try:
            await answer(provider, request)
            told = "a picture"
        except ProviderFault as error:
            told = f"{type(error).__name__} {error.maybe_billed} {error.message}"
        finally:
            await provider.close()
        return {"outcome": told, "seen": self._watch.seen(), "taken": self._watch.taken()}

    async def redirected(self) -> dict[str, object]:
        """Return the outcome where the download itself leads on to an inside address."""
        self._turbotext.redirect_to = "http://169.254.169.254/latest/meta-data/"
        return await self.outcome("download:redirect", names())

    async def rebinding(self) -> dict[str, object]:
        """Return what happens where a name leads to a public address first, and inside from then on."""
        resolver = names()
        before = asyncio.create_task(self.outcome(result_at(REBINDING), resolver))
        await asyncio.wait_for(self._watch.somebody.wait(), 20)
        before.cancel()
        await asyncio.wait([before])
        first = self._watch.seen(), self._watch.taken()
        return {"first": first, "then": await self.outcome(result_at(REBINDING), resolver)}

    async def control(self, url: str) -> dict[str, object]:
        """Return where a client without a guard goes."""
        http = OutboundHttp(resolver=names())
        try:
            await http.call("GET", url, headers={}, max_bytes=1000)
        except (NotSent, Interrupted):
            pass  # the listener hangs up
        finally:
            await http.close()
        return {"seen": self._watch.seen(), "taken": self._watch.taken()}


async def main() -> dict[str, object]:
    watch = Watch()
    async with watch.listening(), FakeTurbotext() as turbotext, Links() as links:
        watch.expects(turbotext.base_url)
        scenario = Scenario(watch, turbotext, links)
        controls = CONTROLS + (CONTROLS_V6 if watch.has_ipv6 else ())
        return {
            "allowed": await scenario.outcome("location:top", names()),
            "targets": {url: await scenario.outcome(result_at(url), names()) for url in TARGETS},
            "redirected": await scenario.redirected(),
            "rebinding": await scenario.rebinding(),
            "controls": {url: await scenario.control(url) for url, _ in controls},
        }


if __name__ == "__main__":
    json.dump(asyncio.run(main()), sys.stdout)
