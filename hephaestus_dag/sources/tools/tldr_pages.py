"""Short pages on commands in the form of tldr-pages: one document per page, in one of four ways of writing.

Read are Markdown files (``pages/common/tar.md``) and JSON Lines with the Markdown in ``text`` or ``content`` and the page's
place in ``name``. Other languages lie in folders of their own: leave them out with ``exclude: ["*pages.*/*"]``.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b

from hephaestus_dag.documents import Document, Reject
from hephaestus_dag.sources.config import SourceConfig
from hephaestus_dag.sources.reading.distributions import list_files, locate
from hephaestus_dag.sources.reading.files import read_text, reject
from hephaestus_dag.sources.reading.record_files import read_records

FORMATS = ("page", "table", "prose", "session")

_EXAMPLE = re.compile(r"^- (?P<task>.+?):?\n+`(?P<command>.+)`$", re.MULTILINE)
_ALTERNATIVES = re.compile(r"\{\{\[([^\]|{}]+)\|([^\]|{}]+)\]\}\}")
_MNEMONIC = re.compile(r"\[([A-Za-z0-9-])\](?=[A-Za-z])|(?<=[A-Za-z])\[([A-Za-z0-9]+)\]")


@dataclass(frozen=True, slots=True)
class Page:
    """One page."""

    title: str
    description: str
    """Plain text, a line per sentence or note, without the link."""
    link: str
    examples: tuple[tuple[str, str], ...]
    """Task and command, as written."""


def list_items(config: SourceConfig) -> list[str]:
    """Return one item per file."""
    return list_files(config, (".md", ".jsonl"))


def read_item(config: SourceConfig, item: str) -> Iterator[Document | Reject]:
    """Yield the pages of a file, each in a way of writing that is drawn."""
    license = locate(config, item)[0].license
    for found in _texts(config, item):
        if isinstance(found, Reject):
            yield found
            continue
        origin, position, text = found
        page = parse_page(text)
        if isinstance(page, str):
            yield reject(config, origin, position, page)
            continue
        form = FORMATS[blake2b(f"{config.seed}:{origin}".encode(errors="replace"), digest_size=4).digest()[0] % len(FORMATS)]
        yield Document(
            text=text.strip() if form == "page" else render_page(page, form),
            domain=config.domain,
            kind="command_reference",
            source=config.name,
            origin=origin,
            license=license,
            provider=re.split(r"[ -]", page.title)[0] or page.title,
            api=page.title,
            format=form,
        )


def _texts(config: SourceConfig, item: str) -> Iterator[tuple[str, str, str] | Reject]:
    """Yield origin, position and text of the pages of a file."""
    if item.lower().endswith(".md"):
        text = read_text(config, item)
        yield text if isinstance(text, Reject) else (item, "file", text)
        return
    for found in read_records(config, item):
        if isinstance(found, Reject):
            yield found
            continue
        text = found.value.get("text") or found.value.get("content")
        if not isinstance(text, str):
            yield reject(config, item, found.position, "not a page: no text or content")
            continue
        name = found.value.get("name")
        yield f"{item}/{name if isinstance(name, str) and name else found.position}", found.position, text


def parse_page(text: str) -> Page | str:
    """Return a page, or the reason why a text is none."""
    title = re.match(r"\s*# (.+)", text)
    if not title:
        return "not a page: no title"
    quoted = [line.strip("> ").strip() for line in text.split("\n") if line.startswith(">")]
    link = next((found[1] for line in quoted if (found := re.search(r"<(https?://[^>]+)>", line))), "")
    description = "\n".join(line for line in quoted if line and not (link and link in line))
    examples = tuple((found["task"].strip(), found["command"].strip()) for found in _EXAMPLE.finditer(text))
    if not examples:
        return "not a page: no example, which is a line `- task:` and a command in backticks"
    if not description:
        return "no description"
    return Page(title[1].strip(), description, link, examples)


def render_page(page: Page, form: str) -> str:
    """Return a page as a ``table`` of tasks and commands, as ``prose``, or as a shell ``session`` with comments."""
    tasks = [(_plain(task), _typed(command)) for task, command in page.examples]
    if form == "table":
        rows = "\n".join(f"{task}: {command}" for task, command in tasks)
        return f"{page.title}: {page.description}\n\n{rows}" + (f"\n\nSee {page.link}" if page.link else "")
    if form == "session":
        head = "\n".join(f"# {line}" for line in (f"{page.title}: {page.description}").split("\n"))
        return head + "".join(f"\n\n# {task}\n$ {command}" for task, command in tasks)
    sentences = [f"To {_lower(task)}, run `{command}`." for task, command in tasks]
    opening = f"`{page.title}`: {' '.join(page.description.split())}"
    return "\n\n".join([opening, "\n".join(sentences)] + ([f"See {page.link} for more."] if page.link else []))


def _plain(task: str) -> str:
    """Return a task without the brackets that mark letters of options: ``[c]reate`` gives ``create``."""
    return _MNEMONIC.sub(lambda match: match[1] or match[2], task)


def _typed(command: str) -> str:
    """Return a command with the long one of two options, and ``<...>`` for what the user fills in."""
    command = _ALTERNATIVES.sub(lambda match: max(match[1], match[2], key=len), command)
    return re.sub(r"\{\{(.*?)\}\}", r"<\1>", command)


def _lower(task: str) -> str:
    first, blank, rest = task.partition(" ")
    return (first if first[1:] != first[1:].lower() else first.lower()) + blank + rest
