"""Bodies that requests could have, for the contract: each is what its endpoint reads."""

from collections.abc import Mapping
from typing import Final

import msgspec

from photochanger.domain.slot import OnFailure
from photochanger.entrypoints.documents.settings import (
    CleanupDocument,
    IngestUpdate,
    LimitsDocument,
    ResultsDocument,
    SettingsUpdate,
)
from photochanger.entrypoints.documents.slots import BoundTemplate, Call, Retry, SlotUpdate
from photochanger.entrypoints.http.login import Credentials

_CREDENTIALS: Final = Credentials(username="igor", password="correct horse battery staple")  # noqa: S106

_REHEARSAL: Final = SlotUpdate(
    version=2,
    display_name="Rehearsal",
    is_active=True,
    provider="rehearsal",
    operation="photo_effect",
    params={"effect": "sepia"},
    size_limit_mb=15,
    retry=Retry(max_attempts=1, backoff_ms=500),
    on_failure=OnFailure.ERROR,
    public_gallery=False,
)
_WITH_FALLBACK: Final = SlotUpdate(
    version=7,
    display_name="Хэллоуин",
    is_active=True,
    provider="gemini",
    operation="style_transfer",
    params={"prompt": "A portrait in the style of the template"},
    template_media=[BoundTemplate(role="style", template_id="0f2d6a1f8c7b4e5aa9d3c1b2e4f60718")],
    size_limit_mb=15,
    sync_response_timeout_sec=45,
    max_concurrency=4,
    retry=Retry(max_attempts=2, backoff_ms=500, repeat_maybe_billed=True),
    fallback=Call(provider="rehearsal", operation="photo_effect", params={"effect": "none"}),
    on_failure=OnFailure.ORIGINAL,
    public_gallery=True,
    ingest_password="correct-horse",  # noqa: S106
)

_SETTINGS: Final = SettingsUpdate(
    version=1,
    ingest=IngestUpdate(
        sync_response_timeout_sec=48,
        rate_limit_rps=10,
        rate_limit_burst=20,
        max_upload_mb=50,
        deduplicate=True,
    ),
    results=ResultsDocument(retention_hours=72, gallery_size=10),
    limits=LimitsDocument(per_slot=10, per_provider={"gemini": 8}, quota_per_day={"gemini": 1500}),
    cleanup=CleanupDocument(enabled=True, interval_sec=60, history_days=30),
)
_ROTATION: Final = msgspec.structs.replace(
    _SETTINGS,
    version=2,
    ingest=msgspec.structs.replace(_SETTINGS.ingest, dslr_password="a-new-password"),  # noqa: S106
)

BODIES: Final[Mapping[type[msgspec.Struct], Mapping[str, msgspec.Struct]]] = {
    Credentials: {"login": _CREDENTIALS},
    SlotUpdate: {"rehearsal": _REHEARSAL, "with_fallback": _WITH_FALLBACK},
    SettingsUpdate: {"settings": _SETTINGS, "new_password": _ROTATION},
}
"""The examples of every JSON body, by name."""
