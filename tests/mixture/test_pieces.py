import json
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mixture_corpus import WORDS
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from hephaestus_dag.mixture.pieces import Pieces, piece_patterns

CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
LLAMA3 = rf"{CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
O200K = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+{CONTRACTIONS}?|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*{CONTRACTIONS}?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
NASTY = [
    *" \t\n\r\x0b\x0c\x1c\x1f\x85\xa0\u2003\u2028\u200b\u3000\ufeff\x00\x7f",
    *"aZéßſK'’sSlLvVeErRdDtTmM0123456789٣४²½Ⅷ𝟘一京가ก́̈​̸⃝",
    *"\U0001f600\U0001d7d8\U00020000\U0001e900\U0010ffff\ue000\u0378()<>|/_-.",
    "<|endoftext|>",
    "<|im_start|>",
    "<tool>",
    "  ",
    "\r\n",
    "'ll",
    "'LL",
    "don't",
    "e\u0301",
    "\ufb01",
    "\u1e9e",
]


def trained(pre_tokenizer: Any, normalizer: Any = None) -> Tokenizer:
    """A small BPE with merges, two special tokens and one that is not special."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False
    )
    words = [*WORDS, *NASTY, "ß", "don't", "WE'LL", "12345", "  if x:\n        return"]
    runs = ["a" + space * count + "b" for space in " \n\t" for count in range(2, 9)] * 20  # where a run is cut must show
    lines = [" ".join(words[start:] + words[:start]) for start in range(len(words))]
    tokenizer.train_from_iterator([*lines, *runs], trainer)
    tokenizer.add_special_tokens(["<|endoftext|>", "<|im_start|>"])
    tokenizer.add_tokens([AddedToken("<tool>", special=False)])
    tokenizer.encode_special_tokens = True
    return tokenizer


def split(pattern: str, behavior: str = "isolated", invert: bool = False) -> Any:
    return pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), behavior, invert), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )


PIPELINES: dict[str, Any] = {
    "single digits, then bytes": lambda: trained(
        pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)])
    ),
    "bytes, as GPT-2": lambda: trained(pre_tokenizers.ByteLevel(False)),
    "split, as Llama 3": lambda: trained(split(LLAMA3)),
    "NFC and split, as Qwen 2": lambda: trained(split(LLAMA3.replace("{1,3}", "")), normalizers.NFC()),
    "split that keeps matches, as o200k": lambda: trained(split(O200K, "removed", True)),
    "single digits before a split": lambda: trained(
        pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.Split(Regex(LLAMA3), "isolated"),
                pre_tokenizers.ByteLevel(False, use_regex=False),
            ]
        )
    ),
}


@pytest.fixture(scope="module", params=PIPELINES)
def pipeline(request: pytest.FixtureRequest) -> tuple[Tokenizer, Pieces]:
    tokenizer = PIPELINES[request.param]()
    assert tokenizer.token_to_id("ĠĠ")
    patterns = piece_patterns(tokenizer)
    assert patterns
    return tokenizer, Pieces(tokenizer, patterns, np.dtype("<u2"))


def ids(pieces: Pieces, text: str) -> list[int]:
    encoded = pieces.encode(text)
    assert encoded is not None, f"left to tokenizers: {text!r}"
    return np.frombuffer(encoded, "<u2").tolist()


@given(
    text=st.lists(
        st.one_of(st.sampled_from([*NASTY, *WORDS]), st.characters(codec="utf-8"), st.text(max_size=4)), max_size=40
    ).map("".join)
)
@settings(max_examples=150, deadline=None)
def test_pieces_have_the_ids_of_tokenizers(pipeline: tuple[Tokenizer, Pieces], text: str) -> None:
    tokenizer, pieces = pipeline
    if "<tool>" in text or "<tool>" in unicodedata.normalize("NFC", text):
        assert pieces.encode(text) is None
    else:
        assert ids(pieces, text) == tokenizer.encode(text, add_special_tokens=False).ids


@pytest.mark.slow
def test_every_character_is_cut_alike_in_every_place(pipeline: tuple[Tokenizer, Pieces]) -> None:
    tokenizer, pieces = pipeline
    characters = [chr(code) for code in (*range(0xD800), *range(0xE000, 0x20000))]
    for first in range(0, len(characters), 2_000):
        text = "".join(f"a{c} {c}1{c}  {c}\n{c}'{c}" for c in characters[first : first + 2_000])
        assert ids(pieces, text) == tokenizer.encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize(
    "text", ["a  1", "  12  3", "\t\t\n 4  ", "a   b", " \n\n  ½ 2", "x \u2028\u20282", "''LL 's's9's", "  "]
)
def test_white_space_is_cut_alike_before_digits_and_at_the_end(pipeline: tuple[Tokenizer, Pieces], text: str) -> None:
    tokenizer, pieces = pipeline
    assert ids(pieces, text) == tokenizer.encode(text, add_special_tokens=False).ids


def test_text_that_spells_special_tokens_is_cut_like_text(pipeline: tuple[Tokenizer, Pieces]) -> None:
    tokenizer, pieces = pipeline
    found = ids(pieces, "a<|endoftext|> b<|im_start|>")
    assert tokenizer.token_to_id("<|endoftext|>") not in found
    assert tokenizer.decode(found) == "a<|endoftext|> b<|im_start|>"


def test_a_forgotten_piece_is_encoded_again(pipeline: tuple[Tokenizer, Pieces], monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer, pieces = pipeline
    monkeypatch.setattr("hephaestus_dag.mixture.pieces.MAX_PIECES", 3)
    text = "one two three four five six " * 3 + "x" * 1_000
    assert ids(pieces, text) == tokenizer.encode(text, add_special_tokens=False).ids


def test_an_added_token_that_is_found_in_normalised_text_is_left_to_tokenizers() -> None:
    tokenizer = trained(split(LLAMA3), normalizers.NFC())
    tokenizer.add_tokens([AddedToken("cafe\u0301", special=False, normalized=True)])
    patterns = piece_patterns(tokenizer)
    assert patterns
    pieces = Pieces(tokenizer, patterns, np.dtype("<u2"))
    for text in ("caf\u00e9", "cafe\u0301"):
        assert tokenizer.encode(text).ids == [tokenizer.token_to_id("cafe\u0301")]
        assert pieces.encode(text) is None


def test_a_text_that_the_pattern_does_not_cover_is_left_to_tokenizers() -> None:
    tokenizer = trained(split(r"\p{L}+| "))
    patterns = piece_patterns(tokenizer)
    assert patterns
    pieces = Pieces(tokenizer, patterns, np.dtype("<u2"))
    assert ids(pieces, "two words") == tokenizer.encode("two words").ids
    assert pieces.encode("two, words") is None


OTHERS: dict[str, Any] = {
    "a space before": lambda: trained(pre_tokenizers.ByteLevel(True)),
    "digits together": lambda: trained(
        pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=False), pre_tokenizers.ByteLevel(False)])
    ),
    "a split that removes": lambda: trained(split(LLAMA3, "removed")),
    "an anchor": lambda: trained(split(r"^\s+|\p{L}+|.")),
    "a look behind": lambda: trained(split(r"(?<=a)b|\p{L}+|\s+")),
    "a possessive plus": lambda: trained(split(r"\p{L}++|\s+")),
    "an empty match": lambda: trained(split(r"\p{L}*")),
    "lower case": lambda: trained(pre_tokenizers.ByteLevel(False), normalizers.Lowercase()),
    "no cut": lambda: trained(pre_tokenizers.ByteLevel(False, use_regex=False)),
    "word pieces": lambda: Tokenizer(models.WordPiece({"[UNK]": 0}, unk_token="[UNK]")),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_pipelines_have_no_pieces(name: str) -> None:
    assert piece_patterns(OTHERS[name]()) is None


def test_dropout_has_no_pieces(tmp_path: Path) -> None:
    definition = json.loads(trained(pre_tokenizers.ByteLevel(False)).to_str())
    assert piece_patterns(Tokenizer.from_str(json.dumps(definition)))
    definition["model"]["dropout"] = 0.1
    assert piece_patterns(Tokenizer.from_str(json.dumps(definition))) is None
