"""Rules for prose: each one removes what it is about, moves with its bound, and leaves innocent prose alone."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from hephaestus_dag.curation.config import HeuristicRules
from hephaestus_dag.curation.heuristics import HeuristicFilter, judge
from hephaestus_dag.documents import Document, document_batch

RULES = HeuristicRules()
PROSE = """\
A parser reads a stream of characters and builds a tree from it. The tree is what the rest of the compiler works with,
and it forgets everything that the rest does not need: spaces, comments and the way in which numbers were written.

Most parsers are made of two parts. One cuts the stream into words, the other finds out how these words belong together.
It is possible to have both in a single pass, but the errors that such a parser can report are usually harder to understand.

When you write one by hand, start with the smallest piece of the language that is still useful. Add a test for each rule!
A grammar that nobody has tried on real files will surprise you, and always at the worst time."""

NAMES = [
    "Anna",
    "Bruno",
    "Clara",
    "Dario",
    "Elena",
    "Fabio",
    "Greta",
    "Henri",
    "Irina",
    "Jonas",
    "Karla",
    "Louis",
    "Maria",
    "Nadja",
    "Oscar",
    "Paula",
]


def words(count: int, seed: int = 0, length: int = 6) -> str:
    rng = random.Random(seed)
    return " ".join("".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=length)) for _ in range(count))


def only(**limits: object) -> HeuristicRules:
    """Return rules of which only some are in force."""
    off = {
        name: ({} if isinstance(value, dict) else None) for name, value in RULES.model_dump().items() if name != "judged_from"
    }
    return HeuristicRules.model_validate({"judged_from": 1, **off, **limits})


def value(text: str, rule: str, limit: object) -> float:
    """Return what is measured for a rule, by a limit that everything breaks."""
    (verdict,) = judge([text], only(**{rule: limit}))
    assert verdict
    return float(verdict.evidence)


def test_innocent_prose_stays():
    assert judge([PROSE, PROSE.replace("parser", "reader")], RULES) == [None, None]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"{PROSE} Lorem ipsum dolor sit amet.", "lorem ipsum above 0"),
        (
            PROSE.replace("\n\n", "\nPlease enable JavaScript to see this.\nWe use cookies on this page.\n"),
            "notice lines above 0.1",
        ),
        (PROSE + "\nHome and the rest of it" * 9, "duplicate lines above 0.3"),
        ("\n\n".join([PROSE, *["This is said again.\nAnd more of it."] * 4]), "duplicate paragraphs above 0.3"),
        ("\n".join([*words(60, 1).split(), *[words(9, 2)] * 6]), "duplicate line characters above 0.2"),
        (" ".join(f"{name} said so" for name in NAMES * 4), "top ngram of 2 above 0.2"),
        (" ".join(f"{words(5, n)} {words(5, 99)}" for n in range(6)), "duplicate ngrams of 5 above 0.15"),
        ("It is to be or to go on as we do by it. " + words(60, 3, 2), "mean word length below 3"),
        (f"The end of {words(60, 4, 14)}.", "mean word length above 10"),
        (words(60, 5) + " # " * 7, "symbols per word above 0.1"),
        ("\n".join(f"- {words(6, n)}." for n in range(12)), "bullet lines above 0.9"),
        ("\n".join(f"The {words(12, n)} of..." for n in range(12)), "ellipsis lines above 0.3"),
        ("the end of " + " ".join(str(n) for n in range(1_000, 1_060)), "alphabetic words below 0.8"),
        (f"{words(30, 6)}. {words(30, 7)}. {words(9, 8)}.", "stop words below 2"),
        ("the end of " + words(60, 9), "sentences below 3"),
        ("the end of. It. Is.\n" + "\n".join(words(7, n) for n in range(12)), "punctuated lines below 0.12"),
        (PROSE + "".join(f"\n{words(2, n)}." for n in range(30)), "short lines above 0.67"),
    ],
)
def test_each_rule_names_itself(text: str, reason: str):
    name = reason.rpartition(" above ")[0] or reason.rpartition(" below ")[0]
    side = "max" if " above " in reason else "min"
    field = f"{side}_{name.partition(' of ')[0].replace(' ', '_')}"
    (verdict,) = judge([text], only(**{field: getattr(RULES, field)}))
    assert verdict
    assert verdict.reason == reason
    assert judge([text], only()) == [None]


@pytest.mark.parametrize(
    ("rule", "everything", "direction"),
    [
        ("max_duplicate_lines", -1, 1),
        ("max_short_lines", -1, 1),
        ("max_symbols_per_word", -1, 1),
        ("max_mean_word_length", 0, 1),
        ("min_alphabetic_words", 2, -1),
        ("min_punctuated_lines", 2, -1),
    ],
)
def test_a_document_stays_exactly_at_the_bound(rule: str, everything: float, direction: int):
    text = f"{PROSE}\n{PROSE}\nend #\n1 2 3"
    rules = only(**{rule: 0.0})
    measured = value(text, rule, max(everything, 0) if direction > 0 else everything)
    assert judge([text], rules.model_copy(update={rule: measured + direction * 0.01})) == [None]
    assert judge([text], rules.model_copy(update={rule: measured - direction * 0.01})) != [None]


def test_ngram_shares_are_those_of_the_definition():
    text = "one two three one two four one two five six"
    characters = len(text.replace(" ", ""))
    assert value(text, "max_top_ngram", {2: 0}) == pytest.approx(3 * 6 / characters, rel=0.01)
    assert value(text, "max_duplicate_ngrams", {2: 0}) == pytest.approx(2 * 6 / characters, rel=0.01)
    assert value("a a a a a", "max_duplicate_ngrams", {2: 0}) == pytest.approx(4 / 5)


@given(st.lists(st.lists(st.sampled_from(["ab", "cd", "efg", "h"]), max_size=25), max_size=4), st.integers(1, 4))
def test_duplicate_ngrams_are_counted_as_by_a_plain_loop(texts: list[list[str]], n: int):
    verdicts = judge([" ".join(text) for text in texts], only(judged_from=0, max_duplicate_ngrams={n: 0}))
    for text, verdict in zip(texts, verdicts, strict=True):
        seen: set[tuple[str, ...]] = set()
        covered: set[int] = set()
        for at in range(len(text) - n + 1):
            gram = tuple(text[at : at + n])
            covered |= set(range(at, at + n)) if gram in seen else set()
            seen.add(gram)
        share = sum(len(text[at]) for at in covered) / max(sum(map(len, text)), 1)
        assert (float(verdict.evidence) if verdict else 0.0) == pytest.approx(share, abs=5e-3)


@given(st.lists(st.text(max_size=200), max_size=8))
def test_any_text_gets_a_verdict_of_its_own(texts: list[str]):
    rules = RULES.model_copy(update={"judged_from": 0})
    assert judge(texts, rules) == [verdict for text in texts for verdict in judge([text], rules)]


def test_short_documents_are_not_judged():
    text = "again and again " * 10
    assert judge([text], RULES) == [None]
    assert judge([text], RULES.model_copy(update={"judged_from": 30})) != [None]


def test_rules_are_chosen_by_kind_and_else_by_domain():
    def left(rules: dict[str, HeuristicRules]) -> list[str]:
        documents = [
            Document(text=f"{kind} " * 60, domain=domain, kind=kind, source="s", origin=kind, license="MIT")  # type: ignore[arg-type]
            for kind, domain in (("prose", "text"), ("page", "agent"), ("api_documentation", "agent"), ("python_code", "code"))
        ]
        return HeuristicFilter(rules).filter(document_batch(documents))[0].column("origin").to_pylist()

    assert left({}) == ["prose", "page", "api_documentation", "python_code"]
    assert left({"text": RULES}) == ["page", "api_documentation", "python_code"]
    assert left({"page": RULES, "prose": RULES}) == ["api_documentation", "python_code"]
    assert left({"text": RULES, "prose": only()}) == ["prose", "page", "api_documentation", "python_code"]


def test_lengths_that_are_not_counted_are_refused():
    with pytest.raises(ValidationError, match="n-grams of 40 words"):
        HeuristicRules(max_top_ngram={40: 0.1})
