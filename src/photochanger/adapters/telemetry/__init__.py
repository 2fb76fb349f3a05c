"""What the running program tells about itself: logs, traces, metrics.

Nothing else in PhotoChanger imports structlog, OpenTelemetry or prometheus-client. The use cases know none of
it: `observed` wraps their ports and `observed_job` the worker's function when everything is put together.

The rule of this package: a secret, personal data or a picture must not get out through any of the three, even
where somebody else's code tries to log it.
"""
