"""Templates: images of the administrators' that an operation takes beside the photo."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from photochanger.domain.media import MediaId, StoredImage

MAX_TEMPLATE_NAME: Final = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A stored template: what administrators call it, its image and preview, who added it and when.

    Names are for people: two templates may have the same one.
    """

    name: str
    image: StoredImage
    preview: StoredImage
    created_at: datetime
    created_by: str

    @property
    def template_id(self) -> MediaId:
        """What slots bind it by: the id of its file."""
        return self.image.media_id
