"""The scheduler: order, limits, failures."""

import threading

import pytest

from lab.toolchain.scheduler import Job, pick, run


def names(*jobs):
    return {job.name for job in jobs}


def execute(jobs, work=lambda job: None, **options):
    settings = {"parallel": 2, "memory": 10, "keep_going": False, "stop": lambda: None} | options
    return run(jobs, work, **settings)


def test_pick_goes_by_rank_then_name():
    assert pick([Job("b", (1,)), Job("a", (1,)), Job("z", (0,))], [], set(), 10) == Job("z", (0,))
    assert pick([Job("b", (1,)), Job("a", (1,))], [], set(), 10) == Job("a", (1,))


def test_pick_waits_for_needs():
    job = Job("b", needs=frozenset({"a"}))
    assert pick([job], [], set(), 10) is None
    assert pick([job], [], {"a"}, 10) == job


def test_pick_keeps_a_group_apart_but_lets_others_pass():
    running = Job("a", group="go x")
    assert pick([Job("b", group="go x")], [running], set(), 10) is None
    other = Job("c", group="go y")
    assert pick([Job("b", group="go x"), other], [running], set(), 10) == other
    assert pick([Job("d")], [Job("e")], set(), 10) == Job("d"), "no group is not a group"


def test_pick_keeps_heavy_jobs_apart_and_runs_the_biggest_alone():
    heavy = Job("a", memory=6)
    assert pick([heavy], [Job("b", memory=5)], set(), 10) is None
    assert pick([heavy], [Job("b", memory=4)], set(), 10) == heavy
    assert pick([Job("c", memory=99)], [], set(), 10) == Job("c", memory=99)


def test_run_respects_needs_and_the_limit():
    order, active, most, guard = [], set(), 0, threading.Lock()
    together = threading.Barrier(2, timeout=10)

    def work(job):
        nonlocal most
        with guard:
            active.add(job.name)
            most = max(most, len(active))
            order.append(job.name)
        if job.name in ("a", "b"):
            together.wait()  # both must be under way at once
        with guard:
            active.remove(job.name)

    jobs = [Job("d", needs=frozenset({"c"})), Job("c", needs=frozenset({"a", "b"})), Job("a"), Job("b")]
    assert execute(jobs, work) == {}
    assert set(order[:2]) == {"a", "b"}
    assert order[2:] == ["c", "d"]
    assert most == 2


def test_a_failure_stops_everything():
    stopped = threading.Event()

    def work(job):
        if job.name == "a":
            raise ValueError("broken")
        assert stopped.wait(10), "the running job was not stopped"
        raise InterruptedError

    errors = execute([Job("a", (0,)), Job("b", (0,)), Job("never", (1,))], work, stop=stopped.set)
    assert set(errors) == {"a", "b"}
    assert isinstance(errors["a"], ValueError)


def test_keep_going_leaves_out_only_dependents():
    done = []

    def work(job):
        if job.name == "a":
            raise ValueError("broken")
        done.append(job.name)

    jobs = [Job("a", (0,)), Job("child", (0,), needs=frozenset({"a"})), Job("other", (1,))]
    errors = execute(jobs, work, keep_going=True, parallel=1)
    assert done == ["other"]
    assert set(errors) == {"a"}


def test_an_interrupt_stops_running_jobs():
    stopped, started = threading.Event(), threading.Event()

    def work(job):
        started.set()
        assert stopped.wait(10)

    def tick():
        if started.is_set():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute([Job("a")], work, stop=stopped.set, tick=tick)
    assert stopped.is_set()
