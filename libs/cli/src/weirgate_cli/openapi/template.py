"""A path of an API document to a route template, or why it can be none and what to write instead."""

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote

from weirgate_contracts.scrutiny import scrutinise

_NAME = re.compile(r"\{([^{}/]*)\}")
_UNFIT = re.compile(r"[^A-Za-z0-9_]+")
_LITERAL = "!$&'()*+,=:@-._~"
"""What stands as it is in a path in normal form, beside letters and digits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoTemplate:
    """A path that no template can stand for."""

    why: str
    next: str
    """What to do about it."""


def make_template(path: str) -> str | NoTemplate:
    """Return the template of a path: ``/pets/{pet-id}`` is ``/pets/{pet_id}``."""
    if not path.startswith("/"):
        return NoTemplate(why="it does not begin with '/'", next="write it with one in the document")
    for sign, what in (("?", "a query"), ("#", "a fragment"), (";", "a path parameter after ';'")):
        if sign in path:
            bare = make_template(path.partition(sign)[0])
            next_ = f"one route serves them all, {bare}" if isinstance(bare, str) else "leave it out"
            return NoTemplate(why=f"it holds {what}, and routes are matched by the path alone", next=next_)
    if any("\ud800" <= char <= "\udfff" for char in path):
        return NoTemplate(why="it holds what is no text", next="leave it out")
    segments: list[str] = []
    names: set[str] = set()
    odd: str | None = None
    for segment in path[1:].split("/"):
        found = _NAME.findall(segment)
        if not found and "{" not in segment and "}" not in segment:
            segments.append(_literal(segment))
            continue
        if not _NAME.fullmatch(segment) or segment.endswith(("+}", "*}")) or segment.startswith("{+"):
            odd = odd or segment
        segments.append("{" + _name("_".join(found) or segment, names) + "}")
    template = "/".join(("", *segments))
    for complaint in scrutinise("resource", {"protocol": "http", "routes": [template]}):
        why = complaint.what.partition("no template: ")[2] or complaint.what
        return NoTemplate(why=why, next="register its paths by a route of your own, or leave it out")
    if odd is None:
        return template
    if "+" in odd or "*" in odd:
        why = f"{odd} stands for any number of segments, and a name in a route stands for one"
        next_ = f"write a route for each depth that is used, the first is {template}"
    else:
        why = f"{odd} is only a part of its segment, or more than one name"
        next_ = f"if rules are to see it, write {template}: the name is then the whole segment"
    return NoTemplate(why=why, next=next_)


def _literal(segment: str) -> str:
    return quote(unquote(segment, errors="surrogateescape"), safe=_LITERAL, errors="surrogateescape")


def _name(given: str, taken: set[str]) -> str:
    name = _UNFIT.sub("_", given).strip("_") or "name"
    if name[0].isdigit():
        name = f"n{name}"
    count, made = 1, name
    while made in taken:
        count += 1
        made = f"{name}_{count}"
    taken.add(made)
    return made
