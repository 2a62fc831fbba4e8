"""Manual pages of Unix (man(7) and mdoc(7), plain or compressed): one document per page, as Markdown or as a terminal shows it.

A page longer than ``max_characters`` becomes several documents, split where its sections begin. Pages in other languages
than English lie in folders of their own: leave them out with ``exclude: ["*/man?/*"]`` below a folder that holds ``man1``.
"""

import bz2
import gzip
import lzma
import re
import zlib
from collections.abc import Iterator, Sequence
from hashlib import blake2b

from hephaestus_dag.documents import Document, Reject
from hephaestus_dag.sources.config import SourceConfig
from hephaestus_dag.sources.manuals.blocks import FORMATS, Block, Manual, heading, render_blocks
from hephaestus_dag.sources.manuals.roff import Redirect, read_manual
from hephaestus_dag.sources.reading.distributions import locate
from hephaestus_dag.sources.reading.files import read_bytes, reject

_PAGE = re.compile(r".*\.[1-9][a-zA-Z0-9+_-]{0,12}(?:\.(?:gz|bz2|xz))?")
_OPEN = {".gz": gzip.decompress, ".bz2": bz2.decompress, ".xz": lzma.decompress}


def list_items(config: SourceConfig) -> list[str]:
    """Return one item per page: ``man/man1/ls.1.gz``. Links to pages are other names of the same page and left out."""
    return sorted(
        root.item(file)
        for root in config.roots()
        for file in root.files()
        if _PAGE.fullmatch(file.rpartition("/")[2]) and not (root.folder / file).is_symlink()
    )


def read_item(config: SourceConfig, item: str) -> Iterator[Document | Reject]:
    """Yield a page, or the parts of a long one."""
    try:
        content = read_bytes(config, item)
        content = _OPEN.get(item[item.rfind(".") :], bytes)(content)
    except (EOFError, OSError, ValueError, zlib.error, lzma.LZMAError) as error:
        yield reject(config, item, "file", f"unreadable: {error.strerror if isinstance(error, OSError) else error}")
        return
    if len(content) > 20 * config.max_characters:
        yield reject(config, item, "file", f"too large: {len(content)} bytes, max_characters is {config.max_characters}")
        return
    try:
        manual = read_manual(_decoded(content))
    except Redirect as other:
        yield reject(config, item, "file", f"another name: the page is {other}")
        return
    except (LookupError, OverflowError, RecursionError, TypeError, ValueError) as error:
        yield reject(config, item, "file", str(error) if type(error) is ValueError else f"malformed: {type(error).__name__}")
        return
    form = FORMATS[blake2b(f"{config.seed}:{item}".encode(errors="replace"), digest_size=4).digest()[0] % len(FORMATS)]
    license = locate(config, item)[0].license
    for number, blocks in enumerate(_parts(manual.blocks, form, config.max_characters)):
        yield Document(
            text=f"{heading(manual, form)}\n\n{render_blocks(blocks, form)}",
            domain=config.domain,
            kind="manual_page",
            source=config.name,
            origin=f"{item}/part {number + 1}" if number else item,
            license=license,
            provider=_provider(manual),
            api=f"{manual.name}({manual.section})",
            format=form,
        )


def _decoded(content: bytes) -> str:
    try:
        text = content.decode()
    except UnicodeDecodeError:  # what pages were written in before
        text = content.decode("latin-1")
    return text.replace("\r\n", "\n").replace("\x00", "").replace("\x01", "")


def _provider(manual: Manual) -> str:
    """Return the project that a page belongs to, without its version, else the first name in the page's."""
    project = re.sub(r"(?:^|[\s-]+)(?:[Vv]ersion\s*)?[vV]?\d[\w.+~:-]*.*$", "", manual.source).strip(" ,;")
    return (project or re.split(r"[-_.:]", manual.name)[0] or manual.name).lower()


def _parts(blocks: Sequence[Block], form: str, longest: int) -> Iterator[Sequence[Block]]:
    """Yield runs of blocks of at most about ``longest`` characters, each beginning with a heading where that is possible."""
    if sum(len(block.text) + len(block.tag) for block in blocks) * 2 < longest:
        yield blocks
        return
    budget = max(longest - 300, 1)
    part: list[Block] = []
    size = 0
    for run in _runs(blocks, form, budget):
        length = len(render_blocks(run, form)) + 2
        if part and size + length > budget:
            yield part
            part, size = [], 0
        part, size = [*part, *run], size + length
    if part:
        yield part


def _runs(blocks: Sequence[Block], form: str, budget: int) -> Iterator[list[Block]]:
    """Yield sections; one that is too long itself by its blocks."""
    starts = [number for number, block in enumerate(blocks) if block.kind == "section" or number == 0]
    for start, end in zip(starts, [*starts[1:], len(blocks)], strict=True):
        section = list(blocks[start:end])
        if len(render_blocks(section, form)) <= budget:
            yield section
        else:
            yield from ([block] for block in section)
