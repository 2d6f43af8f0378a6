"""OpenAI's agents, by either of its interfaces: answers, objects, functions, one agent handing over to another, and streams of
all that. usage: flows.py BASE_URL"""

import asyncio
import sys

import agents
from agents import Agent, ModelSettings, Runner
from checks import CHAT, TEXT, base_url, check_each, main
from openai import AsyncOpenAI
from openai.types.shared import Reasoning
from pydantic import BaseModel, Field

agents.set_tracing_disabled(True)
CLIENT = AsyncOpenAI(base_url=f"{base_url()}/v1", api_key="unused", max_retries=0)
MODELS = {
    "chat": agents.OpenAIChatCompletionsModel(model=CHAT, openai_client=CLIENT),
    "responses": agents.OpenAIResponsesModel(model=CHAT, openai_client=CLIENT),
}
# Its connections are of one event loop.
LOOP = asyncio.Runner()


class Place(BaseModel):
    """A place."""

    city: str = Field(max_length=20)


@agents.function_tool
def weather(city: str) -> str:
    """Tells the weather of a city."""
    return f"It is sunny in {city}."


def agent(interface, settings=None, **more):
    """One that speaks by this interface."""
    drawn = ModelSettings(max_tokens=64, temperature=0).resolve(settings)
    return Agent(name="agent", model=MODELS[interface], model_settings=drawn, **more)


def run(asked, text=TEXT, **more):
    """What it says in the end."""
    return LOOP.run(Runner.run(asked, text, **more))


@check_each(MODELS)
def agents_answer(interface):
    ended = run(agent(interface))
    assert "Paris" in ended.final_output and ended.context_wrapper.usage.output_tokens > 0, ended


@check_each(MODELS)
def agents_object(interface):
    assert isinstance(run(agent(interface, output_type=Place)).final_output, Place)


@check_each(MODELS)
def agents_function_called_and_told(interface):
    forced = ModelSettings(tool_choice="weather", parallel_tool_calls=False)
    ended = run(agent(interface, forced, tools=[weather], tool_use_behavior="stop_on_first_tool"))
    assert ended.final_output.startswith("It is sunny in "), ended
    # What it says of that is the model's own affair; that it is asked again is not.
    items = [item.type for item in run(agent(interface, forced, tools=[weather])).new_items]
    assert items[:2] == ["tool_call_item", "tool_call_output_item"] and "message_output_item" in items, items


@check_each(MODELS)
def agents_hand_over(interface):
    other = agent(interface).clone(name="other", handoff_description="Knows capitals.")
    forced = ModelSettings(tool_choice="transfer_to_other", parallel_tool_calls=False)
    ended = run(agent(interface, forced, handoffs=[other]), max_turns=2)
    assert ended.last_agent.name == "other", ended


@check_each(MODELS)
def agents_stream(interface):
    async def streamed():
        ended = Runner.run_streamed(agent(interface, ModelSettings(include_usage=True)), TEXT)
        text = [event.data.delta async for event in ended.stream_events() if is_text(event)]
        assert "".join(text) == ended.final_output, text
        assert ended.context_wrapper.usage.output_tokens > 0

    def is_text(event):
        return event.type == "raw_response_event" and event.data.type == "response.output_text.delta"

    LOOP.run(streamed())


@check_each(MODELS)
def agents_settings(interface):
    reasoning = Reasoning(effort="none", summary="auto" if interface == "responses" else None)
    said = ModelSettings(reasoning=reasoning, metadata={"a": "b"}, store=False, top_p=0.9, prompt_cache_retention="24h")
    assert run(agent(interface, said)).final_output


if __name__ == "__main__":
    sys.exit(main())
