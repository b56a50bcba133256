"""Every fuzz target on its kept corpus and on what hypothesis makes of it; ``make fuzz`` goes on from there."""

import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz import harness
from tests.fuzz.harness import Target, check
from tests.fuzz.run import CORPUS
from tests.fuzz.targets import TARGETS

BY_NAME = pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)


def known(target: Target) -> list[bytes]:
    """Seeds and corpus of a target."""
    return [*target.seeds(), *(path.read_bytes() for path in sorted((CORPUS / target.name).glob("*")))]


@BY_NAME
def test_the_corpus(target: Target) -> None:
    for data in known(target):
        assert len(data) <= target.max_len
        check(target, data)


@BY_NAME
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_damaged_input(target: Target, data: st.DataObject) -> None:
    made = bytearray(data.draw(st.sampled_from(known(target))))
    places = st.integers(0, max(0, len(made) - 1))
    for place, removed, put_in in data.draw(
        st.lists(st.tuples(places, st.integers(0, 8), st.binary(max_size=8)), max_size=8)
    ):
        made[place : place + removed] = put_in
    check(target, bytes(made[: target.max_len]))


@BY_NAME
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.binary(max_size=200))
def test_any_bytes(target: Target, data: bytes) -> None:
    check(target, data[: target.max_len])


def test_what_takes_too_long_is_a_finding() -> None:
    def compute(data: bytes) -> None:
        until = time.thread_time() + 1.1 * harness.LIMIT_S
        while time.thread_time() < until:
            pass

    with pytest.raises(AssertionError, match="took"):
        check(Target("slow", compute, list), b"")


def test_what_needs_too_much_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "LIMIT_S", 60.0)
    kept: list[bytes] = []
    with pytest.raises(AssertionError, match="needed"):
        check(Target("large", lambda data: kept.append(b"x" * (1 << 28)), list), b"")
