"""Turning the sentences of documentation into what a user would ask, by rules."""

import json
import re
from typing import Any

_VERBS = frozenset(
    "abort accept acknowledge activate add adjust allocate allow analyze apply approve archive assign associate assume "
    "attach authorize begin block book bring build calculate call cancel change check choose claim classify clear clone "
    "close commit compare complete compute configure confirm connect convert copy count create deactivate decline decode "
    "decrease decrypt define delete deliver deploy deprecate deprovision deregister describe detach detect determine disable "
    "disassociate disconnect display download edit enable encrypt end enter estimate evaluate exchange execute exit export "
    "extend extract fetch filter find follow force forget generate get give grant group identify import increase initiate "
    "insert inspect install invalidate invite invoke issue join launch leave like link list load lock log look make manage "
    "mark match merge migrate modify monitor move mute obtain open order override pass patch pause permit pin play poll post "
    "predict preview print promote provide provision publish purchase purge push put query read reboot rebuild receive "
    "recognize record recover redeem redirect refresh register reject release reload remove rename render renew reopen "
    "reorder replace replicate report request require reschedule resend reset resize resolve restart restore restrict resume "
    "retire retrieve retry return reverse revert revoke rollback rotate run save scale scan schedule search select send set "
    "share show shut sign simulate skip sort specify split start stop store stream submit subscribe suspend switch sync "
    "synchronize tag take terminate test transcribe transfer translate trigger turn unarchive unassign unblock undelete "
    "undeploy undo unfollow uninstall unlink unlock unmonitor unpin unpublish unregister unsubscribe untag update upgrade "
    "upload upsert use validate verify view wait watch withdraw write".split()
)


def plain(text: str) -> str:
    """Return reStructuredText or HTML prose as one line of plain text; inline literals keep one pair of backticks."""
    text = re.sub(r"<(?:/?[a-zA-Z][^<>]*)>", " ", text) if "</" in text else text
    text = re.sub(r"`([^`<]+?)\s*<[^<>]*>`_{1,2}", r"\1", text)
    text = re.sub(r"(?<!`)`([^`]+)`_{1,2}", r"\1", text)
    text = re.sub(r"``(.+?)``", r"`\1`", text, flags=re.DOTALL)
    text = re.sub(r"(?<![\w*`])\*{1,2}([^*`\n]+?)\*{1,2}(?![\w*])", r"\1", text)
    return re.sub(r"\s+([.,;:?!])(?=\s|$)", r"\1", " ".join(text.split()))


def first_sentence(text: str) -> str:
    """Return the first sentence of plain text, without its full stop."""
    match = re.match(r"(.+?)(?<!\be\.g)(?<!\bi\.e)(?<!\betc)[.!?](?=\s+[A-Z`\"(]|\s*$)", text)
    return (match.group(1) if match else text.rstrip(".:; ")).strip()


def base_form(verb: str) -> str:
    """Return the base form of an English verb in the third person: ``applies`` gives ``apply``."""
    if verb in ("has", "does", "goes"):
        return {"has": "have", "does": "do", "goes": "go"}[verb]
    if verb.endswith("ies") and len(verb) > 4:
        return verb[:-3] + "y"
    if re.search(r"(?:ch|sh|ss|x|zz)es$", verb):
        return verb[:-2]
    return verb[:-1] if verb.endswith("s") and not verb.endswith(("ss", "us")) else verb


def imperative(sentence: str) -> str | None:
    """Return a sentence that opens with a known verb as a request: ``Creates a user`` gives ``create a user``.

    Returns None when it opens with anything else, so that a noun never passes for a verb.
    """
    words = re.sub(r"^(?:to|you can|used to|can be used to) ", "", sentence, flags=re.IGNORECASE).split(" ")
    first = 1 if len(words) > 1 and words[0].lower().endswith("ly") and words[0].lower() != "apply" else 0
    lower = words[first].lower()
    verb = lower if lower in _VERBS else base_form(lower)
    if verb not in _VERBS:
        return None
    words[0], words[first] = words[0].lower(), verb
    for n, word in enumerate(words[:-2]):
        if word in ("and", "or") and words[n + 1].endswith("s") and base_form(words[n + 1]) in _VERBS and words[n + 2].islower():
            words[n + 1] = base_form(words[n + 1])
    return " ".join(words)


def capitalised(text: str) -> str:
    """Return text with a capital first letter."""
    return text[:1].upper() + text[1:]


def in_words(name: str) -> str:
    """Return an identifier as words: ``DBInstanceIdentifier`` and ``db-instance-identifier`` give ``db instance identifier``."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    return " ".join(re.split(r"[^A-Za-z0-9]+", spaced)).strip().lower() or name


def value_in_words(value: Any) -> str:
    """Return a JSON value as somebody would write it in a request."""
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list) and value and all(isinstance(item, (str, int, float)) for item in value):
        return enumeration([value_in_words(item) for item in value])
    return json.dumps(value, ensure_ascii=False)


def enumeration(parts: list[str]) -> str:
    """Return ``a, b and c``."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
