"""Names and values of parameters in the words of a request or an answer."""

import re
from typing import Any

from hephaestus_dag.sources.phrasing import enumeration, in_words, value_in_words

_SPELLED = """
    ACL AMI API APIs ARN ARNs AWS AZ BGP CIDR CPU CSV DB DHCP DNS EBS EC2 ECS EFS GB GCP GPU GRE HTTP HTTPS IAM ID IDs IP IPAM
    IPs IPv4 IPv6 JSON JWT KMS MB MD5 MFA NAT OIDC OS PDF RAM RDS S3 SAML SDK SHA256 SMS SNS SQL SQS SSE SSH SSL SSO TCP TLS TTL
    UDP URI URL URLs UTC UUID VM VMs VPC VPN XML XPN YAML
    """.split()  # noqa: SIM905
_SPELLINGS = {spelling.lower(): spelling for spelling in _SPELLED}
_MOST = re.compile(r"^(?:limit|page size|max (?:\w+ )?(?:entities|items|keys|records|results))$")
_NO_PLURAL = re.compile(r"(?:ss|us|is)$|\b(?:aws|dns|ebs|ecs|efs|gcs|ios|kms|os|rds|sms|sns|sqs|tls|https)$")


def words(name: str) -> str:
    """Return an identifier as lower-case words, the form in which names are compared: ``DBInstanceId``, ``db instance id``."""
    return re.sub(r"\bi (ds|ps|pv[46])\b", r"i\1", in_words(name))  # in_words splits IDs and IPv4


def label(name: str) -> str:
    """Return an identifier as words of a sentence: ``DBInstanceArn`` gives ``DB instance ARN``."""
    return " ".join(_SPELLINGS.get(word, word) for word in words(name).split(" "))


def singular(words: str) -> str:
    """Return words with the last one in the singular, by rules: ``security policies`` gives ``security policy``."""
    if words.endswith("ies") and len(words) > 5:
        return words[:-3] + "y"
    if words.endswith(("sses", "xes", "ches", "shes", "zzes")):
        return words[:-2]
    return words[:-1] if words.endswith("s") and not _NO_PLURAL.search(words) else words


def plural(words: str) -> str:
    """Return words with the last one in the plural, by rules."""
    if words.endswith("y") and not words.endswith(("ay", "ey", "oy")):
        return words[:-1] + "ies"
    return words + ("es" if words.endswith(("s", "x", "ch", "sh")) else "s")


def spoken(arguments: dict[str, Any]) -> str:
    """Return the arguments of a call as somebody would list them; the members of objects are named one by one."""
    return enumeration(spoken_parts(arguments))


def spoken_parts(arguments: dict[str, Any]) -> list[str]:
    """Return the parts of which `spoken` makes one enumeration."""
    return list(dict.fromkeys(part for name, value in arguments.items() for part in _parts(words(name), value)))


def is_limit(name: str, value: Any) -> bool:
    """Return whether an argument says how many results are wanted."""
    return isinstance(value, int) and bool(_MOST.search(words(name)))


def _parts(name: str, value: Any) -> list[str]:
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict):
        name, value = singular(name), value[0]
    if isinstance(value, dict) and value:
        inside = "" if name in ("body", "request body") else f"{name} "
        return [part for member, inner in value.items() for part in _parts(_joined(inside, words(member)), inner)]
    if is_limit(name, value):
        return [f"at most {value} results"]
    return [f"{label(name)} {'set to ' if isinstance(value, bool) else ''}{value_in_words(value)}"]


def _joined(outer: str, inner: str) -> str:
    """Return ``disk size`` for ``disk`` and ``disk size``, not ``disk disk size``."""
    return inner if f"{inner} ".startswith(outer) else outer + inner
