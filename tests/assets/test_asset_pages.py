"""What an asset's page tells a newcomer: what it is, what it holds, what it took, and how far it is."""

from pathlib import Path

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.artifact import Lineage
from assets.graph import lineage_of
from assets.page import result
from assets.showing_contents import contents_metadata, sample_rows
from assets.showing_pace import SECONDS_BETWEEN_LINES, Pace
from assets.showing_values import amount, paragraph, shown, table
from hephaestus_dag.artifacts import Built, Identity, Report, Store
from hephaestus_dag.documents import Document, DocumentWriter
from hephaestus_dag.recipe_file import load_recipe


@pytest.fixture(scope="module")
def lineage() -> Lineage:
    return lineage_of(load_recipe("laptop"))


def records(found: dg.TableMetadataValue) -> list[dict[str, object]]:
    return [dict(record.data) for record in found.records if isinstance(record, dg.TableRecord)]


def test_every_description_says_what_the_asset_is_and_is_sound_markdown(lineage: Lineage) -> None:
    for key, asset in lineage.assets.items():
        if asset.page != key:
            continue
        first, *others = asset.description.split("\n\n")
        assert len(first) > 20, f"{key}: {first!r} says too little"
        assert first.endswith("."), f"{key}: {first!r} is no sentence"
        indented = [line for part in others for line in part.splitlines() if line.startswith("    ")]
        assert not indented, f"{key}: Markdown would show {indented} as code"


def test_documents_are_shown_with_columns_rows_and_files(tmp_path: Path) -> None:
    with DocumentWriter(tmp_path, documents_per_shard=40) as writer:
        made = {"domain": "text", "kind": "page", "source": "book", "license": "MIT"}
        writer.write(Document(text=f"page {n} " + "word " * n, origin=str(n), **made) for n in range(100))  # pyright: ignore
    (tmp_path / "about.json").write_text("{}")
    found = contents_metadata(tmp_path)
    columns = {column.name: column for column in found["dagster/column_schema"].columns}
    assert (columns["license"].type, columns["license"].description) == ("string", "SPDX identifier, or unknown")
    rows = records(found["rows of documents/part-00000.parquet"])
    assert len(rows) == 5
    assert next(iter(rows[0])) == "text", "long texts come first"
    assert all(len(str(row["text"])) <= 244 for row in rows)
    assert "provider" not in rows[0], "a column that is empty everywhere is left out"
    assert {row["name"]: row["files"] for row in records(found["files"])} == {
        "about.json": "1",
        "documents/": str(len([*tmp_path.glob("documents/*")])),
        "rejects.parquet": "1",
    }


def test_a_folder_without_a_table_shows_its_files_and_an_empty_table_its_columns(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_bytes(bytes(2_500_000))
    assert list(contents_metadata(tmp_path)) == ["files"]
    pq.write_table(pa.table({"item_id": pa.array([], pa.string())}), tmp_path / "rows.parquet")
    found = contents_metadata(tmp_path)
    assert list(found) == ["files", "dagster/column_schema"]
    assert records(found["files"])[0] == {"name": "model/", "files": "1", "size": "2.5 MB"}


@given(num=st.integers(0, 40), group=st.integers(1, 12))
def test_sample_rows_are_rows_of_the_table_in_order(tmp_path_factory: pytest.TempPathFactory, num: int, group: int) -> None:
    path = tmp_path_factory.mktemp("rows") / "t.parquet"
    pq.write_table(pa.table({"n": pa.array(range(1, num + 1), pa.int64())}), path, row_group_size=group)
    found = [row["n"] for row in sample_rows(path)]
    assert found == sorted(set(found))
    assert len(found) == min(num, 5)
    assert all(1 <= n <= num for n in found)
    assert num < 5 or found[-1] > num * 3 // 4, "the end of the table is seen too"


def test_values_and_tables_read_well() -> None:
    assert [shown(v) for v in (1234567, True, 0.123456, 12345.6, None, 7, "a" * 300)] == [
        *("1,234,567", True, 0.1235, "12,346", "", "7"),
        "a" * 240 + " ...",
    ]
    assert [amount(n) for n in (12, 4_200, 7_600_000, 3_200_000_000)] == ["12 B", "4.2 kB", "7.6 MB", "3.2 GB"]
    wide = {f"measure_{n}": 0.5 for n in range(8)}
    turned = records(table([{"part": "all", **wide}, {"part": "web", **wide}]))
    assert turned[0] == {"part": "measure 0", "all": 0.5, "web": 0.5}
    assert len(turned) == 8
    assert all(len(line) <= 74 for line in paragraph("so many words " * 30).splitlines())


def test_the_page_has_the_headline_first_and_numbers_for_plots_once(tmp_path: Path, lineage: Lineage) -> None:
    identity = Identity(key="text_documents", code="1")
    report = Report(
        headline="12,345 pages", figures={"kept_share": 0.5, "pages": 12345, "note": "x"}, tables={"kept share": []}
    )
    built = Store(tmp_path).build(identity, lambda workspace: ((workspace.folder / "a").write_text("a"), report)[1])
    page = result(lineage, "text_documents", Built(artifact=built.artifact, reused=True, reasons=[])).metadata or {}
    assert {"figure": "pages", "value": "12,345"} in records(page["at a glance"])  # pyright: ignore[reportArgumentType]
    assert (page["pages"], page["seconds to build"]) == (12345, built.artifact.seconds)
    assert page["kept share"] == "empty", "a number never takes the place of a table of the same name"
    assert (page["reused"], page["size"]) == (True, "1 B")
    assert "note" not in page


def test_progress_tells_share_speed_and_time_left() -> None:
    now = [100.0]
    pace = Pace(clock=lambda: now[0])
    said = []
    for done in range(0, 5001, 100):  # 100 a second
        said.append(pace.line(done, 5000))
        now[0] += 1.0
    lines = [line for line in said if line]
    assert lines[0] == "1,500 of 5,000 (30 %), 100/s, about 35 s left"
    assert len(lines) == 50 // SECONDS_BETWEEN_LINES
    assert pace.line(1, 300) is None, "another total is another part, whose speed is not known yet"
    now[0] += 120.0
    assert pace.line(5, 300) == "5 of 300 (2 %), 2.0 a minute, about 2 h 27 min left"


def test_what_an_earlier_attempt_did_does_not_count_as_speed() -> None:
    now = [0.0]
    pace = Pace(clock=lambda: now[0])
    pace.line(4_000, 5_000)
    now[0] += 20.0
    assert pace.line(4_100, 5_000) == "4,100 of 5,000 (82 %), 5.0/s, about 3 min 00 s left"
    now[0] += 20.0
    assert pace.line(4_100, 0) is None
