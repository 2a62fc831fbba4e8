"""What stands before and after a document in a token store, as its tokenizer wants it."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mixture_corpus import STORE
from tokenizers import AddedToken, pre_tokenizers, processors

from hephaestus_dag.documents import Document, DocumentWriter
from hephaestus_dag.mixture.borders import BorderCheck, check_borders
from hephaestus_dag.mixture.encoder import Borders, Encoder, EncoderSpec
from hephaestus_dag.mixture.store import MixtureError, StreamWriter, TokenStore, write_store
from hephaestus_dag.mixture.tokenise import tokenise_documents
from hephaestus_dag.mixture.tokenizer import copy_tokenizer, load_tokenizer

START, END = "<|im_start|>", "<|endoftext|>"


def adds_start(tokenizer: Any, start: str = START) -> None:
    tokenizer.bos_token = start
    identity = tokenizer.convert_tokens_to_ids(start)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(f"{start} $A", None, [(start, identity)])


def names_start(tokenizer: Any) -> None:
    tokenizer.bos_token = START


def sets_space_before(tokenizer: Any) -> None:
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(True)


def knows_a_plain_word(tokenizer: Any) -> None:
    tokenizer.add_tokens([AddedToken("river weather", special=False)])


@pytest.fixture
def changed(tokenizer_folder: Path, tmp_path: Path) -> Callable[[Callable[[Any], None]], Path]:
    """The tokenizer of the made corpus after a change."""

    def change(how: Callable[[Any], None]) -> Path:
        tokenizer = load_tokenizer(tokenizer_folder)
        how(tokenizer)
        tokenizer.save_pretrained(tmp_path / "changed")
        return tmp_path / "changed"

    return change


def first_tokens(store: Path) -> set[int]:
    opened = TokenStore(store)
    return {int(opened.tokens(row["stream"])[row["offset"]]) for row in opened.ledger.to_pylist()}


def test_a_tokenizer_that_sets_a_start_gets_one_before_every_document(
    documents: Path, changed: Callable[[Callable[[Any], None]], Path], store: Path, tmp_path: Path
) -> None:
    folder = changed(adds_start)
    tokenise_documents(documents, folder, tmp_path / "out", STORE)
    assert first_tokens(tmp_path / "out") == {load_tokenizer(folder).convert_tokens_to_ids(START)}
    assert check_borders(tmp_path / "out", folder) == BorderCheck(60, 1.0, 1.0, 0)
    assert check_borders(store, folder) == BorderCheck(60, 0.0, 1.0, 0)
    assert TokenStore(tmp_path / "out").tokenizer != TokenStore(store).tokenizer


def test_a_tokenizer_that_only_names_a_start_gets_none(
    documents: Path, changed: Callable[[Callable[[Any], None]], Path], tokenizer_folder: Path, tmp_path: Path
) -> None:
    folder = changed(names_start)
    tokenise_documents(documents, folder, tmp_path / "out", STORE)
    assert load_tokenizer(folder).convert_tokens_to_ids(START) not in first_tokens(tmp_path / "out")
    assert check_borders(tmp_path / "out", folder).sound
    tokenise_documents(documents, changed(adds_start), tmp_path / "with", STORE)
    assert check_borders(tmp_path / "with", changed(names_start)).begin_right == 0


def test_start_and_end_may_be_one_token(
    documents: Path, changed: Callable[[Callable[[Any], None]], Path], tmp_path: Path
) -> None:
    folder = changed(lambda tokenizer: adds_start(tokenizer, END))
    tokenise_documents(documents, folder, tmp_path / "out", STORE, work=tmp_path / "work")
    assert check_borders(tmp_path / "out", folder) == BorderCheck(60, 1.0, 1.0, 0)
    again = tokenise_documents(documents, folder, tmp_path / "again", STORE, work=tmp_path / "work")
    taken = tokenise_documents(documents, folder, tmp_path / "taken", STORE, earlier=[tmp_path / "out"])
    assert (again["resumed"], taken["taken_over"]) == (60, 60)
    heads = {(tmp_path / name / "store.json").read_text() for name in ("out", "again", "taken")}
    assert len(heads) == 1


@pytest.mark.parametrize(
    ("broken", "wanted"),
    [
        (lambda start, end, body: [*body, end], BorderCheck(20, 0.05, 1.0, 0)),
        (lambda start, end, body: [start, *body], BorderCheck(20, 1.0, 0.05, 0)),
        (lambda start, end, body: [start, *body, end, *body, end], BorderCheck(20, 1.0, 1.0, 19)),
    ],
)
def test_a_store_with_broken_borders_is_told(
    changed: Callable[[Callable[[Any], None]], Path], tmp_path: Path, broken: Any, wanted: BorderCheck
) -> None:
    folder = changed(adds_start)
    tokenizer = load_tokenizer(folder)
    start, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    writer = StreamWriter(tmp_path / "store", "text", "train", np.dtype("<u2"), source="s")
    for number in range(20):
        body = [40 + number, 41, 42]
        tokens = np.array(broken(start, end, body) if number else [start, *body, end])
        writer.record(f"{number:032x}", writer.tokens, len(tokens), 3)
        writer.append(tokens)
    write_store(tmp_path / "store", len(tokenizer), [writer])
    found = check_borders(tmp_path / "store", folder)
    assert found == wanted
    assert not found.sound


@pytest.mark.parametrize("texts", [[], [""]])
def test_a_corpus_without_text_has_no_streams_and_nothing_wrong_in_it(
    tokenizer_folder: Path, tmp_path: Path, texts: list[str]
) -> None:
    with DocumentWriter(tmp_path / "in") as writer:
        common = {"domain": "text", "kind": "made", "source": "test", "license": "Apache-2.0"}
        writer.write(Document(text=text, origin="", **common) for text in texts)
    figures = tokenise_documents(tmp_path / "in", tokenizer_folder, tmp_path / "out", STORE)
    assert figures["streams"] == TokenStore(tmp_path / "out").streams == {}
    assert check_borders(tmp_path / "out", tokenizer_folder).sound


def test_ids_that_leave_some_out_get_a_type_that_holds_them(documents: Path, tokenizer_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(tokenizer_folder, tmp_path / "holes")
    definition = json.loads((tmp_path / "holes" / "tokenizer.json").read_text())
    vocabulary = definition["model"]["vocab"]
    vocabulary["2"] = 65_536
    (tmp_path / "holes" / "tokenizer.json").write_text(json.dumps(definition))
    tokenizer = load_tokenizer(tmp_path / "holes")
    assert len(tokenizer) < 65_536
    tokenise_documents(documents, tmp_path / "holes", tmp_path / "out", STORE)
    store = TokenStore(tmp_path / "out")
    assert (store.vocab_size, store.dtype) == (65_537, np.dtype("<u4"))
    assert max(int(store.tokens(name).max()) for name in store.streams) == 65_536
    assert copy_tokenizer(tmp_path / "holes", tmp_path / "copy") == {"vocab_size": 65_537}


def test_a_document_outside_of_its_stream_is_named(tokenizer_folder: Path, tmp_path: Path) -> None:
    writer = StreamWriter(tmp_path, "text", "train", np.dtype("<u2"))
    writer.append(np.arange(5))
    writer.record("ab" * 16, 3, 3, 1)
    write_store(tmp_path, 320, [writer])
    with pytest.raises(MixtureError, match=rf"ledger\.parquet puts document {'ab' * 16} outside of text"):
        check_borders(tmp_path, tokenizer_folder)


def test_conversations_are_not_documents(tokenizer_folder: Path, tmp_path: Path) -> None:
    writer = StreamWriter(tmp_path, "instruction", "train", np.dtype("<u2"), masked=True)
    writer.append(np.arange(5), np.ones(5))
    writer.record("ab" * 16, 0, 5, 1)
    write_store(tmp_path, 320, [writer])
    assert check_borders(tmp_path, tokenizer_folder).documents == 0


def test_a_tokenizer_of_another_kind_is_left_to_tokenizers(
    documents: Path, changed: Callable[[Callable[[Any], None]], Path], tmp_path: Path
) -> None:
    folder = changed(sets_space_before)
    figures = tokenise_documents(documents, folder, tmp_path / "out", STORE)
    assert figures["encoder"] == "tokenizers"
    assert check_borders(tmp_path / "out", folder).sound
    (tokens,) = Encoder(EncoderSpec.of(folder, tmp_path / "work"))(["river"])
    assert load_tokenizer(folder).decode(tokens[:-1]) == " river"


def test_pieces_and_tokenizers_encode_alike(
    changed: Callable[[Callable[[Any], None]], Path], tokenizer_folder: Path, tmp_path: Path
) -> None:
    texts = ["a river weather of 2024", "→ größe", "", "<|im_start|>", "  12 \U0001f600 "]
    for folder in (tokenizer_folder, changed(knows_a_plain_word)):
        spec = EncoderSpec.of(folder, tmp_path / "work", texts)
        assert spec.name == "pieces"
        found = Encoder(spec)(texts)
        wanted = Encoder(replace(spec, patterns=None))(texts)
        assert [tokens.tolist() for tokens in found] == [tokens.tolist() for tokens in wanted]
    assert load_tokenizer(folder).convert_tokens_to_ids("river weather") in found[0]


def test_an_encoder_that_differs_on_real_text_is_not_taken(
    tokenizer_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hephaestus_dag.mixture.pieces.GPT2_PATTERN", r"\s|\S")
    sample = ["the weather of the river"]
    assert EncoderSpec.of(tokenizer_folder, tmp_path, ["x"]).name == "pieces"
    assert EncoderSpec.of(tokenizer_folder, tmp_path, sample).name == "tokenizers"


def test_an_end_that_text_can_spell_is_refused(tokenizer_folder: Path, tmp_path: Path) -> None:
    spec = EncoderSpec.of(tokenizer_folder, tmp_path)
    letter = load_tokenizer(tokenizer_folder).convert_tokens_to_ids("x")
    encode = Encoder(replace(spec, borders=Borders(None, letter)))
    assert encode(["bcd"])[0][-1] == letter
    with pytest.raises(MixtureError, match="stands inside the document that begins 'x 1'"):
        encode(["bcd", "x 1"])
