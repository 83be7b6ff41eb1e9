"""The second operation of a list: may the agent be shown it, and how much of it."""

from weirgate_contracts.mcp import McpCall
from weirgate_ingress.gates.http.mcp.exchange import Exchange
from weirgate_ingress.gates.http.mcp.listing import listing_digest
from weirgate_ingress.gates.http.operation import Operation, Phase
from weirgate_ingress.gates.outbox import Tally


def showing(operation: Operation, number: int) -> Operation:
    """Return the operation that shows what another one has got.

    Args:
        operation: that asked the server for a list, and has its answer.
        number: of the new one.
    """
    exchange = operation.mcp
    assert exchange is not None
    assert exchange.listing is not None
    offered = exchange.listing.offered
    mcp = McpCall(method=exchange.listing.method, offered=offered)
    return Operation(
        number=number,
        call=operation.call.model_copy(update={"mcp": mcp, "body": None}),
        sent=operation.sent,
        asked=operation.asked,
        body=operation.body,
        whole=None,
        chunked=False,
        continues=False,
        phase=Phase.ASKED,
        digest=listing_digest(operation.digest, offered),
        tally=Tally(number),
        response=operation.response,
        agent_stays=operation.agent_stays,
        mcp=Exchange(message=exchange.message, method=exchange.method, shows=exchange.listing),
    )
