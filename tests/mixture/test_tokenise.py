import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mixture_corpus import STORE, TOKENIZER, write_documents

from hephaestus_dag.documents import Document, DocumentWriter, read_document_table
from hephaestus_dag.mixture.config import TokenizerConfig, TokenStoreConfig, TrainTokenizerConfig
from hephaestus_dag.mixture.contents import decoded_documents
from hephaestus_dag.mixture.encoder import Encoder, EncoderSpec
from hephaestus_dag.mixture.store import MixtureError, StreamWriter, TokenStore, is_heldout, write_store
from hephaestus_dag.mixture.tokenise import sample_texts, tokenise_documents
from hephaestus_dag.mixture.tokenizer import copy_tokenizer, load_tokenizer, train_tokenizer


def encoder(tokenizer_folder: Path) -> Encoder:
    return Encoder(EncoderSpec.of(tokenizer_folder, tokenizer_folder.parent / "work"))


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_tokenizer_has_chat_template_single_digits_and_the_asked_size(tokenizer_folder: Path) -> None:
    tokenizer = load_tokenizer(tokenizer_folder)
    assert len(tokenizer) == TOKENIZER.vocab_size
    assert len(tokenizer.encode("2024")) == 4
    assert sorted(tokenizer.all_special_tokens) == ["<|endoftext|>", "<|im_end|>", "<|im_start|>"]
    assert tokenizer.eos_token == tokenizer.pad_token == "<|endoftext|>"
    rendered = tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False, add_generation_prompt=True)
    assert rendered == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"


def test_tokenizer_files_are_the_same_bytes_each_time(documents: Path, tokenizer_folder: Path, tmp_path: Path) -> None:
    train_tokenizer(sample_texts([documents], TOKENIZER), TOKENIZER, tmp_path)
    assert digests(tmp_path) == digests(tokenizer_folder)


def test_a_copied_tokenizer_does_not_remember_where_it_came_from(tokenizer_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(tokenizer_folder, tmp_path / "elsewhere")
    for origin, name in ((tokenizer_folder, "one"), (tmp_path / "elsewhere", "two")):
        assert copy_tokenizer(origin, tmp_path / name) == {"vocab_size": TOKENIZER.vocab_size}
    assert digests(tmp_path / "one") == digests(tmp_path / "two")
    one, original = load_tokenizer(tmp_path / "one"), load_tokenizer(tokenizer_folder)
    assert one.get_vocab() == original.get_vocab()
    assert one.chat_template == original.chat_template


def test_a_tokenizer_without_chat_template_is_not_copied(tokenizer_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(tokenizer_folder, tmp_path / "bare")
    (tmp_path / "bare" / "chat_template.jinja").unlink()
    with pytest.raises(ValueError, match="no chat_template"):
        copy_tokenizer(tmp_path / "bare", tmp_path / "copy")


def test_a_vocabulary_that_the_text_cannot_fill_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="lower vocab_size or add text"):
        train_tokenizer(["too short"], TrainTokenizerConfig(vocab_size=1_000), tmp_path)


def test_tokenizer_config_wants_one_origin() -> None:
    with pytest.raises(ValueError, match="exactly one of train and model"):
        TokenizerConfig(train=TOKENIZER, model="some/model")


@given(texts=st.lists(st.text(st.characters(codec="utf-8"), min_size=1), max_size=50))
@settings(max_examples=30, deadline=None)
def test_any_text_round_trips(tokenizer_folder: Path, texts: list[str]) -> None:
    tokenizer = load_tokenizer(tokenizer_folder)
    assert [tokenizer.decode(tokens[:-1]) for tokens in encoder(tokenizer_folder)(texts)] == texts


def test_text_that_spells_special_tokens_stays_text(tokenizer_folder: Path) -> None:
    tokenizer = load_tokenizer(tokenizer_folder)
    (tokens,) = encoder(tokenizer_folder)(["a<|endoftext|><|im_start|>b"])
    assert tokenizer.decode(tokens[:-1]) == "a<|endoftext|><|im_start|>b"
    assert np.flatnonzero(np.isin(tokens, tokenizer.all_special_ids)).tolist() == [len(tokens) - 1]


def test_store_holds_every_document_once_where_the_ledger_says(documents: Path, store: Path, tokenizer_folder: Path) -> None:
    opened, tokenizer = TokenStore(store), load_tokenizer(tokenizer_folder)
    table = read_document_table(documents)
    texts = dict(zip(table["id"].to_pylist(), table["text"].to_pylist(), strict=True))
    rows = opened.ledger.to_pylist()
    assert sorted(row["document_id"] for row in rows) == sorted(texts)
    assert rows == sorted(rows, key=lambda row: (row["stream"], row["offset"]))
    assert {path.name for path in (store / "streams").iterdir()} == {f"{name}.bin" for name in opened.streams}
    for row in rows:
        tokens = opened.tokens(row["stream"])[row["offset"] : row["offset"] + row["length"]]
        assert tokens[-1] == tokenizer.eos_token_id
        assert tokenizer.decode(tokens[:-1]) == texts[row["document_id"]]
    for name, stream in opened.streams.items():
        mine = [row for row in rows if row["stream"] == name]
        assert stream.tokens == sum(row["length"] for row in mine)
        assert stream.documents == len(mine)
        assert stream.bytes == sum(len(texts[row["document_id"]].encode()) for row in mine)


def test_heldout_documents_are_apart_from_training_documents(store: Path) -> None:
    rows = TokenStore(store).ledger.to_pylist()
    train = {row["document_id"] for row in rows if row["split"] == "train"}
    heldout = {row["document_id"] for row in rows if row["split"] == "heldout"}
    assert train
    assert heldout
    assert all(is_heldout(identity, STORE.heldout_share) for identity in heldout)
    assert not any(is_heldout(identity, STORE.heldout_share) for identity in train)


def test_store_is_the_same_bytes_each_time_and_another_seed_moves_documents(
    documents: Path, store: Path, tokenizer_folder: Path, tmp_path: Path
) -> None:
    tokenise_documents([documents], tokenizer_folder, tmp_path / "again", STORE)
    assert digests(tmp_path / "again") == digests(store)
    tokenise_documents([documents], tokenizer_folder, tmp_path / "other", STORE.model_copy(update={"seed": 4}))
    assert digests(tmp_path / "other") != digests(store)


def test_order_does_not_depend_on_how_documents_are_sharded(tokenizer_folder: Path, tmp_path: Path) -> None:
    write_documents(tmp_path / "one", seed=1, count=10)
    write_documents(tmp_path / "two", seed=2, count=10)
    tokenise_documents([tmp_path / "one", tmp_path / "two"], tokenizer_folder, tmp_path / "a", STORE)
    tokenise_documents([tmp_path / "two", tmp_path / "one"], tokenizer_folder, tmp_path / "b", STORE)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")


def test_limits_leave_documents_out_and_count_them(documents: Path, tokenizer_folder: Path, tmp_path: Path) -> None:
    config = TokenStoreConfig(heldout_share=0.4, max_heldout_documents=2, max_tokens_per_domain=100)
    figures = tokenise_documents(documents, tokenizer_folder, tmp_path, config)
    kept = sum(stream["documents"] for stream in figures["streams"].values())
    assert kept + sum(figures["left_out"].values()) == figures["documents"] == 60
    for name, stream in figures["streams"].items():
        if name.endswith(".heldout"):
            assert stream["documents"] == 2
        else:
            last = TokenStore(tmp_path).stream_ledger(name)["offset"].to_pylist()[-1]
            assert last < 100 <= stream["tokens"]


def test_empty_documents_are_counted_as_left_out(tokenizer_folder: Path, tmp_path: Path) -> None:
    with DocumentWriter(tmp_path / "in") as writer:
        common = {"domain": "text", "kind": "made", "source": "test", "license": "Apache-2.0"}
        writer.write([Document(text=text, origin=text, **common) for text in ("", "something")])
    figures = tokenise_documents(tmp_path / "in", tokenizer_folder, tmp_path / "out", TokenStoreConfig(heldout_share=0))
    assert figures["left_out"]["empty"] == 1
    assert figures["streams"]["text.train.test"]["documents"] == 1


def test_a_cut_token_file_is_noticed(documents: Path, tokenizer_folder: Path, tmp_path: Path) -> None:
    tokenise_documents(documents, tokenizer_folder, tmp_path, STORE)
    path = tmp_path / "streams" / "text.train.test.bin"
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(MixtureError, match=r"store\.json says"):
        TokenStore(tmp_path).tokens("text.train.test")


@pytest.mark.parametrize("what", ["nothing", "mask", "ledger", "tokens"])
def test_the_fingerprint_of_a_store_is_that_of_all_its_files(tmp_path: Path, what: str) -> None:
    def write(folder: Path, change: str = "") -> str:
        writer = StreamWriter(folder, "instruction", "train", np.dtype("<u2"), masked=True)
        writer.append(np.array([1, 2, 4 if change == "tokens" else 3]), np.array([0, 1, 1] if change == "mask" else [1, 0, 1]))
        writer.record("ab" * 16 if change == "ledger" else "cd" * 16, 0, 3, 1)
        write_store(folder, 100, [writer])
        return TokenStore(folder).fingerprint

    assert (write(tmp_path / "one") == write(tmp_path / "two", what)) == (what == "nothing")


def test_training_documents_are_read_back_as_text(
    documents: Path, tokenizer_folder: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hephaestus_dag.mixture.contents.DOCUMENTS_AT_ONCE", 7)
    table = read_document_table(documents)
    texts = dict(zip(table["id"].to_pylist(), table["text"].to_pylist(), strict=True))
    found = [pair for some in decoded_documents([store], tokenizer_folder) for pair in zip(*some, strict=True)]
    wanted = [(identity, text) for identity, text in texts.items() if not is_heldout(identity, STORE.heldout_share)]
    assert sorted(found) == sorted(wanted)


def test_heldout_windows_cover_a_stream_without_overlap(store: Path) -> None:
    opened = TokenStore(store)
    stream = opened.tokens("text.heldout")
    tokens, mask = opened.windows("text.heldout", 16, 10**6)
    assert mask is None
    assert len(tokens) == (len(stream) - 1) // 16
    assert tokens[:, 1:].ravel().tolist() == stream[1 : 1 + tokens[:, 1:].size].tolist()
