"""Start-up parameters: which an agent may set, and how ``options`` is read.

What is not on the list is refused by name: a setting can change the meaning of a text (``search_path`` is
followed,
``standard_conforming_strings`` may not move), its rights (``role``) or the server's behaviour.

Source: PostgreSQL manual, "Start-up Message", "libpq, options"; ``pg_split_opts`` for the escapes.
"""

from collections.abc import Mapping

from weirgate_contracts.refusal import Refusal, RefusalCode

ALLOWED: dict[str, str] = {
    name.lower(): name
    for name in (
        "application_name",
        "bytea_output",
        "client_encoding",
        "client_min_messages",
        "DateStyle",
        "default_transaction_deferrable",
        "default_transaction_isolation",
        "default_transaction_read_only",
        "extra_float_digits",
        "geqo",
        "idle_in_transaction_session_timeout",
        "idle_session_timeout",
        "IntervalStyle",
        "jit",
        "lock_timeout",
        "plan_cache_mode",
        "search_path",
        "standard_conforming_strings",
        "statement_timeout",
        "TimeZone",
        "transaction_timeout",
    )
}
"""Settings an agent may choose, by lower-case name."""
_OFF = frozenset({"false", "off", "no", "0", "f", "n"})
_ON = frozenset({"true", "on", "yes", "1", "t", "y"})
_OWN = frozenset({"user", "database", "options", "replication"})


class ParameterRefused(Exception):
    """A start-up parameter is not let through."""

    def __init__(self, code: RefusalCode, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.refusal = Refusal(code=code, reason=reason, hint=hint)


def check_parameters(asked: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters for the upstream's start-up message; ``client_encoding`` is always UTF8 in it.

    Args:
        asked: the agent's, without ``_pq_.`` options.

    Raises:
        ParameterRefused: one of them may not be set, or not like that.
    """
    if asked.get("replication", "false").lower() not in _OFF:
        raise ParameterRefused(
            RefusalCode.UNSUPPORTED, "Replication is not let through the gateway.", "Open a plain session."
        )
    passed: dict[str, str] = {}
    for name, value in _split_options(asked.get("options", "")):
        _check(name, value, passed)
    # A parameter of its own wins over ``options``, as in PostgreSQL.
    for name, value in asked.items():
        if name not in _OWN:
            _check(name, value, passed)
    passed["client_encoding"] = "UTF8"
    return passed


def _check(name: str, value: str, passed: dict[str, str]) -> None:
    known = ALLOWED.get(name.lower())
    if known is None:
        raise ParameterRefused(
            RefusalCode.UNSUPPORTED,
            f"The start-up parameter {name[:63]!r} may not be set through the gateway.",
            "Leave it out of the connection string.",
        )
    if known == "client_encoding" and not is_utf8(value):
        raise ParameterRefused(
            RefusalCode.UNSUPPORTED,
            f"The gateway reads UTF-8; client_encoding {value[:63]!r} is refused.",
            "Set client_encoding to UTF8.",
        )
    if known == "standard_conforming_strings" and value.lower() not in _ON:
        raise ParameterRefused(
            RefusalCode.UNSUPPORTED,
            "standard_conforming_strings must stay on: off changes where a string ends.",
            "Leave it out of the connection string.",
        )
    passed[known] = value


def is_utf8(value: str) -> bool:
    """Say whether an encoding name means UTF-8 (or asks for none: SQL_ASCII is what a C locale sends).

    PostgreSQL compares names without case and without anything but letters and digits.
    """
    return "".join(one for one in value.lower() if one.isalnum()) in ("utf8", "unicode", "sqlascii")


def _split_options(options: str) -> list[tuple[str, str]]:
    words = _words(options)
    settings: list[tuple[str, str]] = []
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        if word == "-c":
            if at >= len(words):
                raise _bad_options()
            setting = words[at]
            at += 1
        elif word.startswith(("-c", "--")):
            setting = word[2:]
        else:
            raise _bad_options()
        name, equals, value = setting.partition("=")
        if not equals or not name:
            raise _bad_options()
        settings.append((name.replace("-", "_"), value))
    return settings


def _words(options: str) -> list[str]:
    words: list[str] = []
    word = ""
    inside = False
    at = 0
    while at < len(options):
        one = options[at]
        at += 1
        if one == "\\" and at < len(options):
            word += options[at]
            inside = True
            at += 1
        elif one in " \t\n\r\v\f":
            if inside:
                words.append(word)
            word, inside = "", False
        else:
            word += one
            inside = True
    if inside:
        words.append(word)
    return words


def _bad_options() -> ParameterRefused:
    return ParameterRefused(
        RefusalCode.UNSUPPORTED,
        "Of the start-up parameter 'options' only '-c name=value' and '--name=value' are understood.",
        "Write it like options='-c statement_timeout=5000'.",
    )
