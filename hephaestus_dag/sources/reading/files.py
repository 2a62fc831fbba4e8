"""Reads one file of a source as text, or says why not."""

from hephaestus_dag.documents import Reject
from hephaestus_dag.sources.config import SourceConfig
from hephaestus_dag.sources.reading.distributions import locate


def read_bytes(config: SourceConfig, item: str) -> bytes:
    """Return the content of the file that an item names."""
    root, file = locate(config, item)
    return (root.folder / file).read_bytes()


def read_text(config: SourceConfig, item: str, largest: int | None = None) -> str | Reject:
    """Return the text of the file that an item names, with ``\\n`` line ends, or the reason why it is set aside.

    Set aside are files that cannot be read, are empty, binary, not UTF-8, or longer than ``largest`` characters (default
    ``config.max_characters``; more where a file becomes several documents).
    """
    largest = largest or config.max_characters
    try:
        content = read_bytes(config, item)
    except OSError as error:
        return reject(config, item, "file", f"unreadable: {error.strerror or type(error).__name__}")
    if len(content) > 4 * largest:  # no UTF-8 character is longer than four bytes
        return reject(config, item, "file", f"too large: {len(content)} bytes, the limit is {largest} characters")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return reject(config, item, f"line {line}", f"not UTF-8: {error.reason} at byte {error.start}")
    if not text.strip():
        return reject(config, item, "file", "empty")
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        return reject(config, item, f"line {line}", "binary: holds the character NUL, which no text does")
    if len(text) > largest:
        return reject(config, item, "file", f"too large: {len(text)} characters, the limit is {largest}")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def reject(config: SourceConfig, origin: str, position: str, reason: str) -> Reject:
    """Set something aside. What of the input cannot be stored as UTF-8, and a reason may quote, is escaped."""
    if not reason.isascii():
        reason = reason.encode(errors="backslashreplace").decode()
    return Reject(source=config.name, origin=origin, position=position, reason=reason)
