"""What makes a Pulumi program faster without changing what it declares; measured by `python -m tests.bench`."""

from __future__ import annotations

import pulumi


def quiet_sdk() -> None:
    """Switch off the SDK's debug messages.

    The SDK sends each of them (four per resource) to the engine and waits for the answer, whether the engine
    shows them or not: with 1,000 objects that is a third of a run's time. They also hold the values of secret
    outputs in clear text, which then are in the engine's event log.
    """
    pulumi.log.debug = _nothing  # ty: ignore[invalid-assignment]


def _nothing(*_: object, **__: object) -> None:
    """Take the place of `pulumi.log.debug`."""
