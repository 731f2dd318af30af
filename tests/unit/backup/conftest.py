"""Streams are sealed and opened by the toolchain's age, wherever the tests' own folders are."""

import pytest
from backup_cases import program_of

from infra.backup import seal


@pytest.fixture(autouse=True)
def age(monkeypatch):
    if found := program_of("age", "age"):
        monkeypatch.setattr(seal, "program", lambda name: found)
