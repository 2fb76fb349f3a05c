"""An installation to be killed."""

from tests.system.conftest import installation

__all__ = ["installation"]
