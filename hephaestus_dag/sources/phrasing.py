"""Turning the sentences of documentation into what a user would ask, by rules."""

import json
import re
from typing import Any

_VERBS = frozenset(
    """
    abort accept acknowledge activate add adjust allocate allow analyze apply approve archive assign associate assume attach
    authorize backfill begin block book bring build calculate call cancel cause change check choose claim classify clear
    clone close commit compare complete compose compute configure confirm connect contain continue convert copy count create
    customize deactivate decline decode decrease decrypt define delete deliver deploy deprecate deprovision deregister
    describe detach detect determine disable disassociate disconnect discover dismiss display download edit emit enable
    encrypt end enroll ensure enter enumerate estimate evaluate exchange execute exit export extend extract fail fetch
    filter finalize find fix flag follow force forget format freeze generate get give grant group host identify import
    include increase index ingest initialize initiate insert inspect install invalidate invite invoke issue join label
    launch leave like limit link list listen load lock log look make manage map mark mask match merge migrate modify monitor
    move mute name navigate note notify obtain open optimize order override page parse pass patch pause perform permit
    persist pin play poll post predict preview print process promote propose protect provide provision prune publish
    purchase purge push put query raise rank rate re-encrypt reactivate read reassign rebalance reboot rebuild receive
    recognize reconcile record recover redeem redirect reduce refresh refund register reject relate release reload relocate
    remind remove rename render renew reopen reorder replace replicate reply report request require reschedule resend
    reserve reset resize resolve respond restart restore restrict resume retain retire retrieve retry return reverse revert
    review revoke rewrite roll rollback rotate route run sample save scale scan schedule seal search select sell send serve
    set share show shut sign simulate skip snapshot sort source specify split star start step stop store stream submit
    subscribe subtract suggest summarize supply suppress suspend swap switch sync synchronize tag take terminate test toggle
    track train transcribe transfer transition translate trigger trim truncate turn unarchive unassign unblock undelete
    undeploy undo unfollow uninstall unlike unlink unlock unmask unmonitor unpin unpublish unshare unregister unset unsubscribe
    unsuspend untag update upgrade upload upsert use validate verify view vote wait warm watch whitelist withdraw write
    """.split()  # noqa: SIM905
)
_LEAD_IN = re.compile(
    r"^(?:to|you can|(?:can be )?used to|(?:shows?|demonstrates?|describes?)(?: you)? how to|(?:allows?|enables?) you to|"
    r"(?:use|call) this (?:operation|api|action|method) to) ",
    re.IGNORECASE,
)
_INTRODUCTION = re.compile(
    r"^(?:in )?(?:the|this)(?: following)?(?: sample)?(?: `[^`]*``?| [\w-]+)?(?: command| code)? "
    r"(?:example|command|examples|commands|request|operation)(?: command| example)?,? (?P<what>.+)$",
    re.IGNORECASE,
)


def plain(text: str) -> str:
    """Return reStructuredText or HTML prose as one line of plain text; inline literals keep one pair of backticks."""
    text = re.sub(r"<(?:/?[a-zA-Z][^<>]*)>", " ", text) if "</" in text else text
    text = re.sub(r"`([^`<]+?)\s*<[^<>]*>`_{1,2}", r"\1", text)
    text = re.sub(r"(?<!`)`([^`]+)`_{1,2}", r"\1", text)
    text = re.sub(r"``(.+?)``", r"`\1`", text, flags=re.DOTALL)
    text = re.sub(r"(?<![\w*`])\*{1,2}([^*`\n]+?)\*{1,2}(?![\w*])", r"\1", text)
    text = re.sub(r"\s+([.,;:?!])(?=\s|$)", r"\1", " ".join(text.split()))
    return re.sub(r"\b(?:an? (?=an? )|(the|of|to|in|for|and|is) (?=\1 ))", "", text)  # vendors' slips: "an an attachment"


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
    """Return a sentence that opens with a known verb as a request: ``Creates the specified user`` gives ``create the user``.

    Returns None when it opens with anything else, so that a noun never passes for a verb.
    """
    words = re.sub(r"\b(the|an?) specified\b", r"\1", _LEAD_IN.sub("", sentence)).split(" ")
    first = 1 if len(words) > 1 and words[0].lower().endswith("ly") and words[0].lower() != "apply" else 0
    lower = words[first].lower()
    verb = lower if lower in _VERBS else base_form(lower)
    if verb not in _VERBS:
        return None
    words[0], words[first] = words[0].lower(), verb
    for n, word in enumerate(words[:-2]):
        if (
            word in ("and", "or")
            and words[n + 1].endswith("s")
            and base_form(words[n + 1]) in _VERBS
            and words[n + 2].islower()
        ):
            words[n + 1] = base_form(words[n + 1])
    return " ".join(words)


def asked(sentence: str) -> str | None:
    """Return what the introduction of an example asks for, as a sentence.

    "This example creates a user with the specified name" gives "Create a user with the name."; None when it does not
    open as introductions do.
    """
    match = _INTRODUCTION.match(sentence)
    request = imperative(match["what"]) if match else None
    return capitalised(request).rstrip(":.") + "." if request else None


def capitalised(text: str) -> str:
    """Return text with a capital first letter."""
    return text[:1].upper() + text[1:]


def in_words(name: str) -> str:
    """Return an identifier as lower-case words: ``DBInstanceId`` and ``db-instance-id`` both give ``db instance id``."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    return " ".join(re.split(r"[^A-Za-z0-9]+", spaced)).strip().lower() or name


def value_in_words(value: Any) -> str:
    """Return a JSON value as somebody would write it in a request."""
    if isinstance(value, str):
        return f"`{value}`"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list) and value and all(isinstance(item, (str, int, float)) for item in value):
        return enumeration([value_in_words(item) for item in value])
    return json.dumps(value, ensure_ascii=False)


def enumeration(parts: list[str]) -> str:
    """Return ``a, b and c``."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
