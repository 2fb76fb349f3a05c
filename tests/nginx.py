"""nginx with the configuration that we hand out, before processes of ours."""

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

CONFIGURATION: Final = Path(__file__).parents[1] / "deploy" / "nginx" / "photochanger.conf"

_AROUND_IT: Final = """
daemon off;
{user}
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {handed_out}
}}
"""
_START_SEC: Final = 10.0


def program() -> str | None:
    """Return the path of nginx, if there is one (Debian: the package of that name)."""
    return shutil.which("nginx", path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/usr/local/sbin")


@contextmanager
def nginx_before(ports: Sequence[int], *, port: int, folder: Path) -> Iterator[Path]:
    """Run nginx on `port`, before the processes on `ports`, during the context; give its log of errors.

    Only the addresses, and how many there are, differ from the configuration that is handed out.
    """
    found = program()
    if found is None:
        raise FileNotFoundError("nginx is not installed")
    configuration = folder / "nginx.conf"
    configuration.write_text(_configuration(ports, port, folder))
    process = subprocess.Popen(
        [found, "-p", str(folder), "-c", str(configuration)], stderr=subprocess.DEVNULL
    )
    try:
        _wait_for(port)
        yield folder / "error.log"
    finally:
        process.terminate()
        process.wait()


def _configuration(ports: Sequence[int], port: int, folder: Path) -> str:
    handed_out = CONFIGURATION.read_text().replace("listen 80;", f"listen 127.0.0.1:{port};")
    [(_, terms), *_] = servers = re.findall(r"^( *server 10\S+)( .*;\n)", handed_out, re.MULTILINE)
    first, *others = ["".join(server) for server in servers]
    own = "".join(f"    server 127.0.0.1:{each}{terms}" for each in ports)
    handed_out = handed_out.replace(first, own)
    for other in others:
        handed_out = handed_out.replace(other, "")
    assert "10.0.0." not in handed_out, "an address of the example is left"
    user = "user root;" if os.geteuid() == 0 else ""
    return _AROUND_IT.format(folder=folder, user=user, handed_out=handed_out)


def _wait_for(port: int) -> None:
    patience_ends = time.monotonic() + _START_SEC
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert time.monotonic() < patience_ends, "nginx does not start"
            time.sleep(0.02)
        else:
            return
