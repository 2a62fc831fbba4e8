"""Every form in which a web corpus arrives, written as in a recipe: what is good comes through, what is damaged is named."""

import gzip
import io
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from hephaestus_dag.documents import Reject, read_document_table
from hephaestus_dag.sources.collect import collect_documents
from hephaestus_dag.sources.config import SourceConfig

PROSE = "The endpoint takes the number of a page and returns what the page says, in the order in which it was written. "


def in_order(function: Callable[[Any], Any], items: Sequence[Any], progress: Any = None) -> Iterator[Any]:
    yield from map(function, items)


def collect(recipe: str, folder: Path) -> tuple[list[dict[str, Any]], list[Reject]]:
    """Collect what ``web_retrieval.web_corpus`` of a recipe names."""
    sources = [SourceConfig.model_validate(source) for source in yaml.safe_load(recipe)]
    collect_documents(sources, folder / "web", folder / "work", in_order)
    rejects = pq.read_table(folder / "web" / "rejects.parquet").to_pylist()
    return read_document_table(folder / "web").to_pylist(), [Reject(**row) for row in rejects]


def text(name: str) -> str:
    return f"{name}: {PROSE * 3}".strip()


def html(name: str) -> bytes:
    return f"<html><head><title>{name}</title></head><body><main><p>{text(name)}</p></main></body></html>".encode()


def record(kind: str, address: str, content: bytes, encoding: str = "") -> bytes:
    """Return a record of a WARC (``response``) or WET (``conversion``) file; ``encoding`` is how the server sent the page."""
    media = "text/plain"
    if kind == "response":
        if encoding == "gzip":
            content = gzip.compress(content, mtime=0)
        head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {len(content)}\r\n"
        if encoding == "chunked":
            content = f"{len(content):x}\r\n".encode() + content + b"\r\n0\r\n\r\n"
            head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n"
        elif encoding:
            head += f"Content-Encoding: {encoding}\r\n"
        content, media = f"{head}\r\n".encode() + content, "application/http; msgtype=response"
    head = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {address}\r\nWARC-Date: 2025-01-01T00:00:00Z\r\n"
        f"WARC-Record-ID: <urn:uuid:{address}>\r\nContent-Type: {media}\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content + b"\r\n\r\n"


def archive(kind: str, names: Sequence[str], packed: bool, encoding: str = "") -> tuple[bytes, list[int]]:
    """Return an archive of one page per name, and the byte at which each record ends."""
    content, ends = b"", []
    for name in names:
        page = text(name).encode() if kind == "conversion" else html(name)
        one = record(kind, f"https://www.{name}.org/page", page, encoding)
        content += gzip.compress(one, mtime=0) if packed else one
        ends.append(len(content))
    return content, ends


def fineweb(names: Sequence[str], rows_per_group: int = 3) -> bytes:
    """Return a Parquet shard with the columns of FineWeb."""
    rows = [
        {
            "text": text(name),
            "id": f"<urn:uuid:{name}>",
            "dump": "CC-MAIN-2024-10",
            "url": f"https://www.{name}.org/page?id=1",
            "date": "2024-02-21T01:26:32Z",
            "file_path": f"s3://commoncrawl/crawl-data/{name}.warc.gz",
            "language": "en",
            "language_score": 0.96,
            "token_count": 66,
        }
        for name in names
    ]
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), out, row_group_size=rows_per_group, compression="zstd")
    return out.getvalue()


def names(prefix: str, count: int = 6) -> list[str]:
    return [f"{prefix}{number}" for number in range(count)]


def starts(documents: list[dict[str, Any]]) -> list[str]:
    """Return the names of the pages that were read."""
    return [document["text"].split(":")[0].split()[-1] for document in documents]


def test_all_forms_in_one_recipe(tmp_path: Path) -> None:
    for folder in ("crawl", "wet", "site/guide", "table", "lines"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "crawl" / "a.warc.gz").write_bytes(archive("response", names("warc"), packed=True)[0])
    (tmp_path / "wet" / "a.warc.wet.gz").write_bytes(archive("conversion", names("wet"), packed=True)[0])
    for name in names("html"):
        (tmp_path / "site" / "guide" / f"{name}.html").write_bytes(html(name))
    (tmp_path / "table" / "000_00000.parquet").write_bytes(fineweb(names("parquet")))
    rows = [{"text": text(name), "url": f"https://{name}.org/"} for name in names("jsonl")]
    (tmp_path / "lines" / "a.jsonl.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    documents, rejects = collect(
        f"""
        - {{ name: crawl, kind: warc, location: {tmp_path}/crawl, domain: agent }}
        - {{ name: wet, kind: warc, location: {tmp_path}/wet, domain: agent, license: CC0-1.0 }}
        - {{ name: site, kind: html_pages, location: {tmp_path}/site, domain: agent }}
        - name: fineweb
          kind: records
          location: {tmp_path}/table
          domain: agent
          license: ODC-By-1.0
          columns: {{ text: text, origin: url, provider: url, language: language }}
        - {{ name: lines, kind: records, location: "{tmp_path}/lines/*.jsonl.gz", domain: agent, columns: {{ origin: url }} }}
        """,
        tmp_path / "out",
    )
    assert not rejects
    assert starts(documents) == [name for form in ("warc", "wet", "html", "parquet", "jsonl") for name in names(form)]
    by_source = {document["source"]: document for document in reversed(documents)}
    assert by_source["fineweb"]["origin"] == "table/000_00000.parquet/row 1/https://www.parquet0.org/page?id=1"
    assert (by_source["fineweb"]["license"], by_source["fineweb"]["format"]) == ("ODC-By-1.0", "en")
    assert by_source["crawl"]["provider"] == "warc0.org"
    assert by_source["fineweb"]["provider"] == "parquet0.org"  # the site, as in a crawl: a cap per provider counts sites
    assert all(document["domain"] == "agent" for document in documents)


def test_damaged_shards_beside_good_ones(tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    (folder / "a-good.parquet").write_bytes(fineweb(names("a")))
    (folder / "b-cut.parquet").write_bytes(fineweb(names("b"))[:-200])
    (folder / "c-zeros.parquet").write_bytes(bytes(5_000))
    (folder / "d-good.parquet").write_bytes(fineweb(names("d")))
    (folder / "e-cut.jsonl.gz").write_bytes(
        gzip.compress(b"\n".join(json.dumps({"text": text(n)}).encode() for n in names("e")))[:90]
    )
    (folder / "f-line.jsonl").write_text(
        f'{json.dumps({"text": text("f0")})}\n{{"text": \n{json.dumps({"text": text("f2")})}\n'
    )
    (folder / "g-other.parquet").write_bytes(parquet_of([{"content": "no such column"}]))
    (folder / "h-empty.parquet").write_bytes(b"")
    documents, rejects = collect(
        f"[{{ name: web, kind: records, location: {folder}, domain: agent, columns: {{ origin: url }} }}]", tmp_path / "out"
    )
    assert starts(documents) == [*names("a"), *names("d"), "f0", "f2"]
    assert {(reject.origin, reject.position, reject.reason.partition(":")[0]) for reject in rejects} == {
        ("shards/b-cut.parquet", "file", "damaged"),
        ("shards/c-zeros.parquet", "file", "damaged"),
        ("shards/e-cut.jsonl.gz", "file", "damaged"),
        ("shards/f-line.jsonl", "line 2", "not JSON"),
        ("shards/g-other.parquet", "file", "no column 'text'"),
        ("shards/h-empty.parquet", "file", "damaged"),
    }


def parquet_of(rows: list[dict[str, Any]]) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), out)
    return out.getvalue()


def test_a_damaged_row_group_costs_its_rows_only(tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    content = bytearray(fineweb(names("p", 9), rows_per_group=3))
    column = pq.ParquetFile(io.BytesIO(content)).metadata.row_group(1).column(0)
    start = column.dictionary_page_offset or column.data_page_offset
    content[start : start + column.total_compressed_size] = bytes(column.total_compressed_size)
    (tmp_path / "shards" / "a.parquet").write_bytes(content)
    documents, rejects = collect(
        f"[{{ name: web, kind: records, location: {tmp_path}/shards, domain: agent }}]", tmp_path / "out"
    )
    assert starts(documents) == [*names("p", 9)[:3], *names("p", 9)[6:]]
    assert [document["origin"].rpartition("/")[2] for document in documents] == [f"row {n}" for n in (1, 2, 3, 7, 8, 9)]
    assert [(reject.position, reject.reason.partition(":")[0]) for reject in rejects] == [("rows 4 to 6", "damaged")]


@settings(deadline=None, max_examples=60)
@given(
    kind=st.sampled_from(["response", "conversion"]),
    encoding=st.sampled_from(["", "gzip", "chunked"]),
    packed=st.booleans(),
    share=st.floats(0.01, 0.999),
)
def test_a_truncated_archive_gives_its_whole_records_and_says_where_it_ends(
    kind: str, encoding: str, packed: bool, share: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("crawl")
    (folder / "crawl").mkdir()
    content, ends = archive(kind, names("t", 4), packed, encoding)
    cut = int(len(content) * share)
    (folder / "crawl" / "a.warc.gz" if packed else folder / "crawl" / "a.warc").write_bytes(content[:cut])
    (folder / "crawl" / "b.warc").write_bytes(archive("response", names("good", 2), packed=False)[0])
    documents, rejects = collect(f"[{{ name: web, kind: warc, location: {folder}/crawl, domain: agent }}]", folder / "out")
    whole = sum(end <= cut for end in ends)
    found = starts(documents)
    # the blank lines that end a record may be what is missing
    assert found in ([*names("t", whole), "good0", "good1"], [*names("t", whole + 1), "good0", "good1"])
    complete = {text(name) for name in [*names("t", 4), "good0", "good1"]}
    assert all(
        document["text"].rpartition("# ")[2].partition("\n\n")[2] in complete or document["text"] in complete
        for document in documents
    )
    if found == [*names("t", whole), "good0", "good1"] and cut not in (0, *ends):
        assert {reject.origin.split("/")[1].partition(".")[0] for reject in rejects} == {"a"}
        assert rejects[-1].reason.startswith("damaged")


def test_html_trees_with_odd_files(tmp_path: Path) -> None:
    site = tmp_path / "site"
    (site / "deep" / "er").mkdir(parents=True)
    (site / "index.html").write_bytes(html("index"))
    (site / "deep" / "er" / "page.htm").write_bytes(html("page"))
    (site / "deep" / "latin.html").write_bytes(html("café").decode().encode("latin-1"))
    (site / "deep" / "picture.html").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20)
    (site / "gone.html").symlink_to(site / "nowhere.html")
    (site / "style.css").write_text("p { color: red }")
    documents, rejects = collect(f"[{{ name: site, kind: html_pages, location: {site}, domain: agent }}]", tmp_path / "out")
    assert sorted(starts(documents)) == ["café", "index", "page"]
    assert sorted(reject.origin for reject in rejects) == ["site/deep/picture.html", "site/gone.html"]
    assert all(reject.reason and str(tmp_path) not in reject.reason for reject in rejects)


def test_shards_behind_a_url(tmp_path: Path) -> None:
    system = fsspec.filesystem("memory")
    good, bad = fineweb(names("u")), fineweb(names("v"))[:-300]
    system.pipe({"/fineweb/data/000.parquet": good, "/fineweb/data/001.parquet": bad, "/fineweb/README.md": b"no data"})
    try:
        documents, rejects = collect(
            "[{ name: web, kind: records, location: 'memory://fineweb/data/*.parquet', domain: agent }]", tmp_path
        )
    finally:
        system.rm("/fineweb", recursive=True)
    assert starts(documents) == names("u")
    assert [(reject.origin, reject.position) for reject in rejects] == [("memory://fineweb/data/001.parquet", "file")]


def test_a_data_set_with_a_damaged_shard(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    for name, content in (("0", fineweb(names("x"))), ("1", fineweb(names("y"))[:-300]), ("2", fineweb(names("z")))):
        (folder / f"{name}.parquet").write_bytes(content)
    documents, rejects = collect(
        f"[{{ name: web, kind: records, location: 'hf:{folder}', domain: agent, columns: {{ origin: url }} }}]",
        tmp_path / "out",
    )
    assert starts(documents) == [*names("x"), *names("z")]
    assert [reject.origin for reject in rejects] == ["set/default/train/00001-of-00003"]
