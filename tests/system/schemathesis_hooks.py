"""What Schemathesis loads besides its configuration: files that are photos, and files that are not."""

import schemathesis
from hypothesis import strategies as st

from photochanger.testing.photos import plain_jpeg
from tests.system.http_server import picture

_PHOTOS = [plain_jpeg(), picture("PNG"), picture("WEBP")]

schemathesis.openapi.format(
    "binary", st.one_of(st.sampled_from(_PHOTOS), st.binary(min_size=1, max_size=200))
)
