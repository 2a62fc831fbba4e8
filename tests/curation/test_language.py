"""Languages: other ones go when the model is sure, code and what has too few words are not judged."""

import pytest
from pydantic import ValidationError

from hephaestus_dag.curation.config import CurationConfig
from hephaestus_dag.curation.language import LanguageRule, plain_words
from hephaestus_dag.documents import Document, document_batch

ENGLISH = (
    "The function returns the number of characters in a string, or an error when the string is not valid. "
    "Whoever calls it has to look at this error, because otherwise the program will stop and nobody knows why."
)
GERMAN = "Die Funktion gibt die Anzahl der Zeichen einer Zeichenkette zurück, oder einen Fehler, wenn sie ungültig ist."
CHINESE = "此函数返回字符串中的字符数，如果字符串无效则返回错误。调用者必须处理这个错误，否则程序将会停止运行。" * 2


def kept(rule: LanguageRule, *texts: str, domain: str = "text") -> list[str]:
    documents = [
        Document(text=t, domain=domain, kind="k", source="s", origin="o", license="MIT")  # type: ignore[arg-type]
        for t in texts
    ]
    return rule.filter(document_batch(documents))[0].column("text").to_pylist()


def test_other_languages_go_with_language_and_confidence():
    document = Document(text=GERMAN, domain="text", kind="k", source="s", origin="o", license="MIT")
    stays, gone = LanguageRule({"text": ["en"]}, 0.65).filter(document_batch([document]))
    assert stays.num_rows == 0
    (row,) = gone.to_pylist()
    assert (row["step"], row["reason"]) == ("language", "language is not allowed")
    assert row["evidence"].startswith("de 0.9") or row["evidence"] == "de 1.00"


def test_the_list_of_languages_decides():
    assert kept(LanguageRule({"text": ["en"]}, 0.65), ENGLISH, GERMAN, CHINESE) == [ENGLISH]
    assert kept(LanguageRule({"text": ["de", "zh"]}, 0.65), ENGLISH, GERMAN, CHINESE) == [GERMAN, CHINESE]
    assert kept(LanguageRule({}, 0.65), ENGLISH, GERMAN) == [ENGLISH, GERMAN]
    assert kept(LanguageRule({"agent": ["en"]}, 0.65), GERMAN) == [GERMAN]


def test_code_is_never_judged():
    assert kept(LanguageRule({"code": ["en"], "text": ["en"]}, 0.1), GERMAN, domain="code") == [GERMAN]


def test_the_confidence_decides():
    mixed = "Tag Stadt river Brot tree Haus stone Wasser bread Himmel mountain Baum forest sky"
    low, high = (kept(LanguageRule({"text": ["fr"]}, confidence), mixed) for confidence in (0.01, 1.0))
    assert (low, high) == ([], [mixed])


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "zeichenkette_zaehlen", "parameters": {"properties": {"zeichenkette": {"type": "string"}}}}',
        "```python\nfuer_jedes_zeichen(zeichenkette)\n```\nCounts.",
        "zählen(Zeichenkette) -> Anzahl",
        "12.5 33 https://example.org/wir-sind-deutsch 77 %",
        "",
    ],
)
def test_what_has_few_plain_words_is_not_judged(text: str):
    assert kept(LanguageRule({"text": ["en"]}, 0.01), text) == [text]


def test_code_blocks_do_not_hide_the_language():
    code = "for item in the_list_of_items: print(item)  # with the words of the language\n" * 3
    assert kept(LanguageRule({"text": ["en"]}, 0.65), f"```python\n{code}```\n{GERMAN}") == []
    assert "the_list" not in plain_words(f"`the_list` and <b>words</b> {code}")


@pytest.mark.parametrize("languages", [{"code": ("en",)}, {"text": ("english",)}, {"text": ()}])
def test_settings_that_cannot_be_meant_are_refused(languages: dict[str, tuple[str, ...]]):
    with pytest.raises(ValidationError, match="languages"):
        CurationConfig(languages=languages)
