"""Reads manual pages: the requests of roff that pages use, and the macros of man(7); those of mdoc(7) lie beside this file.

A page is turned into blocks without typesetting it, so neither groff nor mandoc is needed. What only moves ink falls away.
"""

import re
from collections.abc import Callable, Iterator

from hephaestus_dag.sources.manuals.blocks import Manual
from hephaestus_dag.sources.manuals.builder import Builder
from hephaestus_dag.sources.manuals.escapes import plain
from hephaestus_dag.sources.manuals.mdoc import Mdoc

_CONTROL = re.compile(r"[.'][ \t]*(?P<name>\\[{}]|[^\s\\\"]+)?[ \t]*(?P<rest>.*)", re.DOTALL)
_COMMENT = re.compile(r"(?<!\\)((?:\\\\)*)\\[\"#].*")
_FONTS = {"B": " ", "I": " ", "SM": " ", "SB": " ", "R": " ", **dict.fromkeys(("BR", "BI", "IR", "IB", "RB", "RI"), "")}
_MOST_LINES = 200_000
_LONGEST_MACRO_CHAIN = 20


class Redirect(Exception):
    """A page that only says where the real one lies."""


def read_manual(text: str) -> Manual:
    """Return a manual page.

    Raises Redirect for one that is another page's alias, ValueError for what is no manual page.
    """
    page = Page(text.split("\n"), Mdoc() if re.search(r"^\.[ \t]*(?:Dt|Sh) ", text, re.MULTILINE) else None)
    page.read()
    return page.manual()


def arguments(rest: str) -> list[str]:
    """Return the arguments of a macro: words, or what double quotes hold."""
    found = re.findall(r'"((?:[^"]|"")*)(?:"|$)|((?:\\.|\S)+)', rest)
    return [word or quoted.replace('""', '"') for quoted, word in found]


class Page:
    """Reads the lines of one page."""

    def __init__(self, lines: list[str], mdoc: Mdoc | None) -> None:
        self.out = Builder()
        self.mdoc = mdoc
        self.header: list[str] = []
        self._strings: dict[str, str] = {}
        self._macros: dict[str, list[str]] = {}
        self._waiting: list[Iterator[str]] = [iter(lines)]
        self._left = _MOST_LINES
        self._otherwise: list[bool] = []
        self._takes_tag: Callable[[str], None] | None = None
        self._link = ""
        self._session = False
        self._indents: list[bool] = []

    def read(self) -> None:
        """Read all lines."""
        while (line := self._next()) is not None:
            self.line(line)
        self.out.set_literal(False)
        self.out.end()

    def manual(self) -> Manual:
        """Return what was read."""
        header = [plain(part, self._strings).strip() for part in self.header] + [""] * 5
        if not header[0] or not any(block.kind == "section" for block in self.out.blocks):
            raise ValueError("not a manual page: no title (.TH or .Dt) or no section")
        source, title = ("", header[2]) if self.mdoc else (header[3], header[4])
        named = re.match(r"[^\s,]+", next((block.text for block in self.out.blocks if block.kind == "text"), ""))
        # titles are often in capitals where the name is not
        name = named[0] if named and named[0].lower() == header[0].lower() else header[0]
        return Manual(name, header[1], source, title, tuple(self.out.blocks))

    def line(self, line: str) -> None:
        """Take in one line."""
        if line[:1] in (".", "'") and (match := _CONTROL.fullmatch(line)):
            if name := match["name"]:
                self._control(name, match["rest"])
            return
        self.text(plain(line.replace("\\}", ""), self._strings))

    def _next(self) -> str | None:
        """Return the next line, joined with those that it goes on in, without comments; None at the end."""
        whole = ""
        while self._waiting and self._left > 0:
            line = next(self._waiting[-1], None)
            if line is None:
                self._waiting.pop()
                if whole:
                    break
                continue
            self._left -= 1
            if "\\" in line:
                line = _COMMENT.sub(r"\1", line)
                if re.search(r"(?<!\\)(?:\\\\)*\\$", line):
                    whole += line[:-1]
                    continue
            return whole + line
        return whole or None

    def text(self, text: str) -> None:
        """Take in text that is free of escapes."""
        if self._takes_tag and text.strip():
            take, self._takes_tag = self._takes_tag, None
            take(text)
            return
        if not self.out.literal:
            if not text.strip():
                self.out.end()
                return
            if text[:1] == " ":
                self.out.break_line()
                text = text.replace(" ", "\u00a0", len(text) - len(text.lstrip(" ")))
            elif text.startswith("$ "):  # a session in a shell, which some generators take for prose
                self._session = True
                self.out.set_literal(True)
        self.out.add(text)

    def _control(self, name: str, rest: str) -> None:
        if name in self._macros and name not in _MAN and not (self.mdoc and self.mdoc.knows(name)):
            self._expand(name, rest)
        elif name in ("if", "ie"):
            holds, body = self._condition(rest)
            if name == "ie":
                self._otherwise.append(not holds)
            self._branch(holds, body)
        elif name == "el":
            self._branch(self._otherwise.pop() if self._otherwise else False, rest)
        elif name in ("de", "de1", "am", "ig", "dei"):
            self._define(name, rest)
        elif name in ("ds", "as", "ds1"):
            key, _, value = rest.partition(" ")
            value = value.lstrip(" ").removeprefix('"')
            self._strings[key] = (self._strings.get(key, "") if name == "as" else "") + value[:2_000]
        elif name == "so" and not self.out.blocks and not self.header:
            raise Redirect(rest.strip())
        elif name == "TS":
            self._table()
        elif name == "EQ":
            while (line := self._next()) is not None and not line.startswith(".EN"):
                pass
        elif self.mdoc and self.mdoc.knows(name):
            self.mdoc.run(name, [plain(argument, self._strings) for argument in arguments(rest)], self)
        else:
            self._man(name, rest)

    def _man(self, name: str, rest: str) -> None:
        out = self.out
        if name in _IGNORED:
            return
        if self._session and name not in _FONTS:
            self._session = False
            out.set_literal(False)
        given = [plain(argument, self._strings) for argument in arguments(rest)]
        if name == "TH":
            self.header = self.header or arguments(rest)
        elif name in ("SH", "SS"):
            self._indents = []
            if given:
                out.heading(" ".join(given), name == "SH")
            else:
                self._takes_tag = lambda text: out.heading(text, name == "SH")
        elif name in ("PP", "P", "LP", "HP"):
            out.paragraph()
        elif name == "TP":
            out.end()
            self._takes_tag = out.item
        elif name == "TQ":
            self._takes_tag = out.alias
        elif name == "IP":
            out.item(given[0] if given else "")
        elif name in ("RS", "INDENT"):
            # docutils indents by 0 where nothing is to be seen
            self._indents.append(not (name == "INDENT" and rest.strip() in ("0", "0.0")))
            if self._indents[-1]:
                out.indent()
        elif name in ("RE", "UNINDENT"):
            if not self._indents or self._indents.pop():
                out.outdent()
        elif name in ("nf", "EX", "Vb", "DS", "CS"):
            out.set_literal(True)
        elif name in ("fi", "EE", "Ve", "DE", "CE"):
            out.set_literal(False)
        elif name == "br":
            out.break_line()
        elif name in ("sp", "Sp"):
            self.text("")
        elif name in _FONTS:
            if given:
                self.text(_FONTS[name].join(given))
        else:
            self._man_extension(name, given)

    def _man_extension(self, name: str, given: list[str]) -> None:
        first, second, third = (*given, "", "", "")[:3]
        if name in ("UR", "MT"):
            self._link = first
        elif name in ("UE", "ME"):
            self.text(f"<{self._link}>{first}" if self._link else first)
            self._link = ""
        elif name in ("URL", "MTO"):
            # a blank even where the line before ends in \c
            self.text(f"\u00a0{second} <{first}>{third}" if second else f"\u00a0<{first}>{third}")
        elif name == "MR":
            self.text(f"{first}({second}){third}" if second else first)
        elif name == "SY":
            self.out.end()
            self.text(first)
        elif name == "YS":
            self.out.end()
        elif name == "OP":
            self.text(f"[{' '.join(given)}]")

    def _condition(self, rest: str) -> tuple[bool, str]:
        """Return whether a condition holds, as on a terminal, and what it guards."""
        rest = rest.lstrip()
        negated, rest = rest.startswith("!"), rest.lstrip("! ")
        if match := re.match(r"([ntoev])(?![\w.])\s*", rest):
            holds = match[1] in "noe"
        elif match := re.match(r"([drcmFS])\s+(\S+)\s*", rest):
            holds = match[1] == "c" or (match[1] == "d" and match[2] in self._strings.keys() | self._macros.keys() | _MAN)
        elif match := re.match(r"(['\"\u0007])(.*?)\1(.*?)\1\s*", rest):
            holds = plain(match[2], self._strings) == plain(match[3], self._strings)
        else:
            match = re.match(r"((?:\\[n*][+-]?(?:\(..|\[[^\]]*\]|.)|[^\s\\])*)\s*", rest)
            holds = _number_holds(plain(match[1], self._strings)) if match else False
        return holds != negated, rest[match.end() :] if match else ""

    def _branch(self, holds: bool, body: str) -> None:
        block = body.lstrip().startswith("\\{")
        if holds:
            body = body.lstrip().removeprefix("\\{").lstrip() if block else body
            if body:
                self.line(body)
            return
        depth = body.count("\\{") - body.count("\\}")
        while block and depth > 0 and (line := self._next()) is not None:
            depth += line.count("\\{") - line.count("\\}")

    def _define(self, request: str, rest: str) -> None:
        name, _, end = rest.strip().partition(" ")
        closing = f".{name if request == 'ig' and name else end.strip() or '.'}"
        body: list[str] = []
        while (line := self._next()) is not None and re.sub(r"^[.'][ \t]*", ".", line).rstrip() != closing:
            body.append(line)
        if request != "ig" and name:
            self._macros[name] = (self._macros.get(name, []) if request == "am" else []) + body

    def _expand(self, name: str, rest: str) -> None:
        if len(self._waiting) > _LONGEST_MACRO_CHAIN:
            return
        given = arguments(rest)

        def filled(line: str) -> str:
            line = re.sub(r"\\\\?\$[*@]", lambda _: " ".join(given), line)
            line = re.sub(r"\\\\?\$(\d)", lambda m: given[int(m[1]) - 1] if 0 < int(m[1]) <= len(given) else "", line)
            return line.replace("\\\\", "\\")

        self._waiting.append(iter([filled(line) for line in self._macros[name]]))

    def _table(self) -> None:
        """Take in a table (tbl(1)) as lines with a bar between the cells."""
        self.out.end()
        separator, in_format = "\t", True
        rows: list[str] = []
        long: str | None = None  # a row whose cell goes on over lines, between T{ and T}
        while (line := self._next()) is not None and not line.startswith(".TE"):
            if in_format:
                if match := re.search(r"tab\s*\((.)\)", line):
                    separator = match[1]
                in_format = not line.rstrip().endswith(".")
            elif line.startswith(".T&"):
                in_format = True
            elif line[:1] in (".", "'"):
                match = _CONTROL.fullmatch(line)
                if long is not None and match and match["name"] in _FONTS:
                    long += " " + _FONTS[match["name"]].join(arguments(match["rest"]))
            else:
                whole = line if long is None else long + (line[2:] if line.startswith("T}") else f" {line}")
                is_open = line.endswith("T{") or (long is not None and not line.startswith("T}"))
                long = whole.removesuffix("T{") if is_open else None
                if not is_open and whole.strip("_= \t"):
                    rows.append(whole)
        for row in rows:
            cells = [" ".join(plain(part, self._strings).split()) for part in row.split(separator)]
            self.out.add(" | ".join(part for part in cells if part not in ("", "_", "=", "\\^")))
            self.out.break_line()
        self.out.end()


def _number_holds(expression: str) -> bool:
    """Return whether a numeric condition is above zero; of combined ones, conservatively, none is."""
    if match := re.fullmatch(r"\(*(-?\d+)\)*(?:([<>]=?|==?)\(*(-?\d+)\)*)?", expression):
        left, compared, right = int(match[1][:9]), match[2], int((match[3] or "0")[:9])
        order = {"<": left < right, ">": left > right, "<=": left <= right, ">=": left >= right}
        return order.get(compared, left == right) if compared else left > 0
    return False


_IGNORED = frozenset(
    """
    ad af als bd bp ce cf ch cs cu da di do ec em eo ev fam fc fl fp ft hc hl hw hy in IX it ix lc lf lg ll ls lt mk na ne
    nh nm nn nop nr ns nx os pc pi pl pm pn po ps rd rm rn rr rs rt sv ss ta tc ti tl tm tr uf ul vs warn PD AT UC DT BS BE
    VS VE AS AP EN PS PE TE \\{ \\}
    """.split()  # noqa: SIM905
)
_MAN = frozenset(
    """
    TH SH SS PP P LP HP TP TQ IP RS RE INDENT UNINDENT nf fi EX EE Vb Ve br sp Sp UR UE MT ME URL MTO MR SY YS OP IX
    """.split()  # noqa: SIM905
) | frozenset(_FONTS)
