"""Names to ids."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from qad_dl.vocab import UNKNOWN, Vocabulary

WORDS = st.lists(st.text(max_size=3), max_size=12)


@given(WORDS, WORDS)
def test_ids_are_in_range_and_only_what_was_learned_is_known(learned: list[str], asked: list[str]) -> None:
    vocabulary = Vocabulary.fit("cloud", learned)
    for word in [*learned, *asked]:
        i = vocabulary.encode(word)
        assert 0 <= i < len(vocabulary)
        assert (i != UNKNOWN) == (word in learned and word != "")
        assert i == UNKNOWN or vocabulary.values[i - 1] == word


@given(WORDS)
def test_ids_do_not_depend_on_the_order_of_the_data(words: list[str]) -> None:
    assert Vocabulary.fit("f", words) == Vocabulary.fit("f", words[::-1])


def test_the_unset_value_is_unknown_and_rare_ones_can_be_left_out() -> None:
    assert Vocabulary.fit("f", ["", "b", "a", "b"]).values == ("a", "b")
    assert Vocabulary.fit("f", ["", "b", "a", "b"], min_count=2).values == ("b",)
    assert len(Vocabulary.fit("f", [])) == 1
