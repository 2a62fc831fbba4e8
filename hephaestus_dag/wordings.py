"""Wordings of questions to a language model: packaged by name, or a text file of somebody's own."""

import importlib.resources
from pathlib import Path


def load_wording(what: str, package: str, folder: str, name: str, placeholder: str, goes_there: str) -> str:
    """Return the text of a packaged wording, or of the one in a text file, without blanks around it.

    ``what`` is what messages call it. Raises FileNotFoundError when there is none, ValueError unless ``placeholder``, the
    place of what ``goes_there``, occurs exactly once.
    """
    packaged = importlib.resources.files(package) / folder
    if (packaged / f"{name}.txt").is_file():
        text = (packaged / f"{name}.txt").read_text(encoding="utf-8")
    elif Path(name).is_file():
        text = Path(name).read_text(encoding="utf-8")
    else:
        known = ", ".join(sorted(Path(entry.name).stem for entry in packaged.iterdir() if entry.name.endswith(".txt")))
        raise FileNotFoundError(f"{what} {name!r} is neither packaged nor a file; packaged: {known}")
    if text.count(placeholder) != 1:
        raise ValueError(f"{what} {name!r} must contain {placeholder} exactly once, where the {goes_there} goes")
    return text.strip()
