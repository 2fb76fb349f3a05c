"""Compare ASGI servers at what PhotoChanger asks of one: `python -m benchmarks.asgi_servers --help`.

The servers other than uvicorn are no requirement of PhotoChanger; those that are not installed are left out.
Each candidate serves `apps.app` in a process of its own, on core 0; the load comes from core 1. Rounds are
interleaved: every candidate runs once before any runs twice. Every load ends by itself.
"""
