"""What the tests of commands may ask for: a shell."""

import pytest
from shell import Shell, shell


@pytest.fixture
def cvgg(capsys: pytest.CaptureFixture[str]) -> Shell:
    """Runs a command in this process."""
    return shell(capsys)
