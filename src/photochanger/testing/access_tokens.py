"""The contract of `AccessTokens`."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

import pytest

from photochanger.application.ports.administration import AccessTokens, TokenClaims
from photochanger.domain.account import SESSION_LIFETIME, SessionId
from photochanger.domain.errors import NotAuthenticated, TokenExpired
from photochanger.domain.permissions import Permission
from photochanger.testing.harness import AN_INSTANT, MINUTE, SECOND

NOW = datetime(2026, 1, 14, 12, tzinfo=UTC)


class TokensWithKeys(Protocol):
    """Makes the adapter with these keys, the present one first. Keys are given by any name."""

    def __call__(self, names: Sequence[str]) -> AccessTokens: ...


def some_claims(
    *, issued_at: datetime = NOW, life: timedelta = SESSION_LIFETIME, username: str = "serg"
) -> TokenClaims:
    """Return claims as a login makes them."""
    return TokenClaims(
        username=username,
        session_id=SessionId("0af7651916cd43dd8448eb211c80319c"),
        fingerprint="b7ad6b7169203331b7ad6b7169203331",
        permissions=frozenset(permission.value for permission in Permission),
        issued_at=issued_at,
        expires_at=issued_at + life,
    )


class AccessTokensContract:
    """Every sentence of `AccessTokens`; override the fixture `with_keys`."""

    @pytest.fixture
    def with_keys(self) -> TokensWithKeys:
        """Return what makes the adapter."""
        raise NotImplementedError("override the fixture `with_keys`")

    @pytest.fixture
    def tokens(self, with_keys: TokensWithKeys) -> AccessTokens:
        """Return the adapter with one key."""
        return with_keys(["present"])

    def test_a_token_says_what_it_was_issued_for(self, tokens: AccessTokens) -> None:
        assert tokens.read(tokens.issue(some_claims()), now=NOW) == some_claims()

    def test_an_account_need_not_have_any_permission(self, tokens: AccessTokens) -> None:
        claims = replace(some_claims(), permissions=frozenset())
        assert tokens.read(tokens.issue(claims), now=NOW) == claims

    def test_a_header_may_hold_a_token(self, tokens: AccessTokens) -> None:
        token = tokens.issue(some_claims(username="a" * 64))
        assert re.fullmatch(r"[A-Za-z0-9._~+/-]+=*", token)  # b64token, RFC 6750 section 2.1
        assert len(token) < 2_000

    def test_times_are_kept_to_the_second(self, tokens: AccessTokens) -> None:
        issued_at = NOW + timedelta(microseconds=999_999)
        read = tokens.read(tokens.issue(some_claims(issued_at=issued_at)), now=issued_at)
        assert (read.issued_at, read.expires_at) == (NOW, NOW + SESSION_LIFETIME)

    def test_it_is_good_until_its_end_and_not_at_it(self, tokens: AccessTokens) -> None:
        token = tokens.issue(some_claims(life=MINUTE))
        tokens.read(token, now=NOW + MINUTE - AN_INSTANT)
        for late in (MINUTE, 10_000 * MINUTE):
            with pytest.raises(TokenExpired):
                tokens.read(token, now=NOW + late)

    @pytest.mark.parametrize("life", [SESSION_LIFETIME + SECOND, timedelta(365 * 100), timedelta(0), -SECOND])
    def test_a_life_that_no_session_has_is_refused(self, tokens: AccessTokens, life: timedelta) -> None:
        with pytest.raises(NotAuthenticated) as refused:
            tokens.read(tokens.issue(some_claims(life=life)), now=NOW - SECOND)
        assert type(refused.value) is NotAuthenticated

    def test_clocks_may_differ_by_a_minute_and_no_more(self, tokens: AccessTokens) -> None:
        token = tokens.issue(some_claims(issued_at=NOW + MINUTE))
        tokens.read(token, now=NOW)
        with pytest.raises(NotAuthenticated):
            tokens.read(token, now=NOW - AN_INSTANT)

    def test_no_changed_character_goes_unnoticed(self, tokens: AccessTokens) -> None:
        token = tokens.issue(some_claims())
        for place, character in enumerate(token):
            for other in {"A", "B", ".", "_", "="} - {character}:
                with pytest.raises(NotAuthenticated):
                    tokens.read(token[:place] + other + token[place + 1 :], now=NOW)

    @pytest.mark.parametrize(
        "change",
        [
            lambda token: token[:-1],
            lambda token: token[1:],
            lambda token: token + "=",
            lambda token: token + "\n",
            lambda token: " " + token,
            lambda token: token + ".",
            lambda token: token + ".x",
            lambda token: token + token,
            lambda token: token.upper(),
            lambda token: "Bearer " + token,
            lambda token: token.encode().hex(),
        ],
    )
    def test_nothing_may_be_added_or_taken_away(
        self, tokens: AccessTokens, change: Callable[[str], str]
    ) -> None:
        with pytest.raises(NotAuthenticated):
            tokens.read(change(tokens.issue(some_claims())), now=NOW)

    @pytest.mark.parametrize(
        "nonsense",
        [
            "",
            ".",
            "..",
            "...",
            "null",
            "\0",
            "ключ.ключ.ключ",
            "\ud800",
            "a.b.c",
            "x" * 1_000_000,
            "." * 100_000,
        ],
        ids=lambda nonsense: repr(nonsense[:9]),
    )
    def test_nonsense_is_refused(self, tokens: AccessTokens, nonsense: str) -> None:
        with pytest.raises(NotAuthenticated):
            tokens.read(nonsense, now=NOW)

    def test_nobody_else_can_make_one(self, with_keys: TokensWithKeys) -> None:
        token = with_keys(["theirs"]).issue(some_claims())
        with pytest.raises(NotAuthenticated):
            with_keys(["ours", "ours before"]).read(token, now=NOW)

    def test_what_an_earlier_key_has_made_is_read_until_that_key_is_dropped(
        self, with_keys: TokensWithKeys
    ) -> None:
        token = with_keys(["old"]).issue(some_claims())
        assert with_keys(["new", "old"]).read(token, now=NOW) == some_claims()
        assert with_keys(["newest", "new", "old"]).read(token, now=NOW) == some_claims()
        with pytest.raises(NotAuthenticated):
            with_keys(["newest", "new"]).read(token, now=NOW)

    def test_new_tokens_are_made_with_the_present_key(self, with_keys: TokensWithKeys) -> None:
        token = with_keys(["new", "old"]).issue(some_claims())
        assert with_keys(["new"]).read(token, now=NOW) == some_claims()
        with pytest.raises(NotAuthenticated):
            with_keys(["old"]).read(token, now=NOW)

    def test_a_refusal_does_not_tell_what_the_token_holds(self, tokens: AccessTokens) -> None:
        token = tokens.issue(some_claims(username="canary"))
        for told in (token[:-2] + "AA", token.replace(".", "..")):
            with pytest.raises(NotAuthenticated) as refused:
                tokens.read(told, now=NOW)
            assert refused.value.__cause__ is None
            assert str(refused.value) == NotAuthenticated.title
