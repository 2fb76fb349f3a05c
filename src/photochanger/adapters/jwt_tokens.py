"""Access tokens as JSON Web Tokens (RFC 7519), signed with HMAC-SHA-256."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final, TypeAlias

import jwt
import msgspec

from photochanger.application.ports.administration import AccessTokens, TokenClaims
from photochanger.domain.account import SESSION_LIFETIME, SessionId
from photochanger.domain.errors import NotAuthenticated, TokenExpired

MIN_KEY_BYTES: Final = 32
"""A key of HS256 has at least as many bits as its hash (RFC 7518, section 3.2)."""

MAX_TOKEN: Final = 4_096
"""Characters; one of ours has about seven hundred."""

ISSUER: Final = "photochanger"
AUDIENCE: Final = "photochanger-administration"

_ALGORITHM: Final = "HS256"
_MAX_AHEAD_SEC: Final = 60
_FORM: Final = re.compile(r"[\w-]+\.[\w-]+\.[\w-]{43}", re.ASCII)
"""Three parts without padding, which PyJWT would accept; a SHA-256 has 43 characters."""


_Word: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"\A[!-~]+\Z")]
"""Names and ids of ours are of visible ASCII characters; others could be neither looked up nor compared."""


class _Content(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The claims of a token, exactly; `msgspec` takes no bool, float or text for a date."""

    iss: str
    aud: str
    sub: _Word
    jti: _Word
    iat: int
    exp: int
    fingerprint: _Word
    permissions: tuple[str, ...]


class JwtAccessTokens(AccessTokens):
    """Tokens signed with the first of `keys`; those that the others have signed are read as well.

    The header of a token is `alg`, `typ` and `kid`, the last a part of the key's digest. Nothing in it is
    believed: it has to be one of those that our keys make. Raises `ValueError` for a key that is too short.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = {_key_id(key): key.encode() for key in keys}
        self._present = _key_id(keys[0])
        self._jwt = jwt.PyJWT(
            options={
                "enforce_minimum_key_length": True,
                "require": ["exp", "iat", "sub", "jti", "aud", "iss"],
                "strict_aud": True,
                # Times are judged by the caller's clock, and more strictly than PyJWT would.
                "verify_exp": False,
                "verify_iat": False,
            }
        )
        for key in self._keys.values():
            self._require_fit(key)

    def issue(self, claims: TokenClaims) -> str:
        """Return a token that says so."""
        content = _Content(
            iss=ISSUER,
            aud=AUDIENCE,
            sub=claims.username,
            jti=claims.session_id,
            iat=int(claims.issued_at.timestamp()),
            exp=int(claims.expires_at.timestamp()),
            fingerprint=claims.fingerprint,
            permissions=tuple(sorted(claims.permissions)),
        )
        return self._jwt.encode(
            msgspec.to_builtins(content),
            self._keys[self._present],
            _ALGORITHM,
            headers={"kid": self._present},
        )

    def read(self, token: str, *, now: datetime) -> TokenClaims:
        """Return what a token of ours says. Raises `TokenExpired` and `NotAuthenticated`."""
        content = self._verified(token)
        life_sec = content.exp - content.iat
        is_early = content.iat > now.timestamp() + _MAX_AHEAD_SEC
        if is_early or not 0 < life_sec <= SESSION_LIFETIME.total_seconds():
            raise NotAuthenticated
        if content.exp <= now.timestamp():
            raise TokenExpired
        return _claims_of(content)

    def _verified(self, token: str) -> _Content:
        if len(token) > MAX_TOKEN or not _FORM.fullmatch(token):
            raise NotAuthenticated
        try:
            key = self._key_for(jwt.get_unverified_header(token))
            payload = self._jwt.decode(token, key, [_ALGORITHM], audience=AUDIENCE, issuer=ISSUER)
            return msgspec.convert(payload, _Content)
        except (jwt.PyJWTError, msgspec.ValidationError):
            raise NotAuthenticated from None  # the original's text may hold parts of the token

    def _key_for(self, header: Mapping[str, Any]) -> bytes:
        for key_id, key in self._keys.items():
            if header == {"alg": _ALGORITHM, "typ": "JWT", "kid": key_id}:
                return key
        raise NotAuthenticated

    def _require_fit(self, key: bytes) -> None:
        try:
            self._jwt.encode({}, key, _ALGORITHM)
        except jwt.InvalidKeyError:
            raise ValueError(f"a signing key is {MIN_KEY_BYTES} bytes or more of no other format") from None


def _key_id(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:16]


def _claims_of(content: _Content) -> TokenClaims:
    return TokenClaims(
        username=content.sub,
        session_id=SessionId(content.jti),
        fingerprint=content.fingerprint,
        permissions=frozenset(content.permissions),
        issued_at=datetime.fromtimestamp(content.iat, UTC),
        expires_at=datetime.fromtimestamp(content.exp, UTC),
    )
