import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hephaestus_dag.documents import Document, DocumentWriter
from hephaestus_dag.evaluation.overlap import ItemIndex, items_seen, overlap_of, scan_documents
from hephaestus_dag.evaluation.overlap_config import OverlapConfig

RULE = OverlapConfig()
QUESTION = (
    "A baker in the old harbour sells three kinds of bread on Monday and seven on Friday; "
    "how many loaves does she need when forty sailors each ask for two of every kind?"
)
STOCK = "Which of the following statements about the history of the country is true?"
ITEMS = [
    ("mmlu/baker", QUESTION),
    ("mmlu/short", "Name the largest moon of Saturn now"),
    ("mmlu/tiny", "What is gold?"),
    *((f"mmlu/stock{at}", f"{STOCK} {'abcdefghijklmnopq'[at] * 5} river valley border village") for at in range(15)),
]
FUNCTIONS = [("bfcl/book_0", "book_table(city,guests)"), ("bfcl/book_1", "book_table(city,guests)"), ("bfcl/out", "logout()")]


def filler(words: int, seed: int = 0) -> str:
    rng = random.Random(seed)
    return " ".join("".join(rng.choices("bcdfghklmnprst", k=6)) for _ in range(words))


def document(text: str, signatures: str = "", source: str = "web") -> Document:
    return Document(text=text, domain="text", kind="page", source=source, origin="here", license="MIT", signatures=signatures)


def shares(*documents: Document) -> dict[str, tuple[float, int]]:
    index = ItemIndex(ITEMS, FUNCTIONS, RULE)
    batch = pa.RecordBatch.from_pylist(
        [{name: getattr(each, name) for name in ("id", "text", "source", "origin", "signatures")} for each in documents]
    )
    return {row["item"]: (round(row["share"], 2), row["words"]) for row in index.matches(batch).to_pylist()}


def test_a_copy_is_found_anywhere_and_in_any_shape() -> None:
    text = f"{filler(300)} {QUESTION.upper().replace(' ', chr(10))} {filler(300, 1)}"
    assert shares(document(text)) == {"mmlu/baker": (1.0, 33)}


def test_a_part_has_its_share() -> None:
    half = " ".join(QUESTION.split()[:16])
    assert shares(document(f"{filler(20)} {half} {filler(20)}")) == {"mmlu/baker": (0.48, 16)}
    torn = f"{' '.join(QUESTION.split()[:10])} {filler(5)} {' '.join(QUESTION.split()[16:])}"
    share, longest = shares(document(torn))["mmlu/baker"]
    assert (share, longest) == (0.82, 17)


def test_near_misses_are_not_found() -> None:
    words = QUESTION.split()
    paraphrase = " ".join("other" if at % 7 == 6 else word for at, word in enumerate(words))
    assert shares(document(paraphrase), document(" ".join(reversed(words))), document(" ".join(words[:5]))) == {}


def test_stock_phrases_alone_are_no_overlap() -> None:
    assert shares(document(f"{filler(9)} {STOCK} {filler(9)}")) == {}
    whole = f"{STOCK} ccccc river valley border village"
    assert shares(document(whole))["mmlu/stock2"][0] == 1.0
    assert len(shares(document(whole))) == 1


def test_short_texts_have_to_occur_in_full_and_tiny_ones_are_counted() -> None:
    assert "mmlu/short" in shares(document(f"{filler(5)} name the largest moon of Saturn now {filler(5)}"))
    assert shares(document("name the largest moon of Jupiter now")) == {}
    assert ItemIndex(ITEMS, (), RULE).unjudged == {"mmlu": 1}


def test_the_text_of_an_item_that_overlaps_most_counts() -> None:
    index = ItemIndex([("gsm8k/1 (answer)", QUESTION), ("gsm8k/1", filler(40, 7))], (), RULE)
    found = index.matches(
        pa.RecordBatch.from_pylist([{"id": "d", "text": f"{QUESTION}", "source": "", "origin": "", "signatures": ""}])
    )
    (row,) = found.to_pylist()
    assert (row["item"], row["share"]) == ("gsm8k/1", 1.0)
    assert row["matched"].startswith(
        "a baker in the old harbour sells three kinds of bread on monday and seven on friday how many"
    )


@pytest.fixture
def scan(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    documents = {
        "copy": document(f"{filler(9)} {QUESTION}"),
        "half": document(" ".join(QUESTION.split()[:12])),
        "tool": document(filler(30, 3), signatures="logout()\nbook_table(city,guests)", source="openapi"),
        "other": document(filler(50, 4)),
    }
    with DocumentWriter(tmp_path / "documents", documents_per_shard=1) as writer:
        writer.write(documents.values())
    told = scan_documents(ItemIndex(ITEMS, FUNCTIONS, RULE), tmp_path / "documents", tmp_path / "scan")
    assert told["matches"] == 3
    assert told["rule"].keys() == {"n_gram", "shortest_item", "stock_items"}
    return tmp_path / "scan", {name: each.id for name, each in documents.items()}


def trained(*ids: str) -> pa.Table:
    return pa.table({"document_id": pa.array(ids, pa.string())})


def test_a_variant_has_only_the_overlap_of_its_own_documents(scan: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    folder, ids = scan
    told = overlap_of([folder], trained(ids["copy"], ids["half"]), FUNCTIONS, RULE, tmp_path / "all")
    assert told["benchmarks"] == {"mmlu": {"items with a match": 1, "items seen": 1}}
    assert told["items not judged"] == {"mmlu": 1}
    (row,) = pq.read_table(tmp_path / "all" / "overlap.parquet").to_pylist()
    assert (row["document_id"], row["words"], row["origin"]) == (ids["copy"], 33, "here")
    assert items_seen(tmp_path / "all") == {"mmlu/baker"}
    overlap_of([folder], trained(ids["half"], ids["other"]), FUNCTIONS, RULE, tmp_path / "half")
    assert items_seen(tmp_path / "half") == set()
    strict = RULE.model_copy(update={"max_share": 0.3})
    overlap_of([folder], trained(ids["half"]), FUNCTIONS, strict, tmp_path / "strict")
    assert items_seen(tmp_path / "strict") == {"mmlu/baker"}


def test_a_function_is_an_overlap_of_every_item_that_offers_it(scan: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    folder, ids = scan
    overlap_of([folder], trained(ids["tool"]), FUNCTIONS, RULE, tmp_path / "tools")
    assert items_seen(tmp_path / "tools") == {"bfcl/book_0", "bfcl/book_1"}  # logout() says nothing
