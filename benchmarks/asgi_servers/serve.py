"""Run one candidate as it is usually run: `python -m benchmarks.asgi_servers.serve NAME PORT [WORKERS]`.

Like `apps`, this imports only what it needs: it is part of the memory measured.
"""

import importlib
import sys
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
UVICORN, UVICORN_H11, GRANIAN, HYPERCORN = "uvicorn httptools", "uvicorn h11", "granian", "hypercorn"
ROOT = Path(__file__).parents[2]
"""The folder that holds `benchmarks`: where candidates are started."""

_APP = "benchmarks.asgi_servers.apps:app"
_BACKLOG = 4096


def main() -> None:
    """Serve until the process is ended."""
    name, port, workers = sys.argv[1], int(sys.argv[2]), int((sys.argv[3:] or ["1"])[0])
    if name == GRANIAN:
        granian = importlib.import_module("granian.server").Server
        granian(_APP, backpressure=8192, working_dir=ROOT, **granian_options(port)).serve()
    elif name == HYPERCORN:
        importlib.import_module("hypercorn.run").run(hypercorn_config(port))
    else:
        _run_uvicorn(name, port, workers)


def _run_uvicorn(name: str, port: int, workers: int) -> None:
    import uvicorn  # noqa: PLC0415 - the other candidates' processes must not load it

    fast = name == UVICORN
    uvicorn.run(
        _APP,
        host=HOST,
        port=port,
        http="httptools" if fast else "h11",
        loop="uvloop" if fast else "asyncio",
        ws="none",
        log_level="critical",
        access_log=False,
        backlog=_BACKLOG,
        workers=workers,
    )


def granian_options(port: int) -> dict[str, Any]:
    """Return what granian is given, run as usual or embedded."""
    constants = importlib.import_module("granian.constants")
    return {
        "address": HOST,
        "port": port,
        "interface": constants.Interfaces.ASGI,
        "http": constants.HTTPModes.http1,
        "websockets": False,
        "backlog": _BACKLOG,
        "log_enabled": False,
    }


def hypercorn_config(port: int) -> Any:
    """Return what hypercorn is given, run as usual or embedded."""
    config = importlib.import_module("hypercorn.config").Config()
    config.bind = [f"{HOST}:{port}"]
    config.application_path = _APP
    config.worker_class = "uvloop"
    config.backlog = _BACKLOG
    config.graceful_timeout = 60
    config.loglevel = "CRITICAL"
    return config


if __name__ == "__main__":
    main()
