"""Read the value of ``search_path`` as PostgreSQL reports it: a list of identifiers."""

from weirgate_wire.postgres.error import PeerError


def parse_search_path(value: str) -> tuple[str, ...]:
    """Return the schemas in order; ``$user`` stays as it is.

    Raises:
        PeerError: not a list of identifiers.

    Source: ``SplitIdentifierString`` of PostgreSQL.
    """
    names: list[str] = []
    at = 0
    size = len(value)
    while True:
        while at < size and value[at] in " \t\n\r\v\f":
            at += 1
        if at >= size:
            if names:
                raise PeerError("search_path ends in a comma")
            return ()
        if value[at] == '"':
            name, at = _quoted(value, at + 1)
        else:
            start = at
            while at < size and value[at] != "," and value[at] not in " \t\n\r\v\f":
                at += 1
            # PostgreSQL folds ASCII only where the encoding has several bytes a character.
            name = "".join(chr(ord(one) + 32) if "A" <= one <= "Z" else one for one in value[start:at])
            if not name:
                raise PeerError("search_path has an empty name")
        names.append(name)
        while at < size and value[at] in " \t\n\r\v\f":
            at += 1
        if at >= size:
            return tuple(names)
        if value[at] != ",":
            raise PeerError("search_path is not a list of names")
        at += 1


def _quoted(value: str, at: int) -> tuple[str, int]:
    name = ""
    while True:
        end = value.find('"', at)
        if end < 0:
            raise PeerError("search_path has an open quote")
        name += value[at:end]
        if value[end + 1 : end + 2] != '"':
            return name, end + 1
        name += '"'
        at = end + 2
