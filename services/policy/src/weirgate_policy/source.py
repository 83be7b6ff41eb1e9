"""Where things stand in a Cedar text: its rules one by one, and the place of a syntax error.

Cedar's parser, as bound by ``cedarpy``, says what is wrong and not where. So the text is cut into tokens here
(only strings, comments and the semicolon need knowing), and the place is found by asking the parser about
ever longer beginnings: the first token that turns "unexpected end of input" into another complaint is it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from cedarpy import PolicySet

_TOKEN = re.compile(
    r'"(?:[^"\\\n]|\\.)*"|//[^\n]*|\s+|[A-Za-z_][A-Za-z0-9_]*|\d+|::|==|!=|<=|>=|&&|\|\||.', re.S
)
_OPEN_ENDED = "unexpected end of input"


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """One word of the text; comments and space are left out."""

    text: str
    start: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleText:
    """One rule as written, from its first token to its semicolon."""

    start: int
    tokens: tuple[Token, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A place in a text, both counted from 1."""

    line: int
    column: int


def place_of(text: str, offset: int) -> Place:
    """Return line and column of a character."""
    before = text[:offset]
    return Place(line=before.count("\n") + 1, column=offset - (before.rfind("\n") + 1) + 1)


def split_rules(text: str) -> tuple[RuleText, ...]:
    """Cut a text into its rules, in order. What follows the last semicolon counts as a rule of its own."""
    rules: list[RuleText] = []
    tokens: list[Token] = []
    for found in _TOKEN.finditer(text):
        word = found[0]
        if word.isspace() or word.startswith("//"):
            continue
        tokens.append(Token(text=word, start=found.start()))
        if word == ";":
            rules.append(RuleText(start=tokens[0].start, tokens=tuple(tokens)))
            tokens = []
    if tokens:
        rules.append(RuleText(start=tokens[0].start, tokens=tuple(tokens)))
    return tuple(rules)


def find_token(rule: RuleText, *words: str) -> int:
    """Return where the words stand one after the other in a rule, else where the rule begins."""
    for at in range(len(rule.tokens) - len(words) + 1):
        if all(rule.tokens[at + step].text == word for step, word in enumerate(words)):
            return rule.tokens[at].start
    return rule.start


def _complaint(text: str) -> str | None:
    try:
        PolicySet.from_str(text)
    except ValueError as error:
        return str(error)
    return None


def syntax_error(text: str, *, ask: Callable[[str], str | None] = _complaint) -> tuple[int, str] | None:
    """Return where a text stops being Cedar and why; ``None`` where it is Cedar.

    Raises nothing: an unbalanced quote, an empty text or a rule cut short all have a place.
    """
    whole = ask(text)
    if whole is None:
        return None
    for rule in split_rules(text):
        last = rule.tokens[-1]
        said = ask(text[rule.start : last.start + len(last.text)])
        if said is None:
            continue
        return _first_bad_token(text, rule, ask, said), said
    return 0, whole


def _first_bad_token(text: str, rule: RuleText, ask: Callable[[str], str | None], said: str) -> int:
    low, high = 0, len(rule.tokens)  # a beginning of `low` tokens can still go on; one of `high` cannot
    if said == _OPEN_ENDED:
        last = rule.tokens[-1]
        return last.start + len(last.text)
    while high - low > 1:
        middle = (low + high) // 2
        token = rule.tokens[middle - 1]
        cut = ask(text[rule.start : token.start + len(token.text)])
        if cut is None or cut == _OPEN_ENDED:
            low = middle
        else:
            high = middle
    # At the very end of a text the parser names the bad token only once one more stands behind it.
    named = re.search(r"unexpected token `(.*)`", said, re.S)
    for token in reversed(rule.tokens[:high]):
        if named is None or token.text == named[1]:
            return token.start
    return rule.tokens[high - 1].start
