"""The image that both engines run."""

import pytest

from tests.foreign.docker_py import root_file_system


@pytest.fixture(scope="session")
def box() -> bytes:
    """Return the tar of a busybox root with a few users."""
    return root_file_system()
