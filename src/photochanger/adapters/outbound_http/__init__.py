"""HTTP to image providers: calls that know whether they may have arrived, answers of a bounded size.

What every provider over HTTP needs and none should write again. It is the one adapter that others use.
"""

from photochanger.adapters.outbound_http.client import Body, GuardedHttp, OutboundHttp
from photochanger.adapters.outbound_http.guard import AddressGuard, is_public
from photochanger.adapters.outbound_http.origins import Destinations, Origin, parse_base_url
from photochanger.adapters.outbound_http.outcomes import (
    Answer,
    AnswerTooLarge,
    Downloaded,
    Forbidden,
    Head,
    Interrupted,
    NotSent,
)

__all__ = [
    "AddressGuard",
    "Answer",
    "AnswerTooLarge",
    "Body",
    "Destinations",
    "Downloaded",
    "Forbidden",
    "GuardedHttp",
    "Head",
    "Interrupted",
    "NotSent",
    "Origin",
    "OutboundHttp",
    "is_public",
    "parse_base_url",
]
