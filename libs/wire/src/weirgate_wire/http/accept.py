"""What a peer takes: ``Accept-Encoding: gzip, br;q=0.5, *;q=0``.

Source: RFC 9110 sections 12.4.2 and 12.5.3.
"""

import re
from collections.abc import Iterable

_ONE = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*(?:;[ \t]*[qQ]=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?))?")


def read_weights(fields: Iterable[str]) -> dict[str, str]:
    """Return what fields name, lower case, with the weight each has, as written: ``0`` to ``1``.

    What cannot be read is left out: nothing that was not asked for comes of it. Of what stands twice the first counts.
    """
    weights: dict[str, str] = {}
    for field in fields:
        for one in field.split(","):
            found = _ONE.fullmatch(one.strip(" \t"))
            if found is not None:
                weights.setdefault(found.group(1).lower(), found.group(2) or "1")
    return weights


def accepted(fields: Iterable[str], offered: Iterable[str]) -> str:
    """Return an ``Accept-Encoding`` of what is both taken and offered, with its weights; else ``identity``.

    A peer that sends no such field may be sent anything (RFC 9110); who does not ask for a coding is given none.
    """
    weights = read_weights(fields)
    if "x-gzip" in weights:
        weights.setdefault("gzip", weights["x-gzip"])
    taken: list[str] = []
    for one in offered:
        weight = weights.get(one, weights.get("*", "0"))
        if float(weight) >= 1:
            taken.append(one)
        elif float(weight) > 0:
            taken.append(f"{one};q={weight}")
    return ", ".join(taken) or "identity"
