"""Contract suites: what every adapter of a port must pass, importable for adapters of your own.

Each port has one class. A test file of yours subclasses it and says, with a fixture, what to test:

    from photochanger.testing.media_store import MediaStoreContract

    class TestMyStore(MediaStoreContract):
        @pytest.fixture
        def store(self, tmp_path):
            return MyStore(tmp_path)

Register the package with `pytest.register_assert_rewrite("photochanger.testing")` before it is imported, so
that a failed assertion shows its values. Every test's name is a sentence of the port's docstring, or the part
of one.
"""
