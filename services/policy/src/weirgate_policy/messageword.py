"""What an agent is told when a message of MCP is refused. Names the tool it named; never an argument or a URI."""

from dataclasses import dataclass

from weirgate_contracts.refusal import Refusal, RefusalCode
from weirgate_policy.body import Unread
from weirgate_policy.entity import offered_id
from weirgate_policy.view import Ref
from weirgate_policy.wording import REASON_LIMIT

_NAME_LIMIT = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedMessage:
    """A message the rules said no to."""

    action: str
    method: str
    ref: Ref
    resource: str
    rules: tuple[str, ...]

    def by_rules(self, reasons: tuple[str, ...]) -> Refusal:
        """Return the refusal where a rule forbids it, or none permits it."""
        if self.rules:
            said = f" ({'; '.join(reasons)})" if reasons else ""
            hint = "Do without it, or ask the people who run this gateway for a rule that permits it."
            return self._refusal(f"{self._named()} forbids it{said}", hint)
        wanted = f'{self.action} on {self.ref.kind}::"{self._id()}"'
        return self._refusal("no rule permits it", f"Ask the people who run this gateway to permit {wanted}.")

    def by_arguments(self, why: Unread) -> Refusal:
        """Return the refusal where a rule reads arguments that were not read."""
        because = f"{self._named()} reads its arguments, and the message {why.reason}"
        return self._refusal(because, why.hint, why.code)

    def by_fault(self) -> Refusal:
        """Return the refusal where a rule fails."""
        hint = "Do without it, or ask the people who run this gateway to correct the rule."
        return self._refusal(f"{self._named()} could not be evaluated, and that denies", hint)

    def _id(self) -> str:
        if self.ref.kind == "Resource":
            return self.resource
        # A URI holds values: who asked knows it, and refusals are read by others too.
        name = "…" if self.ref.kind == "McpResource" else self.ref.name[:_NAME_LIMIT]
        return offered_id(self.resource, name)

    def _named(self) -> str:
        return f"rule {', '.join(self.rules)}"

    def _refusal(self, because: str, hint: str, code: RefusalCode = RefusalCode.DENIED) -> Refusal:
        what = self.method[:_NAME_LIMIT] or "an answer to the server"
        if self.ref.kind in ("Tool", "Prompt"):
            what += f" of {self.ref.name[:_NAME_LIMIT]}"
        reason = f"{what} on {self.resource} ({self.action}) is refused: {because}."
        return Refusal(code=code, reason=reason[:REASON_LIMIT], rules=self.rules, hint=hint)


def uri_doubtful() -> Refusal:
    """Return the refusal for a URI that two readers could take for two things."""
    return Refusal(
        code=RefusalCode.UNPARSABLE,
        reason="the URI is not in normal form, so rules that name URIs could be walked around with it.",
        hint="Write it without dot segments, spaces and backslashes, its scheme in lower case, and letters, digits "
        "and -._~ not percent-encoded.",
    )


def too_many_offered(limit: int) -> Refusal:
    """Return the refusal for a list that is too long to be judged."""
    return Refusal(
        code=RefusalCode.TOO_LARGE,
        reason=f"the server offers more than {limit} things in one list.",
        hint="Ask for the list in pages, if the server gives it in pages.",
    )


def hold_unread(method: str, resource: str, groups: tuple[str, ...], rules: tuple[str, ...]) -> Refusal:
    """Return the refusal for a message that people would have to agree to without its being read whole."""
    reason = (
        f"{method[:_NAME_LIMIT]} on {resource} waits for the word of {', '.join(groups)}, and was not read whole: an "
        "approval cannot be bound to what nobody read."
    )
    return Refusal(
        code=RefusalCode.TOO_LARGE, reason=reason[:REASON_LIMIT], rules=rules, hint="Send less at once."
    )
