"""JSON Web Tokens, held to the port's contract, and to every trick that is known."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from photochanger.adapters.jwt_tokens import MAX_TOKEN, JwtAccessTokens
from photochanger.domain.errors import NotAuthenticated, TokenExpired
from photochanger.testing.access_tokens import NOW, AccessTokensContract, TokensWithKeys, some_claims

KEY: Final = "vN2sQ8xR5tYw1ZkC7bLm4HfJ6dGp9aEu"
OLD_KEY: Final = "Xk3pT9rW6yBn2MvQ8cZs5LhD1fGj7aUe"
IAT: Final = int(NOW.timestamp())


class TestJwtAccessTokens(AccessTokensContract):
    @pytest.fixture
    def with_keys(self) -> TokensWithKeys:
        return lambda names: JwtAccessTokens([hashlib.sha256(name.encode()).hexdigest() for name in names])


@pytest.fixture
def tokens() -> JwtAccessTokens:
    return JwtAccessTokens([KEY, OLD_KEY])


def key_id(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:16]


def good_header() -> dict[str, Any]:
    return {"alg": "HS256", "typ": "JWT", "kid": key_id(KEY)}


def good_payload() -> dict[str, Any]:
    return {
        "iss": "photochanger",
        "aud": "photochanger-administration",
        "sub": "serg",
        "jti": "0af7651916cd43dd8448eb211c80319c",
        "iat": IAT,
        "exp": IAT + 60,
        "fingerprint": "b7ad6b7169203331b7ad6b7169203331",
        "permissions": ["slots:read"],
    }


def encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def as_json(value: object) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()


def signed(
    header: Mapping[str, Any] | bytes | None = None,
    payload: Mapping[str, Any] | bytes | None = None,
    *,
    key: str = KEY,
    digest: Callable[..., Any] = hashlib.sha256,
) -> str:
    """Return a token of any content whose signature is right: what is refused is not that."""
    told = f"{encoded(as_json(header or good_header()))}.{encoded(as_json(payload or good_payload()))}"
    return f"{told}.{encoded(hmac.new(key.encode(), told.encode(), digest).digest())}"


def with_(base: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    return {**base, **changes}


def without(base: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in base.items() if key != name}


def test_what_these_tests_sign_is_a_good_token_but_for_the_change(tokens: JwtAccessTokens) -> None:
    assert tokens.read(signed(), now=NOW).username == "serg"
    old = signed(with_(good_header(), kid=key_id(OLD_KEY)), key=OLD_KEY)
    assert tokens.read(old, now=NOW).username == "serg"


def test_a_token_has_the_header_and_the_claims_that_are_documented(tokens: JwtAccessTokens) -> None:
    header, payload, _ = tokens.issue(some_claims()).split(".")
    assert json.loads(base64.urlsafe_b64decode(header + "==")) == good_header()
    assert json.loads(base64.urlsafe_b64decode(payload + "==")).keys() == good_payload().keys()


HEADERS: Final[Mapping[str, Any]] = {
    "alg none": with_(good_header(), alg="none"),
    "alg None": with_(good_header(), alg="None"),
    "alg NONE": with_(good_header(), alg="NONE"),
    "alg empty": with_(good_header(), alg=""),
    "alg null": with_(good_header(), alg=None),
    "alg missing": without(good_header(), "alg"),
    "alg in lower case": with_(good_header(), alg="hs256"),
    "alg a list": with_(good_header(), alg=["HS256"]),
    "alg RS256": with_(good_header(), alg="RS256"),
    "kid a path": with_(good_header(), kid="../../dev/null"),
    "kid a number": with_(good_header(), kid=0),
    "kid a list": with_(good_header(), kid=[key_id(KEY)]),
    "kid null": with_(good_header(), kid=None),
    "kid unknown": with_(good_header(), kid=key_id("another")),
    "kid of the other key": with_(good_header(), kid=key_id(OLD_KEY)),
    "kid in capitals": with_(good_header(), kid=key_id(KEY).upper()),
    "kid missing": without(good_header(), "kid"),
    "typ missing": without(good_header(), "typ"),
    "typ another": with_(good_header(), typ="refresh+jwt"),
    "typ in lower case": with_(good_header(), typ="jwt"),
    "jku": with_(good_header(), jku="https://attacker.example/keys"),
    "x5u": with_(good_header(), x5u="https://attacker.example/cert"),
    "jwk": with_(good_header(), jwk={"kty": "oct", "k": encoded(b"k" * 32)}),
    "x5c": with_(good_header(), x5c=["AAAA"]),
    "crit": with_(good_header(), crit=["exp"]),
    "crit empty": with_(good_header(), crit=[]),
    "b64": with_(good_header(), b64=False, crit=["b64"]),
    "b64 true": with_(good_header(), b64=True),
    "zip": with_(good_header(), zip="DEF"),
    "cty": with_(good_header(), cty="JWT"),
    "empty": b"{}",
    "a list": b"[]",
    "a text": b'"HS256"',
    "null": b"null",
    "not JSON": b"{",
    "not UTF-8": b"\xff\xfe",
    "nested": b"[" * 1_500,
}


@pytest.mark.parametrize("name", HEADERS)
def test_no_other_header_is_accepted(tokens: JwtAccessTokens, name: str) -> None:
    with pytest.raises(NotAuthenticated):
        tokens.read(signed(HEADERS[name]), now=NOW)


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "nOnE", ""])
def test_no_token_is_accepted_without_a_signature(tokens: JwtAccessTokens, alg: str) -> None:
    told = signed(with_(good_header(), alg=alg)).rpartition(".")[0]
    for token in (told, f"{told}.", f"{told}.{'A' * 43}", signed().rpartition(".")[0] + "."):
        with pytest.raises(NotAuthenticated):
            tokens.read(token, now=NOW)


@pytest.mark.parametrize("digest", [hashlib.sha512, hashlib.sha384, hashlib.sha1])
@pytest.mark.parametrize("alg", ["HS512", "HS384", "HS256"])
def test_no_other_algorithm_is_accepted_with_the_same_key(
    tokens: JwtAccessTokens, alg: str, digest: Callable[..., Any]
) -> None:
    with pytest.raises(NotAuthenticated):
        tokens.read(signed(with_(good_header(), alg=alg), digest=digest), now=NOW)


@pytest.mark.parametrize("key", ["", key_id(KEY), KEY.lower(), KEY + "x", "null"])
def test_no_other_key_is_accepted(tokens: JwtAccessTokens, key: str) -> None:
    with pytest.raises(NotAuthenticated):
        tokens.read(signed(key=key), now=NOW)


PAYLOADS: Final[Mapping[str, Any]] = {
    **{f"{name} missing": without(good_payload(), name) for name in good_payload()},
    **{f"{name} null": with_(good_payload(), **{name: None}) for name in good_payload()},
    **{f"{name} a number": with_(good_payload(), **{name: 7}) for name in ("iss", "aud", "sub", "jti")},
    **{
        f"{name} {what}": with_(good_payload(), **{name: value})
        for name in ("iat", "exp")
        for what, value in {
            "bool": True,
            "text": str(IAT + 60),
            "a fraction": IAT + 30.5,
            "1e30": 1e30,
            "10**30": 10**30,
            "-10**30": -(10**30),
            "a list": [IAT],
            "NaN": float("nan"),
            "infinite": float("inf"),
            "minus infinite": float("-inf"),
        }.items()
    },
    **{
        f"{name} {what}": with_(good_payload(), **{name: value})
        for name in ("sub", "jti", "fingerprint")
        for what, value in {
            "empty": "",
            "with NUL": "\0",
            "with half a character": "\ud800",
            "not ASCII": "ä" * 32,
            "with a line end": good_payload()[name] + "\n",
        }.items()
    },
    "exp in a hundred years": with_(good_payload(), exp=IAT + 100 * 365 * 86_400),
    "exp a second too far": with_(good_payload(), exp=IAT + 8 * 3_600 + 1),
    "exp before iat": with_(good_payload(), exp=IAT - 1),
    "exp and iat in ages": with_(good_payload(), iat=10**30, exp=10**30 + 1),
    "iat ahead": with_(good_payload(), iat=IAT + 61, exp=IAT + 120),
    "iss another": with_(good_payload(), iss="another"),
    "iss a part": with_(good_payload(), iss="photo"),
    "iss a list": with_(good_payload(), iss=["photochanger"]),
    "aud another": with_(good_payload(), aud="another"),
    "aud a list": with_(good_payload(), aud=["photochanger-administration"]),
    "aud among others": with_(good_payload(), aud=["photochanger-administration", "another"]),
    "permissions a text": with_(good_payload(), permissions="slots:read"),
    "permissions numbers": with_(good_payload(), permissions=[1]),
    "nbf": with_(good_payload(), nbf=IAT),
    "another claim": with_(good_payload(), admin=True),
    "empty": b"{}",
    "a list": b"[]",
    "a number of many digits": b'{"exp":' + b"9" * 2_000 + b"}",
    "not JSON": b"{",
    "not UTF-8": b'{"sub":"\xff"}',
    "nested": b"[" * 1_500,
}


@pytest.mark.parametrize("name", PAYLOADS)
def test_no_other_claims_are_accepted(tokens: JwtAccessTokens, name: str) -> None:
    with pytest.raises(NotAuthenticated) as refused:
        tokens.read(signed(payload=PAYLOADS[name]), now=NOW)
    assert not isinstance(refused.value, TokenExpired)


@pytest.mark.parametrize("deep", [b"[" * 100_000, b'{"a":' * 100_000], ids=["lists", "objects"])
@pytest.mark.parametrize("part", ["header", "payload"])
def test_deep_nesting_is_refused(tokens: JwtAccessTokens, part: str, deep: bytes) -> None:
    with pytest.raises(NotAuthenticated):
        tokens.read(signed(deep) if part == "header" else signed(payload=deep), now=NOW)


def test_a_long_token_is_not_decoded(tokens: JwtAccessTokens, monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(*_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr("photochanger.adapters.jwt_tokens.jwt.get_unverified_header", decode)
    for fill in (MAX_TOKEN, 1_000_000):
        with pytest.raises(NotAuthenticated):
            tokens.read(signed(payload=with_(good_payload(), sub="a" * fill)), now=NOW)


def test_a_dropped_key_no_longer_counts() -> None:
    token = JwtAccessTokens([OLD_KEY]).issue(some_claims())
    assert JwtAccessTokens([KEY, OLD_KEY]).read(token, now=NOW) == some_claims()
    with pytest.raises(NotAuthenticated):
        JwtAccessTokens([KEY]).read(token, now=NOW)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "k" * 31,
        "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----",
        "ssh-rsa " + KEY,
    ],
)
@pytest.mark.parametrize("before", [[], [KEY]])
def test_a_key_that_is_short_or_of_another_kind_is_refused(key: str, before: list[str]) -> None:
    with pytest.raises(ValueError, match="signing key") as refused:
        JwtAccessTokens([*before, key])
    assert key == "" or key not in str(refused.value)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    header=st.dictionaries(st.sampled_from(["alg", "typ", "kid", "crit", "b64", "jwk"]), _JSON),
    payload=st.dictionaries(st.sampled_from([*good_payload(), "nbf"]), _JSON),
    keep=st.booleans(),
)
def test_whatever_is_signed_is_read_or_refused_and_nothing_else(
    header: dict[str, Any], payload: dict[str, Any], keep: bool
) -> None:
    token = signed(good_header() if keep else header or b"{}", with_(good_payload(), **payload))
    try:
        JwtAccessTokens([KEY]).read(token, now=NOW)
    except NotAuthenticated:
        return
    assert keep


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.text())
def test_any_text_is_refused(text: str) -> None:
    with pytest.raises(NotAuthenticated):
        JwtAccessTokens([KEY]).read(text, now=NOW)
