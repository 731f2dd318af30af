"""Calls that come together, done by one run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from infra.ansible import Recap

#: Seconds without a further call until a run begins, and seconds after which it begins in any case: Pulumi asks for one
#: resource after the other.
SILENCE, GATHER = 0.4, 4.0
#: Does a verb on hosts that each have their own request.
Run = Callable[[str, Mapping[str, str]], "Recap"]


@dataclass
class _Batch:
    """Calls with the same verb: the request of each host, and what came of their run."""

    requests: dict[str, str] = field(default_factory=dict)
    outcome: Future[Recap] = field(default_factory=Future)


class Batches:
    """Lets calls from several threads share runs. A call that comes during a run starts the next one beside it.

    Args:
        run: does one batch; is called in the thread of the batch's first call.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._lock = threading.Lock()
        #: By verb, the batch that calls can join.
        self._open: dict[str, _Batch] = {}

    def call(self, verb: str, host: str, request: str) -> Recap:
        """Return what came of the run that did this call, on all of its hosts.

        Raises:
            Exception: whatever the run raised.
        """
        with self._lock:
            batch = self._open.get(verb)
            if batch is None or host in batch.requests:
                batch = self._open[verb] = _Batch()
            batch.requests[host] = request
            first = len(batch.requests) == 1
        if first:
            self._lead(verb, batch)
        return batch.outcome.result()

    def _lead(self, verb: str, batch: _Batch) -> None:
        """Wait for others, close the batch and run it."""
        try:
            end, seen = time.monotonic() + GATHER, 0
            while seen < len(batch.requests) and time.monotonic() < end:
                seen = len(batch.requests)
                time.sleep(SILENCE)
            with self._lock:
                if self._open.get(verb) is batch:
                    del self._open[verb]
            batch.outcome.set_result(self._run(verb, batch.requests))
        except BaseException as error:
            # The others wait for this thread: whatever ends it has to end them.
            batch.outcome.set_exception(error)
