"""Hostile and clumsy clients: table D of `reference/reliability.md`, on raw sockets."""

import asyncio
import json
import socket
import ssl
from contextlib import suppress

import pytest
from structlog.testing import capture_logs

from tests.system.http_server import (
    PASSWORD,
    SLOT,
    Connection,
    System,
    exchange,
    get,
    part,
    photo_form,
    picture,
    post,
    until,
)
from tests.unit.entrypoints.http.test_multipart import BROKEN, TOO_LARGE

pytestmark = [pytest.mark.anyio, pytest.mark.system]

PHOTO = picture()


async def refused(port: int, request: bytes, status: int, code: str | None = None) -> None:
    """Check that the request is answered with this status, as a problem where our code answers."""
    answer = await exchange(port, request)
    assert answer.status == status
    if code is not None:
        assert json.loads(answer.body)["code"] == code
        assert answer["content-type"] == "application/problem+json"
        assert answer["x-content-type-options"] == "nosniff"


class TestHeads:
    """D8 to D17."""

    async def test_two_hosts(self, port: int) -> None:
        await refused(port, get("/livez", headers={"host": "other"}), 400, "invalid_request")

    async def test_no_host(self, port: int) -> None:
        await refused(port, b"GET /livez HTTP/1.1\r\n\r\n", 400, "invalid_request")
        assert (await exchange(port, b"GET /livez HTTP/1.0\r\n\r\n")).status == 200

    @pytest.mark.parametrize("host", ["evil/x?y", "a b", "evil@x", "a,b", "", "x:y", "[::1", "ü"])
    async def test_a_host_that_is_none(self, port: int, host: str) -> None:
        await refused(port, get("/livez", headers={"Host": host}), 400, "invalid_request")

    async def test_a_header_of_40_kilobytes(self, port: int) -> None:
        await refused(port, get("/livez", headers={"X-A": "b" * 40_000}), 431, "invalid_request")

    async def test_a_header_of_a_megabyte_is_cut_off(self, port: int) -> None:
        async with Connection.to(port) as client:
            with suppress(ConnectionError, asyncio.IncompleteReadError):  # it may be still sending
                await client.send(get("/livez", headers={"X-A": "b" * 1_000_000}))
                assert (await client.answer()).status == 431

    async def test_500_headers(self, port: int) -> None:
        many = {f"X-{number}": "b" for number in range(500)}
        await refused(port, get("/livez", headers=many), 431, "invalid_request")

    async def test_a_long_url(self, port: int) -> None:
        await refused(port, get("/livez?" + "x" * 9_000), 414, "invalid_request")
        assert (await exchange(port, get("/livez?" + "x" * 100_000))).status in (400, 414, 431)

    @pytest.mark.parametrize(
        "path", ["%00", "%ff%fe", "..%2f..%2fetc%2fpasswd", "../../etc/passwd", "%0d%0aX-Injected:%20yes"]
    )
    async def test_odd_bytes_in_a_path(self, port: int, path: str) -> None:
        for base in ("/public/results/", "/api/jobs/", "/ingest/", "/"):
            answer = await exchange(port, get(base + path))
            assert answer.status in (404, 405)
            assert "x-injected" not in answer

    @pytest.mark.parametrize("query", ["%ff%fe=%00", "key=%ff", "&&&===", "a[]=1&a[]=2", "%", "inline=%ff"])
    async def test_odd_bytes_in_a_query(self, port: int, query: str) -> None:
        answer = await exchange(port, post(photo_form(PHOTO), f"/ingest/{SLOT}?{query}"))
        assert answer.status in (200, 400, 401)
        assert (await exchange(port, get(f"/public/results/x?{query}"))).status in (400, 404)

    async def test_a_length_beside_chunks(self, port: int) -> None:
        request = post(photo_form(PHOTO), headers={"Transfer-Encoding": "chunked"})
        assert (await exchange(port, request)).status == 400

    async def test_a_bad_chunk(self, system: System, port: int) -> None:
        head = post(b"", headers={"Transfer-Encoding": "chunked"}).replace(b"Content-Length: 0\r\n", b"")
        answer = await exchange(port, head + b"zz\r\n" + photo_form(PHOTO))
        assert answer.status == 400
        assert not system.storage.records.jobs

    @pytest.mark.parametrize("line", [b"X-A: b\r\n folded", b"X-A : b", b"X A: b", b": b"])
    async def test_a_malformed_header(self, port: int, line: bytes) -> None:
        request = b"GET /livez HTTP/1.1\r\nHost: x\r\n" + line + b"\r\n\r\n"
        assert (await exchange(port, request)).status == 400

    async def test_another_protocol(self, port: int) -> None:
        assert (await exchange(port, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")).status == 400
        context = ssl.create_default_context()
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection("127.0.0.1", port, ssl=context)

    async def test_a_websocket_on_any_path(self, port: int) -> None:
        upgrade = {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Version": "13",
        }
        await refused(port, get(f"/ingest/{SLOT}", headers=upgrade), 405, "method_not_allowed")
        await refused(port, get("/anything", headers=upgrade), 404, "not_found")

    async def test_other_methods(self, port: int) -> None:
        await refused(port, get("/livez", method="TRACE"), 405, "method_not_allowed")
        assert (await exchange(port, get("booth.test:80", method="CONNECT"))).status in (400, 405)
        assert (await exchange(port, get("/livez", method="BREW"))).status == 400
        answer = await exchange(port, get(f"/ingest/{SLOT}", method="DELETE"))
        assert (answer.status, answer["allow"]) == (405, "OPTIONS, POST")

    async def test_which_methods_there_are(self, port: int) -> None:
        for path, allowed in {
            "/livez": "GET, OPTIONS",
            "/api/settings": "GET, OPTIONS, PUT",
            "/api/template-media/x": "DELETE, GET, OPTIONS",
            "/public/results/x": "GET, HEAD, OPTIONS",
        }.items():
            told = await exchange(port, get(path, method="OPTIONS"))
            refused = await exchange(port, get(path, method="PATCH"))
            assert (told.status, told["allow"]) == (204, allowed)
            assert (refused.status, refused["allow"]) == (405, allowed)

    async def test_a_body_where_none_belongs(self, port: int) -> None:
        request = get("/livez", headers={"Content-Length": "5"}) + b"hello"
        assert (await exchange(port, request)).status == 200


class TestBodies:
    @pytest.mark.parametrize("name", BROKEN)
    async def test_a_broken_form(self, system: System, port: int, name: str) -> None:
        await refused(
            port, post(BROKEN[name], f"/ingest/{SLOT}?key=booth-password-%C3%BC"), 400, "invalid_request"
        )
        assert not system.storage.records.jobs

    @pytest.mark.parametrize("name", TOO_LARGE)
    async def test_an_excessive_form(self, system: System, port: int, name: str) -> None:
        request = post(TOO_LARGE[name], f"/ingest/{SLOT}?key=booth-password-%C3%BC")
        await refused(port, request, 413, "payload_too_large")
        assert not system.storage.records.jobs

    @pytest.mark.parametrize("boundary", ["", "x" * 71, "x" * 5000])
    async def test_a_boundary_that_cannot_be_used(self, port: int, boundary: str) -> None:
        content_type = f"multipart/form-data; boundary={boundary}"
        path = f"/ingest/{SLOT}?key=booth-password-%C3%BC"
        await refused(port, post(b"", path, content_type=content_type), 400, "invalid_request")

    async def test_a_transfer_encoding_of_a_part_is_ignored(self, port: int) -> None:
        encoded = part("file", PHOTO.hex().encode()).replace(
            b"\r\n\r\n", b"\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        )
        body = photo_form(b"").replace(
            part("fileToUpload", b"", file_name="IMG_0003.JPG", content_type="image/jpeg"), encoded
        )
        await refused(port, post(body), 415, "unsupported_media_type")

    async def test_a_body_shorter_than_its_length_is_no_job_and_no_error(
        self, system: System, port: int
    ) -> None:
        """D5."""
        with capture_logs() as lines:
            async with Connection.to(port) as client:
                await client.send(post(photo_form(PHOTO))[:-10])
                client.writer.write_eof()
                assert await client.ended()

            async def logged() -> bool:
                return bool(lines)

            await until(logged)
        assert [(line["http_status"], line["log_level"]) for line in lines] == [(499, "info")]
        assert not system.storage.records.jobs


class TestEarlyAnswers:
    """A request refused before its body is read is still answered cleanly."""

    @staticmethod
    def naive(port: int, head: bytes, size: int) -> bytes:
        """Send everything before reading anything, as a plain client with a blocking socket does."""
        with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
            client.sendall(head)
            client.sendall(bytes(size))
            answer = b""
            while piece := client.recv(65536):
                answer += piece
        return answer

    @pytest.mark.parametrize(
        ("path", "headers", "expected"),
        [
            ("/ingest/slot-016", {}, b"404"),
            (f"/ingest/{SLOT}", {"X-Ingest-Password": "wrong"}, b"401"),
            (f"/ingest/{SLOT}?key=booth-password-%C3%BC", {"Content-Encoding": "gzip"}, b"415"),
            (f"/ingest/{SLOT}?key=booth-password-%C3%BC", {}, b"400"),
            ("/nowhere", {}, b"404"),
            ("/livez", {}, b"405"),
            ("/livez", {"Host": "evil/x"}, b"400"),
            ("/livez", {"host": "two"}, b"400"),
        ],
    )
    async def test_a_client_that_sends_20_mb_first_gets_it_whole(
        self, port: int, path: str, headers: dict[str, str], expected: bytes
    ) -> None:
        head = post(b"", path, headers={"Content-Length": "20000000"} | headers)
        answer = await asyncio.to_thread(self.naive, port, head, 20_000_000)
        start, _, body = answer.partition(b"\r\n\r\n")
        assert start.startswith(b"HTTP/1.1 " + expected)
        assert b"connection: close" in start
        assert json.loads(body)["status"] == int(expected)

    async def test_a_body_beyond_the_limit_by_its_length(self, system: System, port: int) -> None:
        await system.set_slot(size_limit_mb=1)
        head = post(b"", f"/ingest/{SLOT}?key=booth-password-%C3%BC", headers={"Content-Length": "20000000"})
        answer = await asyncio.to_thread(self.naive, port, head, 20_000_000)
        assert answer.startswith(b"HTTP/1.1 413")

    async def test_it_is_on_its_way_before_the_body_is(self, port: int) -> None:
        async with Connection.to(port) as client:
            await client.send(post(b"", "/ingest/slot-016", headers={"Content-Length": "20000000"}))
            assert (await client.answer()).status == 404

    async def test_a_client_that_expects_100_continue_gets_it_instead(self, port: int) -> None:
        headers = {"Content-Length": "20000000", "Expect": "100-continue"}
        async with Connection.to(port) as client:
            await client.send(post(b"", "/ingest/slot-016", headers=headers))
            answer = await client.answer()
            assert (answer.status, answer["connection"]) == (404, "close")

    async def test_who_goes_on_for_too_long_is_cut_off(
        self, port: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("photochanger.entrypoints.http.lingering.LINGER_BYTES", 1_000_000)
        async with Connection.to(port) as client:
            await client.send(post(b"", "/ingest/slot-016", headers={"Content-Length": "20000000"}))
            assert (await client.answer()).status == 404
            with pytest.raises(ConnectionError):
                await client.send(bytes(19_000_000))

    async def test_who_falls_silent_is_cut_off(self, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("photochanger.entrypoints.http.lingering.LINGER_IDLE_SEC", 0.1)
        async with Connection.to(port) as client:
            await client.send(post(b"", "/ingest/slot-016", headers={"Content-Length": "20000000"}))
            assert (await client.answer()).status == 404
            assert await client.ended()

    async def test_a_body_read_to_its_end_keeps_the_connection(self, port: int) -> None:
        async with Connection.to(port) as client:
            await client.send(post(photo_form(b"no image")))
            answer = await client.answer()
            assert answer.status == 415
            assert "connection" not in answer
            await client.send(post(photo_form(PHOTO, PASSWORD)))
            assert (await client.answer()).status == 200
