"""Names: short enough for Kubernetes, stable, and different for different things."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.errors import TinhError
from infra.naming import LONGEST, name

part = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?", fullmatch=True)
parts = st.lists(part, min_size=1, max_size=5)
LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@given(parts)
def test_a_name_is_a_dns_label(words: list[str]) -> None:
    assert LABEL.fullmatch(name(*words))


@given(parts)
def test_a_short_name_is_its_parts(words: list[str]) -> None:
    joined = "-".join(words)
    assert (name(*words) == joined) is (len(joined) <= LONGEST)


@given(parts, parts)
def test_names_are_equal_only_when_their_texts_are(one: list[str], other: list[str]) -> None:
    assert (name(*one) == name(*other)) is ("-".join(one) == "-".join(other))


def test_a_difference_at_the_very_end_of_a_long_name_survives() -> None:
    assert name("a" * 80 + "1") != name("a" * 80 + "2")


def test_a_long_name_never_changes_between_versions() -> None:
    assert name("x" * 70) == "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx-c71bd109"


@pytest.mark.parametrize("bad", [(), ("",), ("A",), ("a_b",), ("-a",), ("a", "b-"), ("tỉnh",)])
def test_what_cannot_be_a_name_is_refused(bad: tuple[str, ...]) -> None:
    with pytest.raises(TinhError):
        name(*bad)
