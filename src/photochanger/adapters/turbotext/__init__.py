"""The image provider Turbotext, https://www.turbotext.ru/photo_ai/docs/info."""

from photochanger.adapters.turbotext.provider import TurbotextProvider

__all__ = ["TurbotextProvider"]
