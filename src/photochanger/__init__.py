"""PhotoChanger: a photo in, the finished picture out, before the deadline.

Start reading at `photochanger.domain` (the rules), then `photochanger.application` (the use cases and the
ports they need). Both import and run with no third-party package, no server and no database.
"""

__version__ = "0.1.0"
