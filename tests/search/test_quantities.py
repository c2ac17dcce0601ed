"""Names of objectives and limits are what they say, or refused with those that exist."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.search.quantities import (
    QUANTITIES,
    check_known_name,
    check_name,
    label_of,
    loss_of,
    on_device,
    quantity_of,
    split_name,
)

NAMES = [*QUANTITIES, *(f"{name}@cpu_1.5" for name, quantity in QUANTITIES.items() if quantity.of_device)]


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_taken_apart_and_put_together(name: str) -> None:
    assert check_name(name) == name == on_device(*split_name(name))
    assert label_of(name).endswith(split_name(name)[1])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("latncy_ms", "unknown name 'latncy_ms'. Known, nearest first: latency_ms, "),
        ("latncy_ms@phone", "unknown name 'latncy_ms@phone'. Known, nearest first: latency_ms, "),
        ("", "unknown name ''"),
        ("params@phone", "params is the same on every device"),
        ("top1@phone", "top1 is the same on every device"),
        ("latency_ms@", "must be the name of a latency table, but is ''"),
        ("latency_ms@a/b", "must be the name of a latency table, but is 'a/b'"),
    ],
)
def test_what_is_no_name_is_refused(name: str, said: str) -> None:
    with pytest.raises(ValueError, match=said.replace("(", r"\(")):
        check_name(name)


def test_top1_is_not_known_before_training() -> None:
    with pytest.raises(ValueError, match="top1 is known only after training"):
        check_known_name("top1")


@given(st.sampled_from(NAMES), st.floats(0.1, 100), st.floats(0.1, 100))
def test_a_smaller_loss_is_a_better_value(name: str, one: float, other: float) -> None:
    """And no loss is below 0, but of a score that has no best."""
    better = one > other if quantity_of(name).larger_is_better else one < other
    if better:
        assert loss_of(name, one) <= loss_of(name, other)
        assert name == "score" or loss_of(name, one) >= 0
