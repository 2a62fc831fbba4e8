"""Licences: what free words, addresses and file headers mean in SPDX, and whether an expression is among those allowed."""

import re
from collections.abc import Collection
from functools import cache
from typing import Any

UNKNOWN = "unknown"

_HEADER = re.compile(r"SPDX-License-Identifier:[ \t]*([\w.+() -]+)")
_HEADER_WITHIN = 4_000
"""Characters at the beginning of a file in which its header stands."""

# Whole names in lower case, without punctuation and without "the", "license", "version" and "software".
_NAMES = (
    (r"(apache( foundation)?|asl)( 2( 0)?)?", "Apache-2.0"),
    (r"mit( mit| expat)?|expat", "MIT"),
    (r"(bsd 2|2) clause( simplified| bsd)?|bsd 2|simplified bsd|freebsd", "BSD-2-Clause"),
    (r"(bsd 3|3) clause( new or revised| new| revised| bsd)?|bsd 3|(new|modified|revised) bsd|bsd", "BSD-3-Clause"),
    (r"isc( iscl)?", "ISC"),
    (r"(mozilla public|mpl)( 2( 0)?)?( mpl 2 0)?", "MPL-2.0"),
    (r"(eclipse public|epl) 2( 0)?( epl 2 0)?", "EPL-2.0"),
    (r"(creative commons zero|(creative commons )?cc 0|cc zero)( 1 0)?( universal)?( public domain dedication)?", "CC0-1.0"),
    (r"python foundation|psf( 2( 0)?)?", "PSF-2.0"),
    (r"unlicense", "Unlicense"),
    (r"boost( 1( 0)?)?", "BSL-1.0"),
    (r"(open government|ogl)( uk)? 3( 0)?( united kingdom)?", "OGL-UK-3.0"),
    (r"(open database|odbl)( 1 0)?( odbl)?", "ODbL-1.0"),
    (r"(u s )?public domain", "LicenseRef-Public-Domain"),
)
_GNU = re.compile(
    r"(?:gnu )?(affero |lesser |library |[al])?(?:general public|gpl)(?: [al]?gpl)?(?: ([23])(?: ([01]))?)?( only| or later)?"
    r"(?: [al]?gpl.*)?"
)
_CREATIVE_COMMONS = re.compile(
    r"(?:(?:creative commons|cc) )*(?:public )?(?:by|attribution)((?: (?:nc|sa|nd|non ?commercial|share ?alike|no ?deriv\w*))*)"
    r"(?: (?:international|unported|generic))* (\d) (\d)(?: .*)?"
)
_ELEMENTS = (("NC", r"nc|non ?commercial"), ("ND", r"nd|no ?deriv"), ("SA", r"sa|share ?alike"))
_ADDRESSES = (
    (r"apache\.org/licenses/(?:license-)?2\.0|opensource\.org/licenses?/apache-?2\.0", "Apache-2.0"),
    (r"creativecommons\.org/publicdomain/zero/1\.0", "CC0-1.0"),
    (r"gnu\.org/(?:licenses/)?(?:old-licenses/)?([al]?gpl)-([23])\.0", "{1}-{2}.0-only"),
    (r"creativecommons\.org/licenses/(by(?:-nc)?(?:-nd|-sa)?)/(\d\.\d)", "CC-{1}-{2}"),
    (r"mozilla\.org/(?:en-us/)?mpl/2\.0", "MPL-2.0"),
    (r"eclipse\.org/legal/epl-2\.0", "EPL-2.0"),
    (r"nationalarchives\.gov\.uk/doc/open-government-licence/version/([123])", "OGL-UK-{1}.0"),
    (r"unlicense\.org", "Unlicense"),
    (r"(?:opensource\.org/licenses?|spdx\.org/licenses|choosealicense\.com/licenses)/([\w.-]+?)(?:\.html|\.php|/|$)", "{1}"),
    (r"/(mit|isc|apache-2\.0)(?:-license)?(?:\.txt|\.html|\.md|/|$)", "{1}"),
)


def normalise_license(name: str, url: str = "") -> str:
    """Return the SPDX expression that a name and an address stand for, or ``unknown``.

    Known are SPDX expressions in any case, the common names ("Apache 2.0", "The MIT License", "Creative Commons
    Attribution 4.0"), and the addresses of opensource.org, apache.org, gnu.org, creativecommons.org and spdx.org. A name
    that says something decides; the address is asked only when it does not.
    """
    words = name.split()
    return _from_name(" ".join(words)) or _from_address(url) or (_from_address(name) if len(words) == 1 else None) or UNKNOWN


def license_of_source_text(text: str) -> str | None:
    """Return the expression of a file's ``SPDX-License-Identifier:`` header, or None without one that is valid."""
    found = _HEADER.search(text, 0, _HEADER_WITHIN)
    return _valid(found[1].strip()) if found else None


def permits(expression: str, allowed: Collection[str]) -> bool:
    """Return whether an SPDX expression is allowed: one side of an OR, all sides of an AND.

    ``allowed`` holds identifiers, ``unknown`` among them only when documents of unknown licence may stay, or whole
    expressions. Identifiers are compared as SPDX means them: in any case, ``GPL-3.0+`` as ``GPL-3.0-or-later``. An exception
    (WITH) only adds permissions, so its licence is enough. What is no expression is allowed only when it is listed as it is.
    """
    if expression in allowed:
        return True
    parsed = _parse(expression)
    return parsed is not None and _permits(parsed, {_key(each) for each in allowed})


def mentions(expression: str, identifier: str) -> bool:
    """Return whether an SPDX expression names a licence, on whichever side of an AND, OR or WITH.

    Identifiers are compared as `permits` does; what is no expression names only itself.
    """
    parsed = _parse(expression)
    if parsed is None:
        return expression == identifier
    named = _licensing().license_symbols(parsed, decompose=True)
    return _key(identifier) in {parsed.render().lower(), *(symbol.render().lower() for symbol in named)}


def is_identifier(name: str) -> bool:
    """Return whether a name can stand in a list of allowed licences: SPDX knows it, or it is of the form ``LicenseRef-...``."""
    return name == UNKNOWN or _valid(name) is not None


def _permits(parsed: Any, allowed: set[str]) -> bool:
    operator = getattr(parsed, "operator", "").strip()
    if operator in ("AND", "OR"):
        return (all if operator == "AND" else any)(_permits(argument, allowed) for argument in parsed.args)
    base = getattr(parsed, "license_symbol", None)
    return parsed.render().lower() in allowed or (base is not None and _permits(base, allowed))


def _key(name: str) -> str:
    parsed = _parse(name)
    return (name if parsed is None else parsed.render()).lower()


@cache
def _licensing() -> Any:
    from license_expression import get_spdx_licensing

    return get_spdx_licensing()


@cache
def _parse(expression: str) -> Any:
    from license_expression import ExpressionError

    try:
        return _licensing().parse(expression)
    except ExpressionError:
        return None


def _valid(expression: str) -> str | None:
    """Return an expression in its canonical writing, or None when SPDX does not know all of it."""
    parsed = _parse(expression)
    if parsed is None or any(not key.startswith("LicenseRef-") for key in _licensing().unknown_license_keys(parsed)):
        return None
    return parsed.render()


@cache
def _from_name(name: str) -> str | None:
    if expression := _valid(name):
        return expression
    words = re.sub(r"(?<=\d)\+|\bor any later\b", " or later ", name.lower())
    words = re.sub(r"\b(the|licen[sc]ed?|licen[sc]es|version|software|under|of)\b|[^a-z0-9]", " ", words)
    plain = " ".join(re.sub(r"(?<=[a-z])v?(?=\d)|\bv(?=\d)", " ", words).split())
    if found := _CREATIVE_COMMONS.fullmatch(plain):
        elements = "".join(f"-{short}" for short, pattern in _ELEMENTS if re.search(rf"\b(?:{pattern})", found[1]))
        return _valid(f"CC-BY{elements}-{found[2]}.{found[3]}")
    if found := _GNU.fullmatch(plain):
        family = {"a": "AGPL", "l": "LGPL"}.get((found[1] or " ")[0], "GPL")
        number, minor = found[2] or ("3" if family == "AGPL" else "2"), found[3] or "0"
        suffix = "only" if found[2] and found[4] != " or later" else "or-later"  # without a number any version may be chosen
        return _valid(f"{family}-{number}.{minor}-{suffix}")
    return next((identifier for pattern, identifier in _NAMES if re.fullmatch(pattern, plain)), None)


@cache
def _from_address(url: str) -> str | None:
    url = url.lower()
    for pattern, identifier in _ADDRESSES if "/" in url else ():
        if found := re.search(pattern, url):
            for number, value in enumerate(found.groups(), 1):
                identifier = identifier.replace(f"{{{number}}}", value)
            return _valid(identifier) or _from_name(identifier)
    return None
