"""The benchmark's own arithmetic and its failures."""

import os
import sys

import pytest

from tests.bench.contest import Result
from tests.bench.measure import MeasureError, Run, Sample, run
from tests.bench.objects import objects


def sample(*seconds):
    return Sample(tuple(Run(value, peak) for peak, value in enumerate(seconds)))


def test_median_and_peak():
    assert sample(9, 1, 2).seconds == 2
    assert sample(9, 1, 2).peak == 2


@pytest.mark.parametrize(("step", "pulumi", "met"), [("create", 4.0, True), ("create", 4.1, False)])
def test_goal_of_create_is_twice_kubectl_plus_two_seconds(step, pulumi, met):
    assert Result(1, step, sample(pulumi), sample(1.0)).met is met


@pytest.mark.parametrize(("pulumi", "met"), [(3.5, True), (3.6, False)])
def test_goal_of_no_op_is_one_and_a_half_plus_two_seconds(pulumi, met):
    assert Result(1, "no-op", sample(pulumi), sample(1.0)).met is met


def test_objects_are_distinct_and_of_two_kinds():
    items = objects(10)["items"]
    assert len({(item["kind"], item["metadata"]["name"]) for item in items}) == 10
    assert {item["kind"] for item in items} == {"ConfigMap", "Sample"}


def test_a_failing_command_is_no_measurement():
    script = "import sys; print('why it failed'); sys.exit(3)"
    with pytest.raises(MeasureError, match=r"code 3(.|\n)*why it failed"):
        run([sys.executable, "-c", script], dict(os.environ))


def test_cpu_time_is_that_of_this_command_only():
    burn = "import time; end = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
    assert run([sys.executable, "-c", burn], dict(os.environ)).cpu >= 0.3
    assert run([sys.executable, "-c", "import time; time.sleep(0.5)"], dict(os.environ)).cpu < 0.3


def test_memory_counts_the_children_too():
    child = "import time; data = bytearray(100 * 2**20); time.sleep(1)"
    script = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    assert run([sys.executable, "-c", script], dict(os.environ)).peak > 100 * 2**20
