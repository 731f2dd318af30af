"""Runs jobs in threads: in order, after what they need, as many at once as the machine serves."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

_TICK = 0.25


@dataclass(frozen=True)
class Job:
    """One job.

    Attributes:
        name: of the job.
        rank: jobs with a lower rank go first.
        needs: jobs that must be done before.
        group: jobs of one group never run together (they would do the same work twice).
        memory: GiB at the peak.
    """

    name: str
    rank: tuple[float, ...] = ()
    needs: frozenset[str] = frozenset()
    group: str | None = None
    memory: float = 1.0


def pick(waiting: Iterable[Job], running: Iterable[Job], done: set[str], memory: float) -> Job | None:
    """Return the next job to start, None when nothing can start now.

    Args:
        waiting: jobs that did not start.
        running: jobs under way.
        done: names of finished jobs.
        memory: GiB for all jobs together; one job always runs, however big.
    """
    running = list(running)
    groups = {job.group for job in running} - {None}
    free = memory - sum(job.memory for job in running)
    for job in sorted(waiting, key=lambda job: (job.rank, job.name)):
        if job.needs <= done and job.group not in groups and (job.memory <= free or not running):
            return job
    return None


def run(
    jobs: Iterable[Job],
    work: Callable[[Job], None],
    *,
    parallel: int,
    memory: float,
    keep_going: bool,
    stop: Callable[[], None],
    tick: Callable[[], None] = lambda: None,
) -> dict[str, BaseException]:
    """Run all jobs.

    Args:
        jobs: what to run; needs outside of it count as done.
        work: does one job; an exception means that it failed.
        parallel: jobs at once.
        memory: GiB for all jobs together.
        keep_going: after a failure, go on with what does not depend on it; otherwise `stop` is called.
        stop: ends all running jobs.
        tick: called about four times a second.

    Returns:
        The errors by job.
    """
    waiting = {job.name: job for job in jobs}
    done: set[str] = {need for job in waiting.values() for need in job.needs if need not in waiting}
    errors: dict[str, BaseException] = {}
    running: dict[Future[None], Job] = {}
    with ThreadPoolExecutor(parallel) as pool:
        try:
            while waiting or running:
                while len(running) < parallel and (
                    job := pick(waiting.values(), running.values(), done, memory)
                ):
                    running[pool.submit(work, waiting.pop(job.name))] = job
                if not running:
                    break  # what still waits needs something that failed
                for future in wait(running, timeout=_TICK, return_when=FIRST_COMPLETED).done:
                    job = running.pop(future)
                    error = future.exception()
                    if error is None:
                        done.add(job.name)
                        continue
                    errors[job.name] = error
                    if not keep_going:
                        waiting.clear()
                        stop()
                tick()
        except BaseException:
            stop()
            raise
    return errors


def available_memory() -> float:
    """Return the GiB that may be used without swapping."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) / 2**20
    return 1.0
