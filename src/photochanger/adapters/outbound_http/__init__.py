"""HTTP to image providers: calls that know whether they may have arrived, answers of a bounded size.

What every provider over HTTP needs and none should write again. It is the one adapter that others use.
"""

from photochanger.adapters.outbound_http.client import (
    Answer,
    AnswerTooLarge,
    Body,
    Interrupted,
    NotSent,
    OutboundHttp,
)
from photochanger.adapters.outbound_http.origins import Origin, parse_base_url

__all__ = [
    "Answer",
    "AnswerTooLarge",
    "Body",
    "Interrupted",
    "NotSent",
    "Origin",
    "OutboundHttp",
    "parse_base_url",
]
