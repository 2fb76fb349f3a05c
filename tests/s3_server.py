"""A local S3 service for the tests: moto, in a process of its own, so that its memory is not ours."""

import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from urllib.parse import quote

from photochanger.adapters.object_store.bucket import Bucket

KEY_ID = "AKIACANARYKEYID00000"
SECRET = "canary/secret/canary/secret/canary/secre"

_SERVE = """
import logging, sys
from moto.server import ThreadedMotoServer
logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""
"""It ends with whoever started it, however that ends: then its standard input is closed."""

PREFIX = "booth-7/media"


class S3Server:
    """The service seen from outside: what is really there."""

    def __init__(self, port: int) -> None:
        self.port = port

    @property
    def endpoint(self) -> str:
        """The address for clients."""
        return f"http://127.0.0.1:{self.port}"

    def new_bucket(self, *, prefix: str = PREFIX, keeps_versions: bool = False) -> Bucket:
        """Make an empty bucket."""
        name = f"photos-{secrets.token_hex(8)}"
        self._ask("PUT", f"/{name}")
        if keeps_versions:
            enabled = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
            self._ask("PUT", f"/{name}?versioning", enabled)
        return self.bucket(name, prefix=prefix)

    def bucket(self, name: str, *, prefix: str = PREFIX) -> Bucket:
        """Return a bucket as it is configured, whether it is there or not."""
        return Bucket(
            name=name,
            prefix=prefix,
            endpoint=self.endpoint,
            access_key_id=KEY_ID,
            secret_access_key=SECRET,
        )

    def put(self, bucket: Bucket, name: str, content: bytes = b"") -> None:
        """Store an object under its full name, prefix or not."""
        self._ask("PUT", f"/{bucket.name}/{quote(name)}", content)

    def names(self, bucket: Bucket) -> list[str]:
        """Return the full names of the first thousand objects, sorted."""
        return sorted(re.findall(r"<Key>([^<]+)</Key>", self._ask("GET", f"/{bucket.name}?list-type=2")))

    def unfinished_uploads(self, bucket: Bucket) -> list[str]:
        """Return the names that multipart uploads are under way for."""
        return re.findall(r"<Key>([^<]+)</Key>", self._ask("GET", f"/{bucket.name}?uploads"))

    def _ask(self, method: str, target: str, body: bytes | None = None) -> str:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, target, body)
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        assert answer.status in {200, 204}, text
        return text


@contextmanager
def s3_server_running() -> Iterator[S3Server]:
    """Run the service during the context, on a port of its own."""
    command = [sys.executable, "-W", "ignore", "-c", _SERVE]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        port = process.stdout.readline()
        assert port, "the S3 service did not start"
        yield S3Server(int(port))
        process.stdin.close()
