"""Markdown and the front matter of a card."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

HUB_LICENSES = {
    *("afl-3.0", "agpl-3.0", "apache-2.0", "artistic-2.0", "bsd-2-clause", "bsd-3-clause", "bsl-1.0", "cc-by-2.0", "cc-by-2.5"),
    *("cc-by-3.0", "cc-by-4.0", "cc-by-nc-4.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0", "cc-by-sa-3.0"),
    *("cc-by-sa-4.0", "cc0-1.0", "cdla-permissive-2.0", "ecl-2.0", "epl-2.0", "eupl-1.2", "gfdl", "gpl-2.0", "gpl-3.0", "isc"),
    *("lgpl-2.1", "lgpl-3.0", "mit", "mpl-2.0", "ncsa", "odbl", "pddl", "postgresql", "unlicense", "wtfpl", "zlib"),
}
"""Identifiers of licences that the Hugging Face Hub knows, of those that documents come with."""
SHOWN_ROWS = 25
_LONG = 1_500


def front_matter(fields: Mapping[str, Any]) -> str:
    """Return the YAML block that a card on the Hugging Face Hub begins with; empty fields are left out."""
    given = {name: value for name, value in fields.items() if value not in (None, [], "")}
    return f"---\n{yaml.safe_dump(given, sort_keys=False, allow_unicode=True, width=1_000)}---"


def hub_licenses(expressions: Iterable[str]) -> dict[str, Any]:
    """Return the front matter's licence fields for the licences of some documents."""
    names = sorted({name if name in HUB_LICENSES else "other" for name in map(_hub_name, expressions)})
    if names == ["other"] or not names:
        return {"license": "other", "license_name": "see-licences-below"}
    return {"license": names[0] if len(names) == 1 else names}


def _hub_name(expression: str) -> str:
    return expression.lower().removesuffix("-only").removesuffix("-or-later")


def table(rows: Sequence[Mapping[str, Any]], shown: int = SHOWN_ROWS) -> str:
    """Return rows as a Markdown table with a column for every name, and how many rows are left out."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [names, ["---"] * len(names), *([cell(row.get(name)) for name in names] for row in rows[:shown])]
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return text if len(rows) <= shown else f"{text}\n\nand {len(rows) - shown:,} more"


def cell(value: Any) -> str:
    """Return a value as it stands in a table."""
    if value is None or value == "":
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if 10_000 <= abs(value) < 1e9 else f"{value:.4g}"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return " ".join(text.split()).replace("|", "\\|")


def share(part: float, whole: float) -> str:
    """Return a share in percent, which is only zero when nothing is there."""
    percent = 100 * part / whole if whole else 0.0
    return f"{percent:.1f} %" if percent >= 0.1 or not part else "< 0.1 %"


def values(given: Mapping[str, Any]) -> str:
    """Return recipe values as YAML; a long one only by its length."""
    parts = []
    for name, value in given.items():
        text = yaml.safe_dump({name: value}, sort_keys=False, allow_unicode=True, width=110)
        parts.append(text if len(text) <= _LONG else f"{name}: # {len(text):,} characters, in manifest.json\n")
    return f"```yaml\n{''.join(parts)}```"


def document(*parts: str) -> str:
    """Return the parts that are not empty, a blank line between."""
    return "\n\n".join(part for part in parts if part) + "\n"
