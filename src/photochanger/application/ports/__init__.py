"""Every port: the sockets of the hexagon.

A port is a contract. Each sentence of its docstrings is a test in `photochanger.testing`, and every adapter
passes all of them. Unless a method says otherwise, it may raise `DatabaseUnavailable` (storage of records)
or `StorageUnavailable` (storage of bytes), may be called concurrently, and lets cancellation pass through
with nothing half done.
"""

from photochanger.application.ports.auth import PasswordHasher
from photochanger.application.ports.clock import Clock
from photochanger.application.ports.images import FinishedImage, ImageEditor, PreparedImage
from photochanger.application.ports.providers import (
    ImageProvider,
    ProviderFactory,
    TemplateImage,
    TransformRequest,
)
from photochanger.application.ports.signals import Signals, Subscription, Topic
from photochanger.application.ports.storage import (
    JobReading,
    JobRepository,
    JobSubmission,
    MediaReading,
    MediaRegistry,
    MediaStore,
    MediaWriter,
    ProviderUsage,
    SettingsRepository,
    SlotRepository,
    Submitted,
    TemplateRepository,
    Verdict,
)

__all__ = [
    "Clock",
    "FinishedImage",
    "ImageEditor",
    "ImageProvider",
    "JobReading",
    "JobRepository",
    "JobSubmission",
    "MediaReading",
    "MediaRegistry",
    "MediaStore",
    "MediaWriter",
    "PasswordHasher",
    "PreparedImage",
    "ProviderFactory",
    "ProviderUsage",
    "SettingsRepository",
    "Signals",
    "SlotRepository",
    "Submitted",
    "Subscription",
    "TemplateImage",
    "TemplateRepository",
    "Topic",
    "TransformRequest",
    "Verdict",
]
