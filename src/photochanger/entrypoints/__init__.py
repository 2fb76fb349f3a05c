"""Delivery (HTTP, command line, worker) and wiring; the only place that sees everything."""
