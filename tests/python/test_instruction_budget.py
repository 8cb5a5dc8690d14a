"""The hot paths cost no more of the hub's own instructions, and of the lines of the cache that hold
them, than the committed budget permits.

A failure is a change of what every call costs. Where it is wanted, `python
tests/support/python/instruction_counts.py --write`, run by the Python that has the package, writes the
new budget; commit it with the reason.
"""

import shutil

import instruction_counts
import pytest
import torch

BUDGET = instruction_counts.read_budgets().get(instruction_counts.toolchain())
REMEDY = (
    "\nIs that wanted? Then: python tests/support/python/instruction_counts.py --write, and commit "
    "tests/python/instruction_budget.json with the reason."
)


@pytest.fixture(scope="module")
def counts():
    if shutil.which("valgrind") is None:
        pytest.skip("needs valgrind, which is not installed here")
    if not hasattr(torch.Tensor, "__dlpack_c_exchange_api__"):
        pytest.skip("needs torch_2_10, which is not installed here")
    if BUDGET is None:
        pytest.skip(f"needs the compiler of a budget, found {instruction_counts.toolchain()}")
    return instruction_counts.measure()


@pytest.mark.slow
def test_no_hot_path_costs_more_than_its_budget(counts):
    found = instruction_counts.beyond_budget(instruction_counts.hot_paths(counts), BUDGET)
    assert found == [], "\n" + "\n".join(found) + REMEDY


@pytest.mark.slow
def test_a_thousand_rounds_of_a_loop_are_counted(counts):
    """The control: what runs in our module is seen, and nothing else adds to it."""
    rounds = counts["spend(2000)"][0] - counts["spend(1000)"][0]
    assert rounds % 1000 == 0 and 2 <= rounds / 1000 <= 4


@pytest.mark.slow
def test_more_cache_lines_are_counted_for_more_code(counts):
    """The control: a call with an array lies in more lines than one without."""
    assert 0 < counts["f(handle)"][1] < counts["f(array<float, 1>), numpy"][1]


def test_six_percent_more_are_beyond_the_budget():
    budget = {"a": (1000, 50), "b": (1000, 50), "c": (1000, 50), "d": (1000, 50), "e": (100, 10)}
    counts = {"a": (1060, 50), "b": (1040, 55), "c": (940, 50), "d": (1000, 57), "e": (100, 13)}
    found = instruction_counts.beyond_budget(counts, budget)
    assert [line.split(",")[0] for line in found] == [
        "a: 1060 instructions",
        "c: 940 instructions",
        "d: 57 cache lines",
    ]


def test_a_path_without_a_budget_is_found():
    assert instruction_counts.beyond_budget({"new": (1, 1)}, {"old": (1, 1)}) == [
        "new: (1, 1), budget None",
        "old: None, budget (1, 1)",
    ]
