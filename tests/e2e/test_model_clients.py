"""Model providers through the gateway, with the clients agents use: nothing changed but address and token."""

import json
import time
from typing import Any

import httpx
import openai
import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from weirgate_testkit.gateway import RunningGateway

EMAIL = "ann.abbot@example.com"


@pytest.fixture
def mark() -> str:
    return f"mark{time.time_ns()}"


def client(gateway: RunningGateway, agent: str = "analyst") -> openai.OpenAI:
    return openai.OpenAI(
        base_url=f"{gateway.http_url('models')}/v1", api_key=gateway.token(agent), max_retries=0
    )


def user(text: str) -> Any:
    return [{"role": "user", "content": text}]


def reached(gateway: RunningGateway, mark: str) -> list[dict[str, Any]]:
    return [line for line in gateway.upstream_lines("models") if mark in line.get("text", "")]


def test_the_openai_sdk_lists_models(gateway: RunningGateway) -> None:
    assert [one.id for one in client(gateway).models.list()] == ["demo-small", "demo-large"]


def test_a_completion_comes_masked_and_the_upstream_sees_its_own_credential(
    gateway: RunningGateway, mark: str
) -> None:
    answer = client(gateway).chat.completions.create(
        model="demo-small", messages=user(f"{mark} write to {EMAIL}")
    )
    said = answer.choices[0].message.content
    assert said is not None
    assert said.startswith(f"You said: {mark} write to ")
    assert EMAIL not in said
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == 4
    (line,) = reached(gateway, mark)
    assert line["credential"] is True


def test_a_value_cut_over_many_deltas_is_masked(gateway: RunningGateway, mark: str) -> None:
    pieces = [
        part.choices[0].delta.content or ""
        for part in client(gateway).chat.completions.create(
            model="demo-small", messages=user(f"{mark} write to {EMAIL} at once"), stream=True
        )
        if part.choices
    ]
    said = "".join(pieces)
    assert said.startswith(f"You said: {mark} write to ")
    assert said.endswith(" at once")
    assert EMAIL not in said
    assert "@" in said
    assert len(pieces) > 5


async def test_the_async_client_streams_a_tool_call(gateway: RunningGateway, mark: str) -> None:
    async with openai.AsyncOpenAI(
        base_url=f"{gateway.http_url('models')}/v1", api_key=gateway.token("analyst"), max_retries=0
    ) as agent:
        function: Any = {"type": "function", "function": {"name": "send", "parameters": {"type": "object"}}}
        stream = await agent.chat.completions.create(
            model="demo-small", messages=user('call send {"to": 7}'), tools=[function], stream=True, user=mark
        )
        arguments = ""
        async for part in stream:
            for call in part.choices[0].delta.tool_calls or () if part.choices else ():
                arguments += (call.function.arguments or "") if call.function else ""
    assert json.loads(arguments) == {"to": 7}


def test_an_agent_without_the_right_is_told_so_by_the_sdk(gateway: RunningGateway, mark: str) -> None:
    with pytest.raises(openai.PermissionDeniedError) as refused:
        client(gateway, "reader").chat.completions.create(model="demo-small", messages=user(mark))
    assert isinstance(refused.value.body, dict)
    assert refused.value.body["code"] == "denied"
    assert not reached(gateway, mark)


def test_anthropic_shaped_messages_are_masked_whole_and_streamed(gateway: RunningGateway, mark: str) -> None:
    # The token where that provider's clients put theirs.
    headers = {"X-Api-Key": gateway.token("analyst"), "anthropic-version": "2023-06-01"}
    asked = {"model": "demo-large", "max_tokens": 100, "messages": user(f"{mark} write to {EMAIL} now")}
    url = f"{gateway.http_url('models')}/v1/messages"
    whole = httpx.post(url, headers=headers, json=asked).json()
    assert whole["content"][0]["text"].startswith(f"You said: {mark} write to ")
    assert EMAIL not in whole["content"][0]["text"]
    said = ""
    with httpx.stream("POST", url, headers=headers, json=asked | {"stream": True}) as answer:
        for line in answer.iter_lines():
            if line.startswith("data: "):
                said += json.loads(line[6:]).get("delta", {}).get("text", "")
    assert said.startswith(f"You said: {mark} write to ")
    assert said.endswith(" now")
    assert EMAIL not in said


def test_a_langchain_agent_uses_model_and_api_by_one_identity(gateway: RunningGateway, mark: str) -> None:
    token = gateway.token("analyst")

    @tool
    def customer(id: int) -> str:
        """Look up a customer."""
        answer = httpx.get(
            f"{gateway.http_url()}/v1/customers/{id}",
            params={"mark": mark},
            headers={"Authorization": f"Bearer {token}"},
        )
        return answer.raise_for_status().text

    model = ChatOpenAI(
        model="demo-small",
        base_url=f"{gateway.http_url('models')}/v1",
        api_key=SecretStr(token),
        max_retries=0,
    )
    agent = create_agent(model, [customer])
    ended = agent.invoke({"messages": user('call customer {"id": 5}')})
    said = str(ended["messages"][-1].content)
    assert said.startswith("The tool said: ")
    assert "jonas.ekberg5@example.com" not in said
    # What the model was sent is what the agent saw: masked.
    assert not [line for line in gateway.upstream_lines("models") if "jonas.ekberg5" in line.get("text", "")]
    assert [line for line in gateway.crm_log() if mark in line["target"]]
    mine = [one for one in gateway.events(last=400) if one["kind"] == "operation.intercepted"]
    assert {one["resource"] for one in mine if one["identity"]["agent"] == "analyst"} >= {"crm", "models"}
