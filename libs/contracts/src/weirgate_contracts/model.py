"""A call of a model, as a judged thing, and what its answer cost: names and counts, never a prompt.

Source: OpenAI API reference (chat completions, responses, embeddings …), Anthropic API reference (messages).
"""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from weirgate_contracts.value import Value, is_absent

ModelApi = Literal["openai", "anthropic"]
"""Whose API a resource speaks. Many who serve models speak OpenAI's."""

NAME_LIMIT = 256
"""Characters of the name of a model or a tool. OpenAI and Anthropic take 64 and 128 for a tool."""
TOOLS_LIMIT = 512
"""Tools one call may offer and be read. OpenAI takes 128 functions."""

ModelName = Annotated[str, StringConstraints(max_length=NAME_LIMIT)]


class ModelCall(Value):
    """What an agent asks of a model."""

    api: ModelApi
    shape: str
    """What kind of call the route is: ``chat``, ``completion``, ``response``, ``message``, ``embedding`` …"""
    name: ModelName = ""
    """Of the model, as the agent names it; empty: it names none (a stored prompt of OpenAI's may)."""
    stream: bool = False
    """Whether the answer is asked for in pieces."""
    tools: tuple[ModelName, ...] = ()
    """Names of the tools it offers, sorted; a tool that has only a type (``web_search``) by its type, a server of
    tools as ``mcp:`` and its name."""
    max_tokens: int | None = Field(default=None, exclude_if=is_absent)
    """Most tokens the answer may have, by any of the names for it; of several the largest."""
    messages: int = 0
    """Messages, or items of an input, it carries."""
    images: bool = False
    files: bool = False
    """Documents and sound, too."""


class ModelUsage(Value):
    """What an answer says it cost, as the provider counts."""

    model: ModelName = ""
    """That answered, as the provider names it."""
    input_tokens: int | None = Field(default=None, exclude_if=is_absent)
    """All of the input, what was read from a cache or written to one included."""
    output_tokens: int | None = Field(default=None, exclude_if=is_absent)
    total_tokens: int | None = Field(default=None, exclude_if=is_absent)
    cached_tokens: int | None = Field(default=None, exclude_if=is_absent)
    """Of the input, read from a cache."""
