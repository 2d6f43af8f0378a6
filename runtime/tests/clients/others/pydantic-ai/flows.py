"""pydantic-ai: agents whose answers are texts, calls and objects. usage: flows.py BASE_URL"""

import asyncio
import sys

from checks import CHAT, TEXT, base_url, check, check_each, main
from pydantic import BaseModel, Field
from pydantic_ai import Agent, NativeOutput, ToolOutput
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider


class Place(BaseModel):
    """A place."""

    city: str = Field(max_length=20)


MODEL = OpenAIChatModel(CHAT, provider=OpenAIProvider(base_url=f"{base_url()}/v1", api_key="unused"))
SETTINGS = {"temperature": 0, "max_tokens": 64, "parallel_tool_calls": False}
# By a schema, and by a function that is called with the answer.
OUTPUTS = {"schema": NativeOutput(Place), "function": ToolOutput(Place)}


@check
def pydantic_text():
    answer = Agent(MODEL, instructions="Be brief.").run_sync(TEXT, model_settings=SETTINGS)
    assert "Paris" in answer.output and answer.usage.output_tokens > 0, answer


@check
def pydantic_stream():
    async def ask():
        async with Agent(MODEL).run_stream(TEXT, model_settings=SETTINGS) as answer:
            return [text async for text in answer.stream_text(debounce_by=None)]

    texts = asyncio.run(ask())
    assert len(texts) > 1 and "Paris" in texts[-1], texts


@check_each(OUTPUTS)
def pydantic_output_by(kind):
    place = Agent(MODEL, output_type=OUTPUTS[kind]).run_sync(TEXT, model_settings=SETTINGS).output
    assert isinstance(place, Place) and place.city, place


if __name__ == "__main__":
    sys.exit(main())
