"""The macros of mdoc(7), in which pages say what things are rather than how they look."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hephaestus_dag.sources.manuals.escapes import JOIN

if TYPE_CHECKING:
    from hephaestus_dag.sources.manuals.builder import Builder
    from hephaestus_dag.sources.manuals.roff import Page

_PLAIN = frozenset("Ar Ad An Cd Cm Dv Em Er Ev Fa Fd Fr Ft Ic Li Lb Ms Mt No Nm Pa Sx Sy Tn Va Vt Hf Bf Ef Db".split())  # noqa: SIM905
_AROUND = {
    "Op": "[]", "Oo": "[]", "Aq": "<>", "Ao": "<>", "Bq": "[]", "Bo": "[]", "Brq": "{}", "Bro": "{}", "Pq": "()", "Po": "()",
    "Dq": "“”", "Do": "“”", "Qq": '""', "Qo": '""', "Sq": "‘’", "So": "‘’", "Ql": "''", "En": "", "Eo": "",
}  # fmt: skip
"""Macros around the rest of their line, and those (in o) around lines until the macro in c."""
_CLOSING = {"Oc": "Oo", "Ac": "Ao", "Bc": "Bo", "Brc": "Bro", "Pc": "Po", "Dc": "Do", "Qc": "Qo", "Sc": "So", "Ec": "Eo"}
_SYSTEMS = {
    "Bx": "BSD", "Bsx": "BSD/OS", "Nx": "NetBSD", "Fx": "FreeBSD", "Ox": "OpenBSD", "Dx": "DragonFly", "Ux": "UNIX",
    "At": "AT&T UNIX", "St": "",
}  # fmt: skip
_STANDARDS = {
    "-p1003.1": "POSIX.1",
    "-p1003.2": "POSIX.2",
    "-ansiC": "ANSI C",
    "-isoC": "ISO C",
    "-susv2": "SUSv2",
    "-xpg4": "XPG4",
}
_BLOCKS = frozenset("Dd Dt Os Sh Ss Pp Lp Bl It El Bd Ed D1 Dl Nd Rs Re Bk Ek Fo Fc Sm Xo Xc Ex Rv Ud Bt".split())  # noqa: SIM905
_INLINE = frozenset("Fl Xr Lk In Fn Ns Pf Ap Ta".split()) | _SYSTEMS.keys() | _PLAIN | _AROUND.keys() | _CLOSING.keys()  # noqa: SIM905
_AFTER = frozenset((".", ",", ":", ";", ")", "]", "?", "!"))
_BEFORE = frozenset(("(", "["))


class Mdoc:
    """Runs the macros of one page."""

    def __init__(self) -> None:
        self.name = ""
        self._lists: list[tuple[str, int]] = []
        self._displays: list[bool] = []
        self._section = ""
        self._function: list[str] | None = None
        self._spaced = True
        self._follows = False

    def knows(self, name: str) -> bool:
        """Return whether a name is that of a macro of mdoc."""
        return name in _BLOCKS or name in _INLINE or name.startswith("%")

    def run(self, name: str, given: list[str], page: Page) -> None:
        """Run one macro."""
        out = page.out
        if name in _BLOCKS:
            self._block(name, given, page)
            return
        if name.startswith("%"):
            page.text(" ".join(given) + ",")
            return
        if name == "Nm":
            if given and not self.name:
                self.name = given[0]
            if self._section == "SYNOPSIS":
                out.end()
        elif self._section == "SYNOPSIS" and name in ("Ft", "In", "Fd", "Vt"):
            out.end()
        if self._function is not None and name == "Fa":
            self._function += given
            return
        text = self.inline([name, *given])
        if not self._spaced:  # blanks between words are switched off with .Sm
            text = (JOIN if self._follows else "") + text.replace(" ", "")
            self._follows = True
        page.text(text)

    def inline(self, tokens: list[str]) -> str:
        """Return the text of a line of macros and words."""
        parts: list[str] = []
        closing: list[str] = []
        style, number = "", 0
        while number < len(tokens):
            token = tokens[number]
            number += 1
            if token in _AROUND:
                opened, closed = (_AROUND[token] + "  ")[:2]
                parts += [opened.strip() + JOIN]
                if not token.endswith("o"):
                    closing.append(JOIN + closed.strip())
                style = ""
            elif token in _CLOSING:
                parts.append(JOIN + (_AROUND[_CLOSING[token]] + "  ")[1].strip())
                style = ""
            elif token == "Fl":
                style = "-"
                if number == len(tokens) or tokens[number] in _INLINE or tokens[number] in _AFTER:
                    parts.append("-" + (JOIN if number < len(tokens) and tokens[number] in _PLAIN else ""))
            elif token == "Xr":
                page = tokens[number : number + 2]
                section = page[1] if len(page) > 1 and page[1] not in _AFTER else ""
                parts.append(f"{page[0]}({section})" if section else "".join(page[:1]))
                number, style = number + 1 + bool(section), ""
            elif token == "Fn":
                name, arguments = tokens[number : number + 1], []
                number += 1
                while number < len(tokens) and tokens[number] not in _AFTER and tokens[number] not in _INLINE:
                    arguments.append(tokens[number])
                    number += 1
                parts.append(f"{''.join(name)}({', '.join(arguments)})")
            elif token == "In":
                style = "<"
            elif token in ("Ns", "Ap"):
                parts.append(JOIN + ("'" + JOIN if token == "Ap" else ""))
                style = ""
            elif token == "Pf":
                parts.append("".join(tokens[number : number + 1]) + JOIN)
                number, style = number + 1, ""
            elif token == "Ta":
                parts.append("|")
            elif token in _SYSTEMS:
                version = [word for word in tokens[number : number + 1] if word not in _AFTER and word not in _INLINE]
                known = _STANDARDS.get(version[0], version[0].lstrip("-")) if version else ""
                parts.append(f"{_SYSTEMS[token]} {known}".strip())
                number += len(version)
            elif token == "Lk":
                link, words = "".join(tokens[number : number + 1]), " ".join(tokens[number + 1 :])
                parts.append(f"{words} <{link}>" if words.strip(".,;:) ") else link + words)
                number = len(tokens)
            elif token in _PLAIN:
                style = ""
                following = tokens[number] if number < len(tokens) else ""
                if token == "Ar" and (not following or following in _AFTER or following in ("Ns", "Oc", "|")):
                    parts.append("file ...")
                elif token == "Nm" and (not following or following in _AFTER or following in _INLINE):
                    parts.append(self.name)
            elif token in _AFTER:
                rest = "".join(closing) if number == len(tokens) or all(t in _AFTER for t in tokens[number:]) else ""
                closing = [] if rest else closing
                parts.append(rest + JOIN + token)
            elif token in _BEFORE:
                parts.append(token + JOIN)
            elif style == "<":
                parts.append(f"#include <{token.strip('<>')}>")
            else:
                parts.append(style + token if token != "|" else token)
        return " ".join([*parts, *reversed(closing)])

    def _block(self, name: str, given: list[str], page: Page) -> None:
        out = page.out
        if name == "Dt":
            page.header = [*given[:2], *([""] * (2 - len(given[:2]))), " ".join(given[2:])]
        elif name in ("Sh", "Ss"):
            self._lists, self._displays = [], []
            title = self.inline(given)
            self._section = title.strip().upper() if name == "Sh" else self._section
            out.heading(title, name == "Sh")
        elif name in ("Pp", "Lp"):
            out.end()
        elif name == "Sm":
            self._spaced = given[:1] != ["off"] if given else not self._spaced
            self._follows = False
        elif name == "Nd":
            page.text("- " + self.inline(given))
        elif name in ("Bl", "It", "El"):
            self._list(name, given, out)
        elif name == "Bd":
            literal = "-literal" in given or "-unfilled" in given
            self._displays.append(literal)
            out.end()
            out.set_literal(literal)
        elif name == "Ed":
            if self._displays and self._displays.pop():
                out.set_literal(False)
            out.end()
        elif name in ("D1", "Dl"):
            was = out.literal
            out.set_literal(True)
            page.text(self.inline(given))
            out.set_literal(was)
        elif name == "Fo":
            self._function = [*given[:1], ""]
        elif name == "Fc" and self._function:
            called, _, *arguments = self._function
            self._function = None
            page.text(f"{called}({', '.join(arguments)})")
        elif name in ("Rs", "Re"):
            out.end()
        elif name in ("Ex", "Rv"):
            asked = "exits 0 on success, and >0 if an error occurs." if name == "Ex" else "returns 0 on success, else -1."
            page.text(f"The {' '.join(given[1:]) or self.name} utility {asked}")
        elif name in ("Xo", "Xc") and given:
            page.text(self.inline(given))

    def _list(self, name: str, given: list[str], out: Builder) -> None:
        if name == "Bl":
            if self._lists:
                out.indent()
            self._lists.append((given[0] if given else "-item", 0))
        elif name == "El":
            out.end()
            if self._lists:
                self._lists.pop()
            if self._lists:
                out.outdent()
            else:
                out.paragraph()
        elif self._lists:
            kind, count = self._lists.pop()
            self._lists.append((kind, count + 1))
            if kind in ("-bullet", "-dash", "-hyphen"):
                out.item("•")
            elif kind == "-enum":
                out.item(f"{count + 1}.")
            elif kind in ("-item", "-column"):
                out.paragraph()
                out.add(self.inline(given))
            else:
                out.item(self.inline(given))
