"""What the tests of faults may ask for: commands in processes of their own, and a place to run."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from faults.forks import Forks
from faults.places import Place


def pytest_addoption(parser: pytest.Parser) -> None:
    """--mutants: how many inputs the long sweep of test_mutants.py makes."""
    parser.addoption("--mutants", type=int, default=20_000, help="inputs of the slow fuzz test")


@pytest.fixture(scope="session")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    """The process that commands are forked from."""
    server = Forks(tmp_path_factory.mktemp("forks"))
    yield server
    server.close()


@pytest.fixture
def place(tmp_path: Path, forks: Forks) -> Place:
    """A folder with a net, a solver and a database."""
    return Place(tmp_path, forks)
