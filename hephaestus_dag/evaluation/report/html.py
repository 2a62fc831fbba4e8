"""The report as one HTML page that needs no other file."""

import base64
from collections.abc import Mapping
from html import escape
from typing import Any

from hephaestus_dag.evaluation.report.cells import Cell, Table
from hephaestus_dag.evaluation.report.markdown import how_to_read
from hephaestus_dag.evaluation.report.tables import tables

PICTURES_BEFORE = "forgetting"
STYLE = """
:root{--ink:#1b1f24;--soft:#57606a;--line:#d8dee4;--paper:#fff;--shade:#f6f8fa}
*{box-sizing:border-box}html{scroll-behavior:smooth}
body{font:16px/1.5 system-ui,sans-serif;margin:0 auto;max-width:78rem;padding:1.5rem 1.25rem 4rem;color:var(--ink)}
h1{margin:.2rem 0 .8rem}h2{margin:2.6rem 0 .4rem;font-size:1.25rem}
nav{display:flex;flex-wrap:wrap;gap:.3rem .9rem;margin:1rem 0;padding:.7rem .9rem;background:var(--shade);border-radius:.5rem}
a{color:#0969da;text-decoration:none}a:hover{text-decoration:underline}
.notice{background:#fff8c5;border:1px solid #d4a72c;padding:.6rem .9rem;border-radius:.5rem}
.wide{overflow-x:auto;margin:.6rem 0}table{border-collapse:collapse;min-width:40%}
th,td{border-bottom:1px solid var(--line);padding:.4rem .7rem;vertical-align:top;text-align:right;white-space:nowrap}
thead th{border-bottom:2px solid var(--soft);vertical-align:bottom;white-space:normal;max-width:12rem}
th:first-child,td:first-child,td.text,th.text{text-align:left}
td.text,td.muted{white-space:normal;overflow-wrap:anywhere;min-width:8rem;max-width:30rem}
td.muted small{max-width:18rem;margin-left:auto}
tbody tr:hover{background:var(--shade)}td:first-child{font-weight:600}
small{display:block;color:var(--soft);font-size:.82rem;font-weight:400}
.better{color:#116329;font-weight:600}.worse{color:#b42318;font-weight:600}.muted{color:var(--soft)}
summary{cursor:pointer;color:#0969da}.note{color:var(--soft);max-width:65rem;margin:.3rem 0}
figure{margin:1rem 0}figcaption{color:var(--soft)}img{max-width:100%}
"""


def render_html(report: Mapping[str, Any], pictures: Mapping[str, bytes]) -> str:
    """Return the report as a page; ``pictures`` are PNG images by title."""
    shown = tables(report)
    links = "".join(
        f"<a href='#{escape(table.anchor)}'>{escape(_short(table.title))}</a>" for table in shown if not table.folded
    )
    parts = [
        "<!doctype html><html lang=en><head><meta charset=utf-8>",
        "<meta name=viewport content='width=device-width,initial-scale=1'>",
        f"<title>Benchmark report</title><style>{STYLE}</style></head><body>",
        f"<h1>Benchmark report</h1><p class=notice>{escape(report['notice'])}</p><nav>{links}</nav>",
        f"<p class=note>{escape(how_to_read(report))}</p>",
    ]
    if report["notes"]:
        parts.append(f"<ul>{''.join(f'<li>{escape(note)}</li>' for note in report['notes'])}</ul>")
    before = next((at for at, table in enumerate(shown) if table.anchor == PICTURES_BEFORE), len(shown))
    figures = [_figure(title, picture) for title, picture in pictures.items()]
    parts += [*map(_section, shown[:before]), *figures, *map(_section, shown[before:])]
    return "\n".join([*parts, "</body></html>\n"])


def _short(title: str) -> str:
    return title.partition(" (")[0].partition(":")[0]


def _section(table: Table) -> str:
    note = f"<p class=note>{escape(table.note)}</p>" if table.note else ""
    grid = _grid(table) if table.rows else ""
    if grid and table.folded:
        grid = f"<details><summary>show {len(table.rows)} rows</summary>{grid}</details>"
    return f"<section id='{escape(table.anchor)}'><h2>{escape(table.title)}</h2>{note}{grid}</section>"


def _grid(table: Table) -> str:
    in_words = [cell.mark == "text" for cell in table.rows[0]]
    head = "".join(
        f"<th{' class=text' if text else ''}>{escape(title)}</th>" for title, text in zip(table.header, in_words, strict=True)
    )
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in table.rows)
    return f"<div class=wide><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


def _cell(cell: Cell) -> str:
    small = f"<small>{escape(cell.small)}</small>" if cell.small else ""
    return f"<td{f' class={cell.mark}' if cell.mark else ''}>{escape(cell.text)}{small}</td>"


def _figure(title: str, picture: bytes) -> str:
    source = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
    return f"<figure><img alt='{escape(title)}' src='{source}'><figcaption>{escape(title)}</figcaption></figure>"
