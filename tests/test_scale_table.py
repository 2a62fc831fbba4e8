"""The planner's tables follow from the measured rows, and the page shows those of the rows that lie beside the benchmark."""

import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hephaestus_dag.shuffle import in_memory

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

from scale_table import SHARES, Point, Prices, held, hours, plan_table, tables, training_hours, units  # noqa: E402

PAGE = ROOT / "docs" / "what-does-it-take-at-scale.md"
STEPS = st.sampled_from(sorted(SHARES))


@given(STEPS, st.floats(0.01, 100), st.floats(0, 10), st.integers(10, 1_000), st.integers(10**6, 10**10))
def test_what_grows_in_proportion_is_extrapolated_in_proportion(
    step: str, milliseconds: float, start: float, first: int, pages: int
) -> None:
    sizes = (first, 4 * first, 16 * first)
    rows = [Point(step=step, pages=n, seconds=start + n * milliseconds / 1e3, bytes=300 * n) for n in sizes]
    (unit,) = units(rows)
    assert unit.seconds == pytest.approx(milliseconds / 1e3)
    assert unit.growth <= 1 + 1e-9
    more = hours(unit, 10 * pages) - 10 * hours(unit, pages)
    if in_memory(int(pages * SHARES[step])) == in_memory(int(10 * pages * SHARES[step])):
        assert more == pytest.approx(0, abs=1e-9 * hours(unit, 10 * pages))
    else:  # what did fit into memory is shuffled
        assert more >= -1e-9 * hours(unit, 10 * pages)
    assert held(step, pages) <= 400 * pages * SHARES[step]


def test_a_step_that_does_not_fit_into_the_machine_is_told() -> None:
    rows = [Point(step="near-duplicates", pages=n, seconds=n / 1e4, bytes=0) for n in (1_000, 4_000, 16_000)]
    said = plan_table(rows, Prices(memory=100))
    assert said.count("one machine holds it") == 2
    assert said.count("**memory is the bottleneck**") == 1
    assert held("near-duplicates", 2e10) == pytest.approx(2 * held("near-duplicates", 1e10))
    assert held("near-duplicates", 2e8) < 2 * held("near-duplicates", 1e8)  # above 50 million documents only what is removed


def test_training_takes_what_the_formula_says() -> None:
    flops = 103e9 * (6 * 7_504_924_672 + 12 * 32 * 4_096 * 8_192)
    assert training_hours("A100", Prices(utilisation=0.5)) == pytest.approx(flops / (312e12 * 0.5) / 3_600, rel=1e-3)


def test_the_page_shows_the_tables_of_the_measured_rows() -> None:
    rows = [Point(**row) for row in json.loads((ROOT / "benchmarks" / "scaling_up.json").read_text())]
    assert {row.step for row in rows} == set(SHARES)
    assert tables(rows, Prices()) in PAGE.read_text()
