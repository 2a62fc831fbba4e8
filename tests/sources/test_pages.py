"""Pages, crawls and prose: what is kept of HTML, which records of a crawl become documents, and where long texts are cut."""

import gzip
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hephaestus_dag.documents import Document, Reject
from hephaestus_dag.sources import list_items, read_items
from hephaestus_dag.sources.config import SourceConfig
from hephaestus_dag.sources.reading.html_text import page_text
from hephaestus_dag.sources.reading.splitting import split_text

PROSE = "The kettle is filled before it is put on the fire, and nobody is asked to wait for it while it warms. "
PAGE = f"""<!DOCTYPE html><html><head><title>Tea &amp; kettles</title><style>p {{color: red}}</style></head><body>
<nav><a href="/">Home</a> <a href="/all">All pages</a></nav>
<main><h1>Kettles<a class="headerlink" href="#k">¶</a></h1><p>{PROSE * 3}</p>
<h2>Filling &lt;one&gt;</h2><ul><li><p>{PROSE}</p></li><li>{PROSE}</li></ul><ol><li>{PROSE}</li><li>{PROSE}</li></ol>
<pre><span>def fill(pot):</span>

    return pot &lt; "full"  # &amp;c
</pre>
<table><tr><th>leaf</th><th>minutes</th></tr><tr><td>oolong</td><td>3</td></tr></table>
<p>{PROSE * 2}</p></main>
<footer><a href="/imprint">Imprint</a></footer><script>var tea = 1;</script></body></html>"""


def source(kind: str, folder: Path, **values: Any) -> SourceConfig:
    return SourceConfig.model_validate({"name": "s", "kind": kind, "location": str(folder), "domain": "text", **values})


def read(config: SourceConfig) -> tuple[list[Document], list[Reject]]:
    found = read_items(config, list_items(config))
    return [f for f in found if isinstance(f, Document)], [f for f in found if isinstance(f, Reject)]


def test_a_page_keeps_headings_lists_code_and_tables() -> None:
    text = page_text(PAGE.encode())
    assert text.startswith(f"# Kettles\n\n{PROSE.strip()}")
    assert "\n\n## Filling <one>\n\n" in text
    assert f"- {PROSE.strip()}\n" in text
    assert f"1. {PROSE.strip()}\n2. {PROSE.strip()}\n" in text
    assert '\n```\ndef fill(pot):\n\n    return pot < "full"  # &c\n```\n' in text
    assert "leaf | minutes\noolong | 3\n" in text
    for noise in ("Home", "Imprint", "var tea", "color", "¶", "\n\n\n"):
        assert noise not in text


@pytest.mark.parametrize(
    ("content", "charset"),
    [
        (PAGE.replace("Kettles", "Théières").encode(), None),
        (PAGE.replace("Kettles", "Théières").encode("latin-1"), "iso-8859-1"),
        (PAGE.replace("Kettles", "Théières").replace("<head>", '<head><meta charset="windows-1252">').encode("cp1252"), None),
        (PAGE.replace("Kettles", "Théières").encode("cp1252"), "utf-8"),
        (b"\xef\xbb\xbf" + PAGE.replace("Kettles", "Théières").encode(), "no-such-charset"),
    ],
)
def test_character_sets(content: bytes, charset: str | None) -> None:
    assert page_text(content, charset).startswith("# Théières\n")


def test_pages_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(PAGE)
    (tmp_path / "b.HTM").write_text(f"<title>Only a title</title><p>{PROSE * 4}</p>")
    (tmp_path / "frame.html").write_text("<p>Moved.</p>")
    (tmp_path / "empty.html").write_text("")
    documents, rejects = read(source("html_pages", tmp_path, license="CC-BY-4.0"))
    assert [(d.origin.partition("/")[2], d.license, d.kind) for d in documents] == [
        ("a.html", "CC-BY-4.0", "prose"),
        ("b.HTM", "CC-BY-4.0", "prose"),
    ]
    assert documents[1].text.startswith("# Only a title\n\nThe kettle")
    assert [r.reason.partition(":")[0] for r in rejects] == ["empty", "too short"]


def record(kind: str, address: str, content: bytes, media: str, status: str = "200 OK") -> bytes:
    if kind == "response":
        content = f"HTTP/1.1 {status}\r\nContent-Type: {media}\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content
        media = "application/http; msgtype=response"
    head = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {address}\r\nWARC-Date: 2024-01-01T00:00:00Z\r\n"
        f"WARC-Record-ID: <urn:uuid:{address}>\r\nContent-Type: {media}\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content + b"\r\n\r\n"


def archive(*records: bytes, packed: bool = False) -> bytes:
    return b"".join(gzip.compress(each) if packed else each for each in records)


CRAWL = (
    record("warcinfo", "", b"software: none", "application/warc-fields"),
    record("request", "https://www.tea.org/kettles", b"GET / HTTP/1.1\r\n\r\n", "application/http"),
    record(
        "response",
        "https://www.tea.org/kettles",
        PAGE.replace("Kettles", "Théières").encode("latin-1"),
        "text/html; charset=ISO-8859-1",
    ),
    record("response", "https://tea.org/gone", b"<p>no</p>", "text/html", "404 Not Found"),
    record("response", "https://tea.org/pot.png", b"\x89PNG", "image/png"),
    record("response", "https://tea.org/notes.txt", PROSE.encode() * 4, "text/plain"),
)


@pytest.mark.parametrize("packed", [False, True])
def test_a_crawl_gives_its_pages_with_place_and_address(packed: bool, tmp_path: Path) -> None:
    content = archive(*CRAWL, packed=packed)
    (tmp_path / f"crawl.warc{'.gz' if packed else ''}").write_bytes(content)
    documents, rejects = read(source("warc", tmp_path, license="CC-BY-4.0"))
    page, notes = documents
    assert page.text.startswith("# Théières\n")
    assert (page.provider, notes.provider, notes.text) == ("tea.org", "tea.org", (PROSE * 4).strip())
    match = re.fullmatch(r"[^/]+/crawl\.warc(?:\.gz)?/byte (\d+)/https://www\.tea\.org/kettles", page.origin)
    assert match
    rest = content[int(match[1]) :]
    assert (gzip.decompress(rest) if packed else rest).startswith(b"WARC/1.")
    assert [(r.origin.rpartition("/")[2], r.reason) for r in rejects] == [
        ("gone", "HTTP 404"),
        ("pot.png", "not HTML: image/png"),
    ]


def test_wet_texts_and_an_archive_that_ends_in_the_middle(tmp_path: Path) -> None:
    wet = archive(
        record("conversion", "https://a.org/x", PROSE.encode() * 3, "text/plain"),
        record("conversion", "https://a.org/y", b"Hi.", "text/plain"),
        packed=True,
    )
    (tmp_path / "a.warc.wet.gz").write_bytes(wet)
    (tmp_path / "b.wet.gz").write_bytes(wet[:120])
    (tmp_path / "c.warc").write_bytes(b"no archive")
    (tmp_path / "d.warc").write_bytes(archive(*CRAWL)[:-100])
    documents, rejects = read(source("warc", tmp_path))
    assert [d.provider for d in documents] == ["a.org", "tea.org"]
    by_file = {r.origin.split("/")[1]: r.reason.partition(":")[0] for r in rejects}
    assert by_file["a.warc.wet.gz"] == "too short"
    assert by_file["b.wet.gz"] in ("damaged", "empty")
    assert by_file["c.warc"] in ("damaged", "empty")
    assert by_file["d.warc"] == "damaged"


def test_a_long_text_is_cut_before_headings_and_never_in_a_sentence(tmp_path: Path) -> None:
    sections = [f"## Part {n}\n\n{PROSE * 3}\n\n```\n# no heading\n\n{'x = 1' * 8}\n```\n\n{PROSE * 2}" for n in range(12)]
    (tmp_path / "long.md").write_text("# Title\n\n" + "\n\n".join(sections))
    documents, rejects = read(source("text_files", tmp_path, max_characters=1_500))
    assert not rejects
    assert [d.origin.rpartition("/")[2] for d in documents] == [f"part {n}" for n in range(1, len(documents) + 1)]
    assert all(d.text.startswith(("# Title", "## Part")) and len(d.text) <= 1_500 for d in documents)
    assert sum(d.text.count("## Part") for d in documents) == 12


def test_prose_without_headings_is_cut_after_sentences() -> None:
    parts = split_text(PROSE * 40, 500)
    assert all(part.rstrip().endswith("warms.") and len(part) <= 500 for part in parts)


def test_a_block_of_code_stays_whole() -> None:
    code = "```\n" + "# no heading\n\nx = 1\n\n" * 20 + "```\n\n"
    parts = split_text(f"{PROSE * 4}\n\n{code}{PROSE * 4}", 700)
    assert [part.count("```") for part in parts] == [0, 2, 0]


@settings(deadline=None, max_examples=300)
@given(
    st.lists(st.sampled_from(["# H\n", "\n\n", "A b. ", "word ", "xxxxxxxx", "```\n", "\n", "é。", "T\n====\n"]), max_size=80),
    st.integers(1, 60),
)
def test_parts_joined_are_the_text(pieces: list[str], longest: int) -> None:
    text = "".join(pieces)
    parts = split_text(text, longest)
    assert "".join(parts) == text
    assert all(len(part) <= longest for part in parts)
    assert len(parts) == 1 or all(parts)


def test_a_page_that_would_take_minutes_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / "deep.html").write_text("<div>" * 200_000 + f"<p>{PROSE * 9}</p>")
    documents, rejects = read(source("html_pages", tmp_path))
    assert not documents
    assert [r.reason for r in rejects] == ["not HTML: elements are nested more than 3000 deep"]
