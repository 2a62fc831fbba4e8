import random

from hypothesis import given
from hypothesis import strategies as st

from hephaestus_dag.evaluation.shared_prefixes import GROUP_COST, group_by_prefix


@given(st.lists(st.tuples(st.integers(0, 3), st.lists(st.integers(0, 2), max_size=4)), max_size=12))
def test_every_sequence_is_in_one_group_and_begins_as_its_group_does(parts: list[tuple[int, list[int]]]):
    sequences = [[head] * (400 * head) + tail for head, tail in parts]
    groups = group_by_prefix(sequences)
    assert sorted(number for group in groups for number in group.numbers) == list(range(len(sequences)))
    for group in groups:
        assert len({tuple(sequences[number][: group.shared]) for number in group.numbers}) == 1
        assert group.shared == 0 or (len(group.numbers) - 1) * group.shared > GROUP_COST


def test_the_longest_prefixes_win_where_they_save_more():
    draw = random.Random(0)
    system = [draw.randrange(9) for _ in range(40)]
    subjects = [[draw.randrange(9) for _ in range(600)] for _ in range(5)]
    sequences = [system + subjects[n % 5] + [draw.randrange(9) for _ in range(20)] for n in range(30)]
    groups = group_by_prefix(sequences)
    assert sorted(sorted(group.numbers) for group in groups) == [list(range(n, 30, 5)) for n in range(5)]
    assert all(640 <= group.shared < 645 for group in groups)


def test_a_short_common_beginning_joins_all_where_it_is_all_there_is():
    (group,) = group_by_prefix([[7] * 100 + [n] * 30 for n in range(20)])
    assert group.shared == 100
    (alone,) = group_by_prefix([[n] * 30 for n in range(20)])
    assert alone.shared == 0
