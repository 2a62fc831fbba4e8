"""Who published a file that does not say so itself: read off its name, the folders it lies in, or its address."""

import re
from urllib.parse import urlsplit

_NOBODY = re.compile(
    r"(?:schemas?|introspection|graphql(?:[-_]schema)?|api|apis|index|public|main|package|packages|src|source|lib|dist|data|json|spec|specs|"
    r"tools?|tools[-_.]list|functions?|descriptions?|proto|protos|resources|documents|latest|v\d+(?:(?:alpha|beta|rc)\d*)?|\d[\d.-]*)",
    re.IGNORECASE,
)

_VERSION = re.compile(r"(?:==|(?<=.)@).*$")


def named_after(item: str, otherwise: str) -> str:
    """Return the last part of an item that is a name of its own: ``github/schema.graphql`` gives ``github``.

    Where every part is as general as that of ``api/v1/schema.json``, ``otherwise`` is returned.
    The version of a distribution and the suffixes of a file are no part of the name.
    """
    *folders, file = item.split("/")
    stem = re.sub(r"(?:\.(?:schema|tools|introspection))?\.(?:json|jsonl|graphqls?|gql|proto|ndjson)(?:\.gz)?$", "", file)
    candidates = [stem, *(_VERSION.sub("", folder).lstrip("@") for folder in reversed(folders))]
    return next((name for name in candidates if name and not _NOBODY.fullmatch(name)), otherwise)


def site_of(address: str) -> str:
    """Return the site of a web address: ``https://www.tea.org/kettles`` gives ``tea.org``; empty for what is no address."""
    try:
        return (urlsplit(address).hostname or "").removeprefix("www.").encode(errors="replace").decode()
    except ValueError:
        return ""
