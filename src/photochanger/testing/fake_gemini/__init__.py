"""A faithful fake of the Gemini API: a real HTTP server that takes what Gemini takes and fails as it fails.

    async with FakeGemini(script=["overloaded", "ok"]) as gemini:
        provider = GeminiProvider(api_key=gemini.api_key, base_url=gemini.base_url)

The official client works against it. What is known of the real one, and how well, is in the comments and
docstrings here; nothing of it was tried against the real API.
"""

from photochanger.testing.fake_gemini.faults import FAULTS
from photochanger.testing.fake_gemini.requests import ReceivedCall, ReceivedImage
from photochanger.testing.fake_gemini.server import FakeGemini

__all__ = ["FAULTS", "FakeGemini", "ReceivedCall", "ReceivedImage"]
