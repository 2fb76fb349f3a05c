"""Every port: the sockets of the hexagon.

A port is a contract. Each sentence of its docstrings is a test in `photochanger.testing`, and every adapter
passes all of them. Unless a method says otherwise, it may raise `DatabaseUnavailable` (storage of records)
or `StorageUnavailable` (storage of bytes), may be called concurrently, and lets cancellation pass through
with nothing half done.
"""

from photochanger.application.ports.administration import (
    AccessTokens,
    AccountRepository,
    AuditFilter,
    AuditLog,
    JobCursor,
    JobFilter,
    JobHistory,
    LoginThrottle,
    SessionRepository,
    Statistics,
    TokenClaims,
)
from photochanger.application.ports.admission import IngestGate, Passage
from photochanger.application.ports.auth import PasswordHasher
from photochanger.application.ports.clock import Clock
from photochanger.application.ports.configuration import (
    SettingsRepository,
    SlotRepository,
    TemplateRepository,
)
from photochanger.application.ports.housekeeping import Due, Forgotten, Housekeeping, LastSweep
from photochanger.application.ports.images import FinishedImage, ImageEditor, PreparedImage
from photochanger.application.ports.jobs import (
    Claimed,
    EndedResults,
    JobReading,
    JobRepository,
    JobSubmission,
    Place,
    ResultReading,
    Submitted,
    Verdict,
)
from photochanger.application.ports.media import (
    Installation,
    MediaReading,
    MediaRegistry,
    MediaStore,
    MediaWriter,
)
from photochanger.application.ports.providers import (
    ImageProvider,
    ProviderFactory,
    ProviderUsage,
    TemplateImage,
    TransformRequest,
)
from photochanger.application.ports.signals import Signals, Subscription, Topic

__all__ = [
    "AccessTokens",
    "AccountRepository",
    "AuditFilter",
    "AuditLog",
    "Claimed",
    "Clock",
    "Due",
    "EndedResults",
    "FinishedImage",
    "Forgotten",
    "Housekeeping",
    "ImageEditor",
    "ImageProvider",
    "IngestGate",
    "Installation",
    "JobCursor",
    "JobFilter",
    "JobHistory",
    "JobReading",
    "JobRepository",
    "JobSubmission",
    "LastSweep",
    "LoginThrottle",
    "MediaReading",
    "MediaRegistry",
    "MediaStore",
    "MediaWriter",
    "Passage",
    "PasswordHasher",
    "Place",
    "PreparedImage",
    "ProviderFactory",
    "ProviderUsage",
    "ResultReading",
    "SessionRepository",
    "SettingsRepository",
    "Signals",
    "SlotRepository",
    "Statistics",
    "Submitted",
    "Subscription",
    "TemplateImage",
    "TemplateRepository",
    "TokenClaims",
    "Topic",
    "TransformRequest",
    "Verdict",
]
