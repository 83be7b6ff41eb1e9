"""Why an answer of a server goes no further."""

from weirgate_contracts.refusal import Refusal, RefusalCode
from weirgate_ingress.gates.http.mcp.call import REVISIONS
from weirgate_wire.error import PeerError


def malformed(error: PeerError) -> Refusal:
    """It is no MCP."""
    return Refusal(code=RefusalCode.PROTOCOL, reason=f"The server's answer is malformed: {error}"[:2000])


def moved() -> Refusal:
    """It is a redirect."""
    return Refusal(
        code=RefusalCode.UPSTREAM_UNAVAILABLE,
        reason="The server sends elsewhere (a redirect), and the gateway follows none.",
        hint="An operator can register the server's exact address, slash and all.",
    )


def unanswered() -> Refusal:
    """It ended before it was one."""
    return Refusal(
        code=RefusalCode.UPSTREAM_LOST,
        reason="The server ended its stream without an answer.",
        hint="The request may have had its effect.",
    )


def revision() -> Refusal:
    """The server speaks another revision."""
    return Refusal(
        code=RefusalCode.UNSUPPORTED,
        reason=f"The server speaks a revision of MCP that is not served; these are: {', '.join(REVISIONS)}.",
    )


def elicitation() -> Refusal:
    """It asks instead of answering."""
    return Refusal(
        code=RefusalCode.DENIED,
        reason="The server asks for something of the person behind the agent, and no rule permits it.",
    )
