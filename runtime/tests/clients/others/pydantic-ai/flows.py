"""pydantic-ai: agents whose answers are texts, calls and objects. usage: flows.py BASE_URL"""

import asyncio
import sys

from checks import CHAT, TEXT, base_url, check, check_each, main
from openai import AsyncOpenAI
from pydantic import BaseModel, Field
from pydantic_ai import Agent, NativeOutput, ToolOutput
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider


class Place(BaseModel):
    """A place."""

    city: str = Field(max_length=20)


SETTINGS = {"temperature": 0, "max_tokens": 64, "parallel_tool_calls": False}
# By a schema, and by a function that is called with the answer.
OUTPUTS = {"schema": NativeOutput(Place), "function": ToolOutput(Place)}


def run(ask, **more):
    """What `ask` makes of an agent, whose client belongs to the loop that it runs in."""

    async def within():
        async with AsyncOpenAI(base_url=f"{base_url()}/v1", api_key="unused", max_retries=0) as client:
            model = OpenAIChatModel(CHAT, provider=OpenAIProvider(openai_client=client))
            return await ask(Agent(model, model_settings=SETTINGS, **more))

    return asyncio.run(within())


@check
def pydantic_text():
    answer = run(lambda agent: agent.run(TEXT), instructions="Be brief.")
    assert "Paris" in answer.output and answer.usage.output_tokens > 0, answer


@check
def pydantic_stream():
    async def ask(agent):
        async with agent.run_stream(TEXT) as answer:
            return [text async for text in answer.stream_text(debounce_by=None)]

    texts = run(ask)
    assert len(texts) > 1 and "Paris" in texts[-1], texts


@check_each(OUTPUTS)
def pydantic_output_by(kind):
    place = run(lambda agent: agent.run(TEXT), output_type=OUTPUTS[kind]).output
    assert isinstance(place, Place) and place.city, place


if __name__ == "__main__":
    sys.exit(main())
