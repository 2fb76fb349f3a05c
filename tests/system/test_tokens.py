"""Access tokens over HTTP: forged ones open nothing, and whatever ends a session ends it in every process."""

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import pytest

from photochanger.adapters.credentials_file import CredentialsFile
from photochanger.domain.permissions import Permission
from photochanger.entrypoints.cli.processes import ServeProcess
from tests.conftest import DatabaseFactory
from tests.system.administration import Headers, ask, port_of, refusal, request, token_of, who_is
from tests.system.http_server import Answer, Connection
from tests.system.installation import Installation, as_url

pytestmark = [pytest.mark.anyio, pytest.mark.system]

KEY: Final = secrets.token_urlsafe(48)
ANOTHER_KEY: Final = secrets.token_urlsafe(48)
CHALLENGE: Final = 'Bearer realm="photochanger"'
LEFT_OUT: Final = object()

Claims: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Genuine:
    """A token of an open session, taken apart by somebody who knows the key: a forger can have no more."""

    token: str

    @property
    def header(self) -> Claims:
        return _decoded(self.token.split(".")[0])

    @property
    def claims(self) -> Claims:
        return _decoded(self.token.split(".")[1])

    @property
    def signature(self) -> str:
        return self.token.split(".")[2]

    def with_header(self, *, key: str = KEY, digest: str = "sha256", **changes: object) -> str:
        """Return the same token with another header, signed."""
        return _signed(_changed(self.header, changes), self.claims, key=key, digest=digest)

    def with_claims(self, **changes: object) -> str:
        """Return the same token with other claims, signed by the right key."""
        return _signed(self.header, _changed(self.claims, changes))

    def tampered(self, **changes: object) -> str:
        """Return the same token with other claims and the old signature."""
        header, _, signature = self.token.split(".")
        return f"{header}.{_encoded(_changed(self.claims, changes))}.{signature}"

    def unsigned(self, **changes: object) -> str:
        """Return the same token with another header and no signature."""
        return f"{_encoded(_changed(self.header, changes))}.{_encoded(self.claims)}."


Forgery: TypeAlias = Callable[[Genuine], str]


def _decoded(part: str) -> Claims:
    document: Claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return document


def _encoded(content: object) -> str:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _signed(header: object, content: object, *, key: str = KEY, digest: str = "sha256") -> str:
    message = f"{_encoded(header)}.{_encoded(content)}"
    return f"{message}.{_encoded(hmac.new(key.encode(), message.encode(), digest).digest())}"


def _changed(content: Mapping[str, Any], changes: Mapping[str, object]) -> Claims:
    return {name: value for name, value in {**content, **changes}.items() if value is not LEFT_OUT}


def _nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


def _unsigned_by(alg: str) -> Forgery:
    return lambda genuine: genuine.unsigned(alg=alg)


def _signed_in_spite_of(alg: str | None) -> Forgery:
    return lambda genuine: genuine.with_header(alg=alg)


NOW: Final = int(time.time())
HOUR: Final = 3_600
CENTURY: Final = 100 * 365 * 24 * HOUR
OWN_JWK: Final = {"kty": "oct", "k": _encoded(ANOTHER_KEY.encode()), "alg": "HS256"}

FORGERIES: Final[Mapping[str, Forgery]] = {
    **{f"alg {alg!r}, unsigned": _unsigned_by(alg) for alg in ("none", "None", "NONE", "")},
    **{f"alg {alg!r}, signed": _signed_in_spite_of(alg) for alg in ("none", "", "hs256", None)},
    "no alg, unsigned": lambda g: g.unsigned(alg=LEFT_OUT),
    "no alg, signed": lambda g: g.with_header(alg=LEFT_OUT),
    "alg as a list": lambda g: g.with_header(alg=["HS256"]),
    "HS512 with the same key": lambda g: g.with_header(alg="HS512", digest="sha512"),
    "HS384 with the same key": lambda g: g.with_header(alg="HS384", digest="sha384"),
    "HS256 by name, HS512 in fact": lambda g: g.with_header(digest="sha512"),
    "RS256 by name": lambda g: g.with_header(alg="RS256"),
    "kid is a path to an empty file": lambda g: g.with_header(kid="../../dev/null", key=""),
    "kid is a path, the key right": lambda g: g.with_header(kid="../../dev/null"),
    "kid is a number": lambda g: g.with_header(kid=7),
    "kid is null": lambda g: g.with_header(kid=None),
    "kid is SQL": lambda g: g.with_header(kid="' UNION SELECT ''--", key=""),
    "kid of a key that there is not": lambda g: g.with_header(
        kid=hashlib.sha256(ANOTHER_KEY.encode()).hexdigest()[:16], key=ANOTHER_KEY
    ),
    "no kid": lambda g: g.with_header(kid=LEFT_OUT),
    "jku": lambda g: g.with_header(jku="http://127.0.0.1/keys.json", key=ANOTHER_KEY),
    "jku, the key right": lambda g: g.with_header(jku="http://127.0.0.1/keys.json"),
    "x5u": lambda g: g.with_header(x5u="http://127.0.0.1/chain.pem"),
    "x5c": lambda g: g.with_header(x5c=["MII"]),
    "jwk": lambda g: g.with_header(jwk=OWN_JWK, key=ANOTHER_KEY),
    "jwk, the key right": lambda g: g.with_header(jwk=OWN_JWK),
    "crit": lambda g: g.with_header(crit=["exp"]),
    "crit of something unknown": lambda g: g.with_header(crit=["trust"], trust=True),
    "b64": lambda g: g.with_header(b64=False, crit=["b64"]),
    "zip": lambda g: g.with_header(zip="DEF"),
    "typ of another kind": lambda g: g.with_header(typ="at+jwt"),
    "no typ": lambda g: g.with_header(typ=LEFT_OUT),
    "another key": lambda g: g.with_header(key=ANOTHER_KEY),
    "no signature": lambda g: g.token.rpartition(".")[0] + ".",
    "no third part": lambda g: g.token.rpartition(".")[0],
    "half a signature": lambda g: g.token[:-20],
    "another signature": lambda g: g.token[:-9] + g.token[-9:].swapcase(),
    "padded": lambda g: g.token + "=",
    "five parts": lambda g: f"{g.token}.x.y",
    "the token twice": lambda g: f"{g.token}.{g.token}",
    "tampered sub": lambda g: g.tampered(sub="admin"),
    "tampered permissions": lambda g: g.tampered(permissions=[*Permission]),
    "tampered exp": lambda g: g.tampered(exp=g.claims["exp"] + 60),
    "another aud": lambda g: g.with_claims(aud="photochanger"),
    "aud as a list": lambda g: g.with_claims(aud=[g.claims["aud"]]),
    "no aud": lambda g: g.with_claims(aud=LEFT_OUT),
    "another iss": lambda g: g.with_claims(iss="photochanger.example"),
    "part of iss": lambda g: g.with_claims(iss="photo"),
    "no iss": lambda g: g.with_claims(iss=LEFT_OUT),
    "no exp": lambda g: g.with_claims(exp=LEFT_OUT),
    "exp 1e30": lambda g: g.with_claims(exp=1e30),
    "exp 10 to the 30th": lambda g: g.with_claims(exp=10**30),
    "exp in 100 years": lambda g: g.with_claims(exp=NOW + CENTURY),
    "exp infinite": lambda g: g.with_claims(exp=float("inf")),
    "exp no number": lambda g: g.with_claims(exp=float("nan")),
    "exp as text": lambda g: g.with_claims(exp=str(g.claims["exp"])),
    "exp true": lambda g: g.with_claims(exp=True),
    "exp null": lambda g: g.with_claims(exp=None),
    "exp before iat": lambda g: g.with_claims(exp=g.claims["iat"] - 1),
    "one second longer than a session": lambda g: g.with_claims(exp=g.claims["exp"] + 1),
    "no iat": lambda g: g.with_claims(iat=LEFT_OUT),
    "iat in an hour": lambda g: g.with_claims(iat=NOW + HOUR),
    "no sub": lambda g: g.with_claims(sub=LEFT_OUT),
    "sub of another account": lambda g: g.with_claims(sub="bystander"),
    "sub of no account": lambda g: g.with_claims(sub="nobody"),
    "sub in another spelling": lambda g: g.with_claims(sub=g.claims["sub"].upper()),
    "no jti": lambda g: g.with_claims(jti=LEFT_OUT),
    "jti of no session": lambda g: g.with_claims(jti=secrets.token_hex(16)),
    "jti with NUL": lambda g: g.with_claims(jti="\0"),
    "jti with half a character": lambda g: g.with_claims(jti="\ud800"),
    "a fingerprint that is not ASCII": lambda g: g.with_claims(fingerprint="ä" * 32),
    "another fingerprint": lambda g: g.with_claims(fingerprint="0" * 32),
    "nbf": lambda g: g.with_claims(nbf=0),
    "an additional claim": lambda g: g.with_claims(admin=True),
    "content that is no object": lambda g: _signed(g.header, [g.claims]),
    "content that is no JSON": lambda g: _signed(g.header, b"\xff\x00"),
    "no content": lambda g: _signed(g.header, b""),
    "content nested 1 400 times": lambda g: _signed(g.header, _nested(1_400)),
    "header nested 1 400 times": lambda g: _signed(_nested(1_400), g.claims),
    "header of another type": lambda g: _signed("HS256", g.claims),
    "20 000 characters": lambda g: g.with_claims(fingerprint="0" * 15_000),
}  # fmt: skip

TOO_LARGE: Final[Mapping[str, Forgery]] = {
    "content nested 100 000 times": lambda g: _signed(g.header, _nested(100_000)),
    "header nested 100 000 times": lambda g: _signed(_nested(100_000), g.claims),
    "1 MB": lambda g: g.with_claims(fingerprint="0" * 750_000),
    "1 MB of nothing": lambda g: "." * 1_000_000,
    "40 000 characters": lambda g: g.with_claims(fingerprint="0" * 30_000),
}
"""Larger than a head may be: the server does not read them."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two processes of one installation."""

    installation: Installation
    here: ServeProcess
    there: ServeProcess


@pytest.fixture(scope="module")
async def pair(
    tmp_path_factory: pytest.TempPathFactory, new_database: DatabaseFactory
) -> AsyncIterator[Pair]:
    """Two processes for all tests here, behind a proxy, each of whose logins comes from its own address."""
    installation = Installation(tmp_path_factory.mktemp("tokens"), as_url(new_database()))
    await installation.set_up({})
    for name in ("serg", "bystander"):
        await installation.add_account(name)
    variables = {"JWT_SIGNING_KEY": KEY, "TRUSTED_PROXIES": "127.0.0.1"}
    yield Pair(installation, *installation.serve_several(2, variables=variables))
    installation.kill_all()


@pytest.fixture(scope="module")
async def genuine(pair: Pair) -> Genuine:
    return Genuine(await token_of(pair.here, "serg"))


@pytest.fixture
async def username(pair: Pair) -> str:
    """Return the name of an account that no other test changes."""
    name = f"account-{secrets.token_hex(4)}"
    await pair.installation.add_account(name)
    return name


async def test_who_knows_the_key_can_make_a_token(pair: Pair, genuine: Genuine) -> None:
    """So it is by what is wrong with them that the forged ones are refused."""
    assert genuine.with_claims() != genuine.token
    for server in (pair.here, pair.there):
        assert await who_is(server, genuine.token) == 200
        assert await who_is(server, genuine.with_claims()) == 200
        assert await who_is(server, genuine.with_header()) == 200


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_a_forged_token_is_none(pair: Pair, genuine: Genuine, forgery: str) -> None:
    token = FORGERIES[forgery](genuine)

    for method, path in (("GET", "/api/me"), ("PUT", "/api/settings")):
        answer = await ask(pair.here, method, path, token=token)
        assert refusal(answer) == (401, "not_authenticated")
        assert answer["WWW-Authenticate"] == CHALLENGE
        assert genuine.signature not in answer.body.decode()


@pytest.mark.parametrize("forgery", TOO_LARGE)
async def test_a_head_that_is_too_large_is_not_read(pair: Pair, genuine: Genuine, forgery: str) -> None:
    token = TOO_LARGE[forgery](genuine)

    answer = await _told_meanwhile(pair.here, [("Authorization", f"Bearer {token}")])

    assert answer.status == 431


async def _told_meanwhile(server: ServeProcess, headers: Headers) -> Answer:
    """Return the answer to a request whose sending breaks off because of it."""
    async with Connection.to(port_of(server)) as connection:
        connection.writer.write(request("GET", "/api/me", headers=headers))
        return await connection.answer()


async def test_a_token_whose_time_is_over_says_so(pair: Pair, genuine: Genuine) -> None:
    expired = genuine.with_claims(iat=NOW - HOUR, exp=NOW - 1)

    answer = await ask(pair.here, "GET", "/api/me", token=expired)

    assert refusal(answer) == (401, "token_expired")
    assert answer["WWW-Authenticate"] == CHALLENGE


@pytest.mark.parametrize("value", ["Bearer {}", "bearer {}", "BEARER {}", "Bearer   {}"])
async def test_the_scheme_is_bearer_in_any_case(pair: Pair, genuine: Genuine, value: str) -> None:
    authorization = [("Authorization", value.format(genuine.token))]
    assert (await ask(pair.here, "GET", "/api/me", headers=authorization)).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("Authorization", "{}")],
        [("Authorization", "")],
        [("Authorization", "Bearer")],
        [("Authorization", "Bearer ")],
        [("Authorization", "Token {}")],
        [("Authorization", "Basic {}")],
        [("Authorization", "Bearer{}")],
        [("Authorization", "Bearer\t{}")],
        [("Authorization", "Bearer {} {}")],
        [("Authorization", "Bearer {}, Bearer {}")],
        [("Authorization", "Bearer ключ")],
        [("Authorization", "Bearer {}"), ("Authorization", "Bearer {}")],
        [("Authorization", "Bearer {}"), ("authorization", "Token {}")],
        [("Proxy-Authorization", "Bearer {}")],
        [("Cookie", "access_token={}; token={}; Authorization=Bearer {}")],
    ],
    ids=str,
)
async def test_a_token_in_another_place_is_none(pair: Pair, genuine: Genuine, headers: Headers) -> None:
    given = [(name, value.replace("{}", genuine.token)) for name, value in headers]
    as_bytes = [(name, value.encode().decode("latin-1")) for name, value in given]

    answer = await ask(pair.here, "GET", "/api/me", headers=as_bytes)

    assert refusal(answer) == (401, "not_authenticated")
    assert answer["WWW-Authenticate"] == CHALLENGE


@pytest.mark.parametrize("name", ["access_token", "token", "authorization"])
async def test_a_token_in_the_query_is_none(pair: Pair, genuine: Genuine, name: str) -> None:
    answer = await ask(pair.here, "GET", f"/api/me?{name}={genuine.token}")
    assert refusal(answer) == (401, "not_authenticated")


async def test_a_logout_counts_in_the_other_process_from_the_next_question_on(
    pair: Pair, username: str
) -> None:
    staying = await token_of(pair.there, username)
    for _ in range(10):
        token = await token_of(pair.here, username)
        assert await who_is(pair.there, token) == 200

        assert (await ask(pair.here, "POST", "/api/logout", token=token)).status == 204

        assert await who_is(pair.there, token) == 401
        assert await who_is(pair.here, token) == 401
    assert await who_is(pair.here, staying) == 200


async def test_a_logout_everywhere_ends_every_session_of_the_account(pair: Pair, username: str) -> None:
    tokens = [await token_of(server, username) for server in (pair.here, pair.there, pair.here)]
    of_another = await token_of(pair.here, "bystander")

    answer = await ask(pair.here, "POST", "/api/logout?everywhere=true", token=tokens[0])

    assert answer.status == 204
    for token in tokens:
        assert await who_is(pair.there, token) == 401
        assert await who_is(pair.here, token) == 401
    assert await who_is(pair.there, of_another) == 200


async def _give_another_password(installation: Installation, username: str) -> None:
    await installation.add_account(username, "another-password")


async def _take_permissions_away(installation: Installation, username: str) -> None:
    await installation.add_account(username, permissions={Permission.SLOTS_READ})


async def _remove(installation: Installation, username: str) -> None:
    assert await CredentialsFile(installation.environment.credentials_path).remove(username)


async def _edit_permissions_by_hand(installation: Installation, username: str) -> None:
    """Write into the file itself, as many editors do, and change nothing of its size."""
    path = installation.environment.credentials_path
    document = json.loads(path.read_text())
    [account] = [each for each in document["accounts"] if each["username"] == username]
    account["permissions"] = [each.replace("audit:read", "stats:read") for each in account["permissions"]]
    size = path.stat().st_size
    path.write_text(json.dumps(document, indent=2) + "\n")
    assert path.stat().st_size == size


@pytest.mark.parametrize(
    "change", [_give_another_password, _take_permissions_away, _edit_permissions_by_hand, _remove]
)
async def test_a_change_of_the_account_ends_its_sessions(
    pair: Pair, username: str, change: Callable[[Installation, str], Awaitable[None]]
) -> None:
    token, of_another = await token_of(pair.here, username), await token_of(pair.there, "bystander")
    assert await who_is(pair.there, token) == 200

    await change(pair.installation, username)

    for server in (pair.there, pair.here):
        assert refusal(await ask(server, "GET", "/api/me", token=token)) == (401, "not_authenticated")
        assert await who_is(server, of_another) == 200


async def test_a_key_is_rotated_in_two_steps(pair: Pair, username: str) -> None:
    before = await token_of(pair.here, username)
    rotated = {"JWT_SIGNING_KEY": ANOTHER_KEY, "TRUSTED_PROXIES": "127.0.0.1"}

    first = pair.installation.serve(variables={**rotated, "JWT_PREVIOUS_KEYS": KEY})
    assert await who_is(first, before) == 200
    after = await token_of(first, username)
    assert await who_is(pair.here, after) == 401

    second = pair.installation.serve(variables=rotated)
    assert refusal(await ask(second, "GET", "/api/me", token=before)) == (401, "not_authenticated")
    assert await who_is(second, after) == 200
    assert await who_is(first, before) == 200
