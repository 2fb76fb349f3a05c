"""nginx as the yardstick: one worker with `sendfile`, and a configuration of its own.

Beside files it serves what `locations` say, such as a proxy.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

from benchmarks.harness import SERVER_CORE, pinned, wait_for

_CONFIGURATION = """
daemon off;
{user}
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    default_type image/jpeg;
    sendfile on;
    keepalive_requests 1000000000;
    {upstreams}
    server {{
        listen 127.0.0.1:{port};
        root {folder}/files;
        client_max_body_size 200m;
        {locations}
    }}
}}
"""
"""As Debian ships it, but for the lines that keep it in its folder and its connections open."""


def is_installed() -> bool:
    """Say whether there is an nginx (Debian: the package of that name)."""
    return _program() is not None


def _program() -> str | None:
    return shutil.which("nginx", path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/usr/local/sbin")


PROXY = """
    upstream peer {{ server 127.0.0.1:{port}; keepalive 64; }}
    map $host $nothing {{ default ""; }}"""
PROXY_LOCATION = """
    location /v1/ {
        proxy_pass http://peer;
        proxy_http_version 1.1;
        proxy_set_header Connection $nothing;
    }"""
"""Everything to the server on a port, over kept-alive connections, and buffered as by default."""

PUT_LOCATION = "location /put/ { dav_methods PUT; create_full_put_path on; }"
"""Bodies of PUT become files, renamed out of `client_body_temp_path` on the same file system."""


def version() -> str:
    """Return the version of the nginx that is installed."""
    told = subprocess.run([_program() or "nginx", "-v"], capture_output=True, text=True, check=True)
    return told.stderr.strip().rpartition("/")[2]


@contextmanager
def nginx(
    folder: Path, port: int, files: Mapping[str, bytes], *, locations: str = "", upstreams: str = ""
) -> Iterator[int]:
    """Serve these files under their paths during the context; give the id of the one worker process."""
    program = _program()
    if program is None:
        raise FileNotFoundError("nginx is not installed")
    for path, content in files.items():
        file = folder / "files" / path.removeprefix("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    configuration = folder / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""
    configuration.write_text(
        _CONFIGURATION.format(folder=folder, port=port, user=user, locations=locations, upstreams=upstreams)
    )
    command = [*pinned(SERVER_CORE), program, "-p", str(folder), "-c", str(configuration)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        wait_for(f"http://127.0.0.1:{port}{next(iter(files))}")
        [worker] = psutil.Process(process.pid).children()
        yield worker.pid
    finally:
        process.terminate()
        process.wait()
