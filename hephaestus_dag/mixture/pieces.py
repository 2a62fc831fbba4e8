"""Byte-level BPE by a table of pieces: the same ids as `tokenizers` gives, several times as fast.

A byte-level BPE cuts a text into pieces by a regular expression and encodes each piece alone. Python's `re` cuts as well as
the engine of `tokenizers`, and a dictionary remembers what a piece became; only a piece that is new goes through
`tokenizers`. What ``\\p{L}``, ``\\s`` or a digit is, its own engine is asked, character by character, so that another version
of Unicode cannot move a border. A pipeline that is not of this kind has no patterns here.
"""

import json
import re
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers

GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""What ``ByteLevel(use_regex=True)`` cuts by."""
PLANE = 0x10000
MAX_PIECES, MAX_PIECE_LENGTH = 500_000, 64
"""Pieces that are remembered, about 200 bytes each, and their length at most."""

_SYNTAX = re.compile(
    r"""\(\?i:(?P<folded>['|a-z]+)\)
    | (?P<class>\[(?P<negated>\^?)(?P<members>(?:\\p\{\w+\}|\\[srn]|[^][\\^&-])+)\])
    | (?P<atom>\\p\{\w+\}|\\[srnS])
    | (?P<operator>\(\?:|\(\?!|\)|\||[?*+](?![?*+])|\{\d+(?:,\d*)?\}(?![?*+]))
    | (?P<literal>[^][\\(){}|?*+.^$])""",
    re.VERBOSE,
)


class Pieces:
    """Encodes text by pieces; see `piece_patterns`. What spells a special token stays text."""

    def __init__(self, tokenizer: Tokenizer, patterns: tuple[str, str], dtype: np.dtype) -> None:
        self._find = [re.compile(pattern).findall for pattern in patterns]
        self._normalizer = tokenizer.normalizer
        self._look_up = _Table(tokenizer, dtype).__getitem__
        spelt = [token.content for token in tokenizer.get_added_tokens_decoder().values() if not token.special]
        # Those that say so are looked for in normalised text, and normalised themselves.
        self._spelt = {*spelt, *map(self._normalizer.normalize_str, spelt)} if self._normalizer else set(spelt)

    def encode(self, text: str) -> bytes | None:
        """Return the tokens of a text; None when it spells an added token that is not special, or has a rest beside pieces."""
        raw = text
        if self._normalizer is not None and not text.isascii():
            text = self._normalizer.normalize_str(text)
        if any(token in raw or token in text for token in self._spelt):
            return None
        astral = not text.isascii() and len(text.encode("utf-16-le")) > 2 * len(text)
        pieces = self._find[astral](text)
        return b"".join(map(self._look_up, pieces)) if sum(map(len, pieces)) == len(text) else None


class _Table(dict[str, bytes]):
    """Tokens of the pieces seen so far."""

    def __init__(self, tokenizer: Tokenizer, dtype: np.dtype) -> None:
        super().__init__()
        self._tokenize, self._dtype = tokenizer.model.tokenize, dtype
        printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
        others = [byte for byte in range(256) if byte not in printable]
        self._letters = {byte: 256 + place for place, byte in enumerate(others)}

    def __missing__(self, piece: str) -> bytes:
        letters = piece.encode().decode("latin-1").translate(self._letters)
        tokens = np.array([token.id for token in self._tokenize(letters)], self._dtype).tobytes()
        if len(self) >= MAX_PIECES:
            self.clear()
        if len(piece) <= MAX_PIECE_LENGTH:
            self[piece] = tokens
        return tokens


def piece_patterns(tokenizer: Tokenizer) -> tuple[str, str] | None:
    """Return the regular expressions whose matches are the pieces of a text: inside the first 65,536 characters, and of all.

    The first is several times as fast. None when the tokenizer is of another kind: no BPE, a normaliser other than NFC, or
    other steps than digits one by one and one expression before its bytes.
    """
    definition = json.loads(tokenizer.to_str())
    model, normalizer = definition["model"], definition["normalizer"]
    if model["type"] != "BPE" or model.get("dropout") or (normalizer and normalizer["type"] != "NFC"):
        return None
    found = _steps(definition["pre_tokenizer"])
    if found is None:
        return None
    pattern, single_digits = found
    digits = _digits() if single_digits else np.zeros(0x110000, bool)
    patterns = [_translated(pattern, digits, top) for top in (PLANE, 0x110000)]
    short, full = patterns
    return (short, full) if short and full and not re.match(short, "") else None


def _steps(pre_tokenizer: dict[str, Any] | None) -> tuple[str, bool] | None:
    """Return the expression of a pre-tokeniser, and whether it cuts digits one by one before."""
    steps = pre_tokenizer["pretokenizers"] if pre_tokenizer and pre_tokenizer["type"] == "Sequence" else [pre_tokenizer]
    single_digits = steps[0] == {"type": "Digits", "individual_digits": True}
    match steps[single_digits:]:
        case [{"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}]:
            return GPT2_PATTERN, single_digits
        case [
            {"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": invert},
            {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
        ] if (behavior, invert) in {("Isolated", False), ("Removed", True)}:
            return pattern, single_digits
    return None


def _translated(pattern: str, digits: np.ndarray, top: int) -> str | None:
    """Return an expression in the words of `re` for characters below ``top``, with every class written out.

    Where digits are cut before, they come alone, and to the rest they are what the end of the text is: no class has them.
    """

    def one_of(*parts: str) -> str:
        return "".join(_ranges(np.logical_or.reduce([_members(part) for part in parts]) & ~digits, top))

    def any_but(*parts: str) -> str:
        return "^" + _ranges(np.logical_or.reduce([*(_members(part) for part in parts), digits]), top)

    written, place = [f"[{_ranges(digits, top)}]|"] if digits.any() else [], 0
    while place < len(pattern):
        found = _SYNTAX.match(pattern, place)
        if not found:
            return None
        place = found.end()
        match found.lastgroup:
            case "folded":
                letters = [c if c in "'|" else f"[{_ranges(_members(f'(?i:{c})'), top)}]" for c in found["folded"]]
                written.append(f"(?:{''.join(letters)})")
            case "class":
                parts = re.findall(r"\\p\{\w+\}|\\.|.", found["members"], re.DOTALL)
                content = any_but(*parts) if found["negated"] else one_of(*parts)
                written.append(f"[{content}]" if content else "(?!)")
            case "atom" if found[0] == r"\S":
                written.append(f"[{any_but(chr(92) + 's')}]")
            case "atom":
                content = one_of(found[0])
                written.append(f"[{content}]" if content else "(?!)")
            case "literal" if not digits[ord(found[0])]:
                written.append(re.escape(found[0]))
            case "operator":
                written.append(found[0])
            case _:
                return None
    return "".join(written)


def _asked(answer: Callable[[str], str]) -> np.ndarray:
    """Return which code points a function of text keeps, bool of shape [1,114,112]; surrogates are no characters."""
    found = np.zeros(0x110000, bool)
    for first in range(0, 0x110000, 2_048):
        if first != 0xD800:
            kept = answer("".join(map(chr, range(first, first + 2_048))))
            found[np.frombuffer(kept.encode("utf-32-le"), "<u4")] = True
    return found


@cache
def _members(part: str) -> np.ndarray:
    """Return the characters of one part of a class, as the engine of `tokenizers` knows them."""
    if len(part) == 1:
        return np.arange(0x110000) == ord(part)
    others = _asked(normalizers.Replace(Regex(f"{part}+"), "").normalize_str)
    return ~others & (np.arange(0x110000) >> 11 != 0xD800 >> 11)


@cache
def _digits() -> np.ndarray:
    cut = pre_tokenizers.Digits(individual_digits=False).pre_tokenize_str
    # Runs of digits and of other characters take turns, and the first is no digit.
    return _asked(lambda text: "".join(run for run, _ in cut("a" + text)[1::2]))


def _ranges(members: np.ndarray, top: int) -> str:
    """Return the members below ``top`` as they stand inside of a class."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], members[:top], [False]]).astype(np.int8)))
    return "".join(f"\\U{first:08x}-\\U{end - 1:08x}" for first, end in edges.reshape(-1, 2))
