"""What an administrator may be allowed to do."""

from enum import StrEnum


class Permission(StrEnum):
    """One thing that an account may or may not do."""

    SLOTS_READ = "slots:read"
    SLOTS_WRITE = "slots:write"
    TEMPLATES_WRITE = "templates:write"
    SETTINGS_READ = "settings:read"
    SETTINGS_WRITE = "settings:write"
    JOBS_READ = "jobs:read"
    JOBS_CANCEL = "jobs:cancel"
    MEDIA_REGISTER = "media:register"
    MEDIA_CLEANUP = "media:cleanup"
    STATS_READ = "stats:read"
    AUDIT_READ = "audit:read"
