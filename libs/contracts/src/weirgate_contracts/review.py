"""Who may decide an approval request, and when enough people have. Pure.

Approval decides by these functions; the console asks them first, so that a person is told at once why not.
"""

import unicodedata
from collections.abc import Collection, Mapping, Sequence

from weirgate_contracts.identity import Identity

Reviewers = Mapping[str, Collection[str]]
"""Name that ``@hold`` asks for, to the groups whose people speak for it (``ReviewersDocument``)."""


class Ineligible(Exception):
    """This person does not decide this request; the text says why."""


def person_key(name: str) -> str:
    """Return what makes two spellings of a name one person.

    Names that differ only in case, in surrounding space or in compatibility characters count as one person:
    otherwise one person could fill a quorum, or approve their own operation, by spelling it differently.
    """
    return unicodedata.normalize("NFKC", name).strip().casefold()


def same_person(one: str, other: str) -> bool:
    """Say whether two names count as one person."""
    return person_key(one) == person_key(other)


def spoken_for(
    *, by: str, proved: Collection[str], identity: Identity, asked: Sequence[str], reviewers: Reviewers
) -> tuple[str, ...]:
    """Return those of the asked groups a person speaks for, in the order asked.

    Args:
        by: Name of the person.
        proved: Groups the person proved.
        identity: Whose operation waits.
        asked: What the hold names.
        reviewers: The configuration; a name without an entry is spoken for by nobody.

    Raises:
        Ineligible: the person asked for it, or is in no group that may decide.
    """
    if not person_key(by):
        raise Ineligible("a decision needs a name")
    if same_person(by, identity.agent) or (identity.user is not None and same_person(by, identity.user)):
        raise Ineligible(f"{by} asked for this operation and cannot decide it")
    missing = [name for name in asked if name not in reviewers]
    mine = tuple(name for name in dict.fromkeys(asked) if set(reviewers.get(name, ())) & set(proved))
    if mine:
        return mine
    if len(missing) == len(asked):
        named = ", ".join(missing) or "no group"
        raise Ineligible(f"the rule asks for {named}, and no reviewers document says who that is")
    wanted = sorted({group for name in asked for group in reviewers.get(name, ())})
    raise Ineligible(f"{by} is in none of the groups that may decide: {', '.join(wanted)}")


def seats_filled(*, asked: Sequence[str], quorum: int, endorsed: Sequence[Collection[str]]) -> dict[str, int]:
    """Say how many different people each asked group has, when each person sits for one group only.

    People are placed so that as many seats as possible are filled (augmenting paths), so the order in which
    they agreed makes no difference: who speaks for two groups moves over for someone who speaks for one.

    Args:
        asked: The groups that must agree.
        quorum: Seats of each; less than one counts as one.
        endorsed: For each person who agrees, the groups they speak for.
    """
    seats = max(quorum, 1)
    groups = list(dict.fromkeys(asked))
    sitting: dict[str, list[int]] = {group: [] for group in groups}

    def place(person: int, tried: set[str]) -> bool:
        for group in groups:
            if group in tried or group not in endorsed[person]:
                continue
            tried.add(group)
            if len(sitting[group]) < seats:
                sitting[group].append(person)
                return True
            for index, other in enumerate(sitting[group]):
                if place(other, tried):
                    sitting[group][index] = person
                    return True
        return False

    for person in range(len(endorsed)):
        place(person, set())
    return {group: len(people) for group, people in sitting.items()}


def is_quorate(*, asked: Sequence[str], quorum: int, endorsed: Sequence[Collection[str]]) -> bool:
    """Say whether every asked group has its quorum. A request that asks nobody is never quorate."""
    filled = seats_filled(asked=asked, quorum=quorum, endorsed=endorsed)
    return bool(filled) and all(count >= max(quorum, 1) for count in filled.values())
