"""Escape sequences of roff and the characters that they name (groff_char(7))."""

import re
import unicodedata
from collections.abc import Mapping

JOIN = "\x00"
"""Takes away the blank beside it: what follows belongs to the same word."""

_NAMED = {
    "em": "—", "en": "–", "hy": "-", "-": "-", "lq": "“", "rq": "”", "oq": "‘", "cq": "’", "aq": "'", "dq": '"', "Bq": "„",
    "bq": "‚", "Fo": "«", "Fc": "»", "fo": "‹", "fc": "›", "bu": "•", "sq": "□", "ci": "○", "lz": "◊", "co": "©", "rg": "®",
    "tm": "™", "de": "°", "mc": "µ", "mu": "×", "di": "÷", "pl": "+", "mi": "−", "eq": "=", "+-": "±", "<=": "≤", ">=": "≥",
    "!=": "≠", "==": "≡", "~=": "≅", "=~": "≅", "ap": "~", "~~": "≈", "->": "→", "<-": "←", "<>": "↔", "ua": "↑", "da": "↓",
    "rA": "⇒", "lA": "⇐", "hA": "⇔", "if": "∞", "sr": "√", "sd": "″", "fm": "′", "dd": "‡", "dg": "†", "sc": "§", "ps": "¶",
    "ct": "¢", "Po": "£", "Ye": "¥", "Eu": "€", "eu": "€", "Do": "$", "sh": "#", "at": "@", "rs": "\\", "sl": "/", "ba": "|",
    "br": "|", "or": "|", "bb": "¦", "ul": "_", "ru": "_", "rn": "‾", "ti": "~", "ha": "^", "ga": "`", "aa": "´", "a^": "^",
    "a~": "~", "ad": "¨", "lB": "[", "rB": "]", "lC": "{", "rC": "}", "la": "<", "ra": ">", "lh": "☜", "rh": "☞", "12": "½",
    "14": "¼", "34": "¾", "S1": "¹", "S2": "²", "S3": "³", "no": "¬", "mo": "∈", "es": "∅", "fa": "∀", "te": "∃", "AN": "∧",
    "OR": "∨", "is": "∫", "pd": "∂", "gr": "∇", "ss": "ß", "ae": "æ", "AE": "Æ", "oe": "œ", "OE": "Œ", "/o": "ø", "/O": "Ø",
    "/l": "ł", "/L": "Ł", "-D": "Ð", "Sd": "ð", "TP": "Þ", "Tp": "þ", "r!": "¡", "r?": "¿", "OK": "✓", "CR": "↵", "fi": "fi",
    "fl": "fl", "ff": "ff", "*a": "α", "*b": "β", "*g": "γ", "*d": "δ", "*e": "ε", "*h": "θ", "*l": "λ", "*m": "μ", "*p": "π",
    "*s": "σ", "*w": "ω", "*D": "Δ", "*S": "Σ", "*W": "Ω", "u": "µ",
}  # fmt: skip
_ACCENTS = {
    "'": "\u0301",
    "`": "\u0300",
    "^": "\u0302",
    ":": "\u0308",
    "~": "\u0303",
    ",": "\u0327",
    "o": "\u030a",
    "v": "\u030c",
}
_SINGLE = {
    " ": "\u00a0", "~": "\u00a0", "0": "\u00a0", "-": "-", "e": "\\", "\\": "\\", "'": "'", "`": "`", "t": "\t", "a": " ",
    "c": JOIN, ".": ".", '"': "",
}  # fmt: skip
_NAME = r"(?:\[(?P<{0}l>[^\]]*)\]|\((?P<{0}2>..)|(?P<{0}1>.))"
_ESCAPE = re.compile(
    r"\\(?:"
    r"[fFmMgkY](?:\[[^\]]*\]|\(..|.)"
    r"|s(?:[+-]?(?:\[[^\]]*\]|\(..|[1-3]\d|\d)|\[[^\]]*\]|'[^']*')"
    rf"|\*{_NAME.format('s')}"
    rf"|n[+-]?{_NAME.format('n')}"
    r"|(?P<made>[hvwlLDoxXbNZABCR])(?P<delimiter>[^\w\s])(?P<inside>.*?)(?P=delimiter)"
    r"|\[(?P<long>[^\]]*)\]|\((?P<two>..)"
    r"|(?P<one>.)|$)"
)


def plain(text: str, strings: Mapping[str, str] | None = None, depth: int = 5) -> str:
    """Return a line without escapes: fonts and motions fall away, names of characters become the characters.

    ``strings`` are those that the page has defined with ``.ds``.
    """
    if "\\" not in text:
        return text

    def replaced(match: re.Match[str]) -> str:
        if (one := match["one"]) is not None:
            return _SINGLE.get(one, one if not one.isalnum() and one not in "&%:/,|^){}?!" else "")
        named = match["long"] or match["two"]
        if named:
            return character(named)
        string = match["sl"] or match["s2"] or match["s1"]
        if string:
            return (
                plain(strings[string], strings, depth - 1)
                if strings and depth and string in strings
                else _PREDEFINED.get(string, "")
            )
        register = match["nl"] or match["n2"] or match["n1"]
        if register:
            return "1" if register == ".g" else "0"
        return _made(match["made"], match["inside"]) if match["made"] else ""

    return _ESCAPE.sub(replaced, text)


_PREDEFINED = {
    "lq": "“",
    "rq": "”",
    "R": "®",
    "Tm": "™",
    "Aq": "'",
    "C`": "",
    "C'": "",
    'L"': '"',
    'R"': '"',
    "Gt": ">",
    "Lt": "<",
    "Le": "≤",
    "Ge": "≥",
    "Ba": "|",
    "Am": "&",
}


def character(name: str) -> str:
    """Return the character of a name; an accent before a letter, ``u`` and digits, or empty when it is not known."""
    if name in _NAMED:
        return _NAMED[name]
    if re.fullmatch(r"u[0-9A-F]{4,6}(?:_[0-9A-F]{4,6})*", name):
        codes = [int(code, 16) for code in name[1:].split("_")]
        return "".join(chr(code) for code in codes if code < 0x110000 and not 0xD800 <= code < 0xE000)
    if re.fullmatch(r"char\d{1,3}", name):
        return chr(int(name[4:]))
    if len(name) == 2 and name[0] in _ACCENTS and name[1].isalpha():
        return unicodedata.normalize("NFC", name[1] + _ACCENTS[name[0]])
    return name if len(name) == 1 else ""


def _made(kind: str, inside: str) -> str:
    if kind == "h":  # a motion to the right stands for blanks
        return "\u00a0" if re.match(r"\+?0*[1-9]", inside) else ""
    if kind == "N":
        return chr(int(inside)) if inside.isdecimal() and int(inside) < 0xD800 else ""
    if kind == "C":
        return character(inside)
    if kind == "o":  # characters on top of each other
        return inside[:1]
    return "0" if kind in "wB" else ""
