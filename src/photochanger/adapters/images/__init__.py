"""Images by Pillow, which only ever sees files that our own readers have walked and cleaned."""

from photochanger.adapters.images.editor import PillowImageEditor

__all__ = ["PillowImageEditor"]
