"""Contract suites: what every adapter of a port must pass, importable for adapters of your own."""
