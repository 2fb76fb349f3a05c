"""Bounds as the contract tells them.

Reading does not hold callers to these: the domain does, and tells everything that is wrong at once.
"""

from msgspec import Meta


def between(minimum: float, maximum: float, meaning: str = "") -> Meta:
    """Return what the contract says of a number from `minimum` to `maximum`, both included."""
    return Meta(
        description=f"{minimum:g} to {maximum:g}{meaning}",
        extra_json_schema={"minimum": minimum, "maximum": maximum},
    )


def characters(minimum: int, maximum: int, meaning: str) -> Meta:
    """Return what the contract says of a text of so many characters; `meaning` says what it is."""
    return Meta(description=meaning, extra_json_schema={"minLength": minimum, "maxLength": maximum})


NO_NUL = r"^[^\u0000]*$"
"""The pattern of a text that a database can hold."""
