"""What the answer of a model says of itself, read while it streams past: tokens, and which tools it asks for.

Facts for events, never conditions: an answer that cannot be read, is too large or is coded in a way nobody here reads
has none, and passes as it would have. Read is what the upstream sent, before it is masked. Memory is bounded: one JSON
document of at most 1 MiB, or one event of that size at a time.

====================  ======================================================================================
OpenAI                ``usage`` of the document; of a stream the last one said (``stream_options.include_usage``)
OpenAI, responses     ``response.usage`` of ``response.completed`` and its kin
Anthropic             ``message.usage`` of ``message_start``, then ``usage`` of ``message_delta``, added up by name
tools                 ``tool_calls``, ``function_call``, items and content blocks whose type is a call's
====================  ======================================================================================

Source: OpenAI API reference (usage of chat completions and responses), Anthropic API reference (streaming messages).
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

from weirgate_contracts.http import HttpResponse
from weirgate_contracts.model import TOOLS_LIMIT, ModelUsage
from weirgate_wire.error import PeerError
from weirgate_wire.http.coding import CodingUnknown, Decoder

DOCUMENT_LIMIT_BYTES: Final = 1 << 20
_CARRIES: Final = re.compile(rb'"(?:usage|model|tool_calls|[a-z_]*tool_use|[a-z_]+_call)"')
_DATA: Final = re.compile(rb"data:([^\r\n]*+)")
_MODEL: Final = re.compile(r"[\x21-\x7e]{1,256}")
_TOOL: Final = re.compile(r"[A-Za-z0-9_.:/-]{1,256}")
"""A model may put anything into a name; only what looks like one is a fact."""
_COUNT_LIMIT: Final = 1 << 53
_CALLS: Final = frozenset(
    ("function_call", "custom_tool_call", "mcp_call", "tool_use", "server_tool_use", "mcp_tool_use")
)
_DETAIL: Final = "cached_tokens"
_COUNTS: Final = (
    "input_tokens", "prompt_tokens", "output_tokens", "completion_tokens", "total_tokens",
    "cache_creation_input_tokens", "cache_read_input_tokens",
)  # fmt: skip
Members = Mapping[str, Any]


class AnswerFacts:
    """Reads one answer. Raises nothing."""

    __slots__ = ("_counts", "_decoder", "_events", "_left", "_model", "_reads", "_tools", "_waiting")

    def __init__(self, *, type: str, codings: tuple[str, ...]) -> None:
        """Take the media type and the content codings of an answer, in lower case."""
        self._events = type == "text/event-stream"
        self._reads = self._events or type == "application/json" or type.endswith("+json")
        self._decoder: Decoder | None = None
        self._waiting = bytearray()
        self._left = False
        """The line that is coming in is longer than what is read: skip to its end."""
        self._model = ""
        self._counts: dict[str, int] = {}
        self._tools: set[str] = set()
        if codings and self._reads:
            try:
                self._decoder = Decoder(codings)
            except CodingUnknown:
                self._reads = False

    def feed(self, piece: bytes) -> None:
        """Take some of the body as the upstream sent it."""
        if not self._reads:
            return
        if self._decoder is None:
            self._take(piece)
            return
        try:
            for decoded in self._decoder.feed(piece):
                self._take(decoded)
        except PeerError:
            self._reads = False

    def told(self, response: HttpResponse) -> HttpResponse:
        """Return what came back, with what the answer says of itself. The answer is over."""
        if self._reads and self._waiting and not self._left:
            if self._events:
                self._lines(b"\n")
            else:
                self._read(bytes(self._waiting))
        self._waiting.clear()
        if self._counts:
            response = response.model_copy(update={"usage": self._usage()})
        if self._tools:
            response = response.model_copy(update={"tools": tuple(sorted(self._tools))})
        return response

    # ------------------------------------------------------------ pieces

    def _take(self, plain: bytes) -> None:
        if self._events:
            self._lines(plain)
            return
        self._waiting += plain
        if len(self._waiting) > DOCUMENT_LIMIT_BYTES:
            self._reads = False
            self._waiting.clear()

    def _lines(self, plain: bytes) -> None:
        """Take some of an event stream; each line of data is read by itself, as these APIs send them."""
        end = max(plain.rfind(b"\n"), plain.rfind(b"\r")) + 1
        if end:
            whole = bytes(self._waiting) + plain[:end]
            self._waiting.clear()
            if self._left:
                whole = whole[_skipped(whole) :]
                self._left = False
            # Searched for, not taken apart line by line: who sends a million empty lines costs nothing.
            for line in _DATA.finditer(whole):
                if line.start() == 0 or whole[line.start() - 1] in b"\r\n":
                    self._read(line[1])
        self._waiting += plain[end:]
        if len(self._waiting) > DOCUMENT_LIMIT_BYTES:
            self._left = True
            self._waiting.clear()

    # ------------------------------------------------------------ documents

    def _read(self, text: bytes) -> None:
        if _CARRIES.search(text) is None:
            return
        try:
            whole: object = json.loads(text)
        except (ValueError, RecursionError):
            return
        top = _members(whole)
        for body in (top, _members(top.get("response")), _members(top.get("message"))):
            model = body.get("model")
            if not self._model and isinstance(model, str) and _MODEL.fullmatch(model):
                self._model = model
            self._counts |= dict(_counted(_members(body.get("usage"))))
        for name in _called(top):
            if len(self._tools) < TOOLS_LIMIT and isinstance(name, str) and _TOOL.fullmatch(name):
                self._tools.add(name)

    def _usage(self) -> ModelUsage:
        found = self._counts.get
        inputs = found("input_tokens", found("prompt_tokens"))
        written, read = found("cache_creation_input_tokens"), found("cache_read_input_tokens")
        if inputs is not None:
            # Anthropic counts what a cache was read or written for beside the input, OpenAI within it.
            inputs += (written or 0) + (read or 0)
        return ModelUsage(
            model=self._model,
            input_tokens=inputs,
            output_tokens=found("output_tokens", found("completion_tokens")),
            total_tokens=found("total_tokens"),
            cached_tokens=read if read is not None else found(_DETAIL),
        )


def _skipped(whole: bytes) -> int:
    """Return where the line after the first one begins."""
    ends = [at for at in (whole.find(b"\n"), whole.find(b"\r")) if at >= 0]
    return min(ends) + 1 if ends else len(whole)


def _counted(usage: Members) -> Iterator[tuple[str, int]]:
    details = [_members(usage.get(name)) for name in ("prompt_tokens_details", "input_tokens_details")]
    said = [(name, usage.get(name)) for name in _COUNTS] + [(_DETAIL, one.get(_DETAIL)) for one in details]
    for name, value in said:
        # True is an int to Python; an object or a text is no count.
        if type(value) is int and 0 <= value < _COUNT_LIMIT:
            yield name, value


def _called(top: Members) -> Iterator[object]:
    for choice in _list(top.get("choices")):
        for said in (_members(_members(choice).get("message")), _members(_members(choice).get("delta"))):
            yield _members(said.get("function_call")).get("name")
            for call in _list(said.get("tool_calls")):
                one = _members(call)
                yield _members(one.get("function")).get("name")
                yield _members(one.get("custom")).get("name")
    blocks = [
        top.get("content_block"),
        top.get("item"),
        *_list(top.get("content")),
        *_list(top.get("output")),
    ]
    for block in (*blocks, *_list(_members(top.get("response")).get("output"))):
        one = _members(block)
        if one.get("type") in _CALLS:
            yield one.get("name")


def _members(value: object) -> Members:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _list(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []
