"""The readers of rows, pages and crawls survive damaged files."""

import gzip
from pathlib import Path

import pyarrow as pa
import pytest
from fuzzing import fuzz
from test_pages import CRAWL, PAGE, PROSE, archive, record
from test_record_files import ROWS, lines, parquet, table

WET = [record("conversion", f"https://a.org/{n}", PROSE.encode() * 3, "text/plain") for n in range(3)]
CASES = {
    "json": ("records", "a.json", b'{"version": 1, "data": [' + b",".join(lines(ROWS).splitlines()) + b"]}"),
    "jsonl": ("records", "a.jsonl", lines(ROWS)),
    "jsonl.gz": ("records", "a.jsonl.gz", gzip.compress(lines(ROWS))),
    "jsonl.zst": ("records", "a.jsonl.zst", bytes(pa.compress(lines(ROWS), codec="zstd", asbytes=True))),
    "csv": ("records", "a.csv", table(ROWS, ",")),
    "tsv": ("records", "a.tsv", table(ROWS, "\t")),
    "parquet": ("records", "a.parquet", parquet(ROWS)),
    "html": ("html_pages", "a.html", PAGE.encode()),
    "warc": ("warc", "a.warc", archive(*CRAWL)),
    "warc.gz": ("warc", "a.warc.gz", archive(*CRAWL, packed=True)),
    "wet": ("warc", "a.wet", archive(*WET)),
    "wet.gz": ("warc", "a.wet.gz", archive(*WET, packed=True)),
    "markdown": ("text_files", "a.md", f"# Title\n\n{PROSE * 4}\n\n## More\n\n{PROSE * 3}\n".encode()),
    "code": ("source_code", "a.py", b"# SPDX-License-Identifier: MIT\n" + b"def brew(leaf):\n    return leaf\n" * 9),
}


@pytest.mark.parametrize("case", CASES)
def test_damaged_rows_pages_and_crawls_are_set_aside(case: str, tmp_path: Path) -> None:
    kind, name, content = CASES[case]
    fuzz(kind, tmp_path / "in", name, content, count=300, domain="text")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("case", CASES)
def test_ten_thousand_damaged_rows_pages_and_crawls_are_set_aside(case: str, tmp_path: Path) -> None:
    kind, name, content = CASES[case]
    assert fuzz(kind, tmp_path / "in", name, content, count=10_000, domain="text")
