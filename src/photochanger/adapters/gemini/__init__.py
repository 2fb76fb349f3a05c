"""Google Gemini through its Developer API: one `generateContent` call per attempt."""

from photochanger.adapters.gemini.provider import GeminiProvider

__all__ = ["GeminiProvider"]
