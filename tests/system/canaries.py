"""Secrets to look for, whoever looks for them, and an environment that gives secrets away where it can."""

import base64
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

import psycopg
from aiohttp import web
from psycopg.conninfo import conninfo_to_dict
from psycopg.sql import SQL, Composable, Identifier, Literal

from photochanger.entrypoints.cli.processes import ServeProcess
from tests.system.administration import Headers, port_of, read, request
from tests.system.http_server import Answer, exchange


class Canaries:
    """Secrets that are made up for one test, each with a name to tell it by."""

    def __init__(self) -> None:
        self.named: dict[str, str] = {}

    def new(self, name: str, *, more: str = "") -> str:
        """Return a new one; `more` makes it long enough to be a key."""
        self.named[name] = f"canary-{secrets.token_hex(6)}{more}"
        return self.named[name]

    def found_in(self, text: str) -> Iterator[str]:
        """Yield the names of those that the text holds, as they are or encoded."""
        for name, secret in self.named.items():
            if any(spelling in text for spelling in _spellings(secret)):
                yield name


def _spellings(secret: str) -> Iterator[str]:
    yield secret
    yield quote(secret, safe="")
    yield secret.encode().hex()
    for offset in range(3):  # Base64 of a longer text that holds it
        encoded = base64.b64encode(bytes(offset) + secret.encode()).decode()
        yield encoded[4 if offset else 0 : -4]


@dataclass
class Witness:
    """Asks processes, and keeps what they answer and whatever else can be seen of them."""

    canaries: Canaries
    seen: dict[str, str] = field(default_factory=dict)
    answered: dict[int, int] = field(default_factory=dict)

    def note(self, place: str, text: str) -> None:
        """Keep what was seen at a place."""
        self.seen[f"{len(self.seen)} {place}"] = text

    async def ask(
        self,
        server: ServeProcess,
        method: str,
        path: str,
        *,
        document: object = None,
        body: bytes = b"",
        headers: Headers = (),
    ) -> Answer:
        """Send a request, and keep the answer: its head, and its body as text."""
        answer = await exchange(
            port_of(server),
            request(method, path, document=document, body=body, headers=headers),
            to_head=method == "HEAD",
        )
        self.answered[answer.status] = self.answered.get(answer.status, 0) + 1
        body_text = answer.body.decode("latin-1")
        if path == "/api/login" and answer.status == 200:  # the one place where a token belongs
            token = read(answer)["access_token"]
            self.canaries.named[f"token {len(self.seen)}"] = token.rpartition(".")[2]
            body_text = body_text.replace(token, "")
        self.note(f"{method} {path.partition('?')[0]} {answer.status}", f"{answer.headers}\n{body_text}")
        return answer

    def leaks(self) -> list[str]:
        """Return which secret was seen where."""
        return [
            f"{name}: {place}" for place, text in self.seen.items() for name in self.canaries.found_in(text)
        ]


class Role:
    """A role of a database with a password, that can be kept out of it."""

    def __init__(self, dsn: str, password: str) -> None:
        self._name = f"canary_{secrets.token_hex(4)}"
        parts = conninfo_to_dict(dsn)
        query = urlencode({name: value for name, value in parts.items() if name in {"host", "port"}})
        self.url = f"postgresql://{self._name}:{password}@/{parts['dbname']}?{query}"
        self.connection = psycopg.connect(dsn, autocommit=True)
        self.connection.execute("SET log_statement = 'none'")  # the next one is the test's own
        self._run(SQL("CREATE ROLE {} LOGIN SUPERUSER PASSWORD {}"), Literal(password))

    def keep_out(self) -> None:
        """End its connections, and refuse new ones."""
        self._run(SQL("ALTER ROLE {} NOLOGIN"))
        self.connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = %s", [self._name]
        )

    def let_in(self) -> None:
        """Let it connect again."""
        self._run(SQL("ALTER ROLE {} LOGIN"))

    def server_log(self) -> str:
        """Return what the server has logged today, where it keeps its log itself."""
        cursor = self.connection.execute(
            "SELECT pg_read_file(current_setting('log_directory') || '/' || name) FROM pg_ls_logdir()"
            " WHERE current_setting('logging_collector') = 'on' AND modification > now() - interval '1 day'"
        )
        return "".join(text for (text,) in cursor.fetchall())

    def drop(self) -> None:
        """Remove it, and close the connection."""
        self.keep_out()
        self._run(SQL("DROP OWNED BY {}"))
        self._run(SQL("DROP ROLE {}"))
        self.connection.close()

    def _run(self, statement: SQL, *more: Composable) -> None:
        self.connection.execute(statement.format(Identifier(self._name), *more))


@asynccontextmanager
async def provider_that_repeats_what_it_was_sent() -> AsyncIterator[str]:
    """Run a server whose every answer is an error that holds the whole request, and give its address."""

    async def repeat(asked: web.Request) -> web.Response:
        told = f"{asked.path_qs} {dict(asked.headers)} {(await asked.read())[:2_000]!r}"
        error = {"code": 400, "message": told, "status": told, "details": [{"reason": told}]}
        return web.json_response(
            {"error": error, "success": False, "detail": told}, status=400, headers={"X-Told": quote(told)}
        )

    app = web.Application(client_max_size=50_000_000)
    app.router.add_route("*", "/{path:.*}", repeat)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
