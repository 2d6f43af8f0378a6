"""semantic-kernel's services for OpenAI's interface. usage: flows.py BASE_URL"""

import asyncio
import json
import sys

import openai
from checks import CHAT, EMBEDDER, TEXT, base_url, check, main
from pydantic import BaseModel, Field
from semantic_kernel import Kernel
from semantic_kernel.connectors.ai.function_choice_behavior import FunctionChoiceBehavior
from semantic_kernel.connectors.ai.open_ai import (
    OpenAIChatCompletion,
    OpenAIChatPromptExecutionSettings,
    OpenAITextCompletion,
    OpenAITextEmbedding,
    OpenAITextPromptExecutionSettings,
)
from semantic_kernel.contents import ChatHistory
from semantic_kernel.functions import kernel_function


class Place(BaseModel):
    """A place."""

    city: str = Field(max_length=20)


class Weather:
    """Functions of a plugin."""

    @kernel_function(description="Tells the weather of a city.")
    def weather(self, city: str) -> str:
        """Tells the weather."""
        return "It is sunny."


def settings(**more):
    return OpenAIChatPromptExecutionSettings(max_tokens=64, temperature=0, **more)


def history():
    history = ChatHistory(system_message="Be brief.")
    history.add_user_message(TEXT)
    return history


def run(ask):
    """What `ask` makes of a client, which belongs to the loop that it runs in."""

    async def within():
        async with openai.AsyncOpenAI(base_url=f"{base_url()}/v1", api_key="unused", max_retries=0) as client:
            return await ask(client)

    return asyncio.run(within())


def chat(settings, kernel=None):
    async def ask(client):
        return await OpenAIChatCompletion(CHAT, async_client=client).get_chat_message_content(
            history(), settings, kernel=kernel
        )

    return run(ask)


@check
def semantic_chat():
    assert "Paris" in str(chat(settings()))


@check
def semantic_stream():
    async def ask(client):
        service = OpenAIChatCompletion(CHAT, async_client=client)
        return [str(piece) async for piece in service.get_streaming_chat_message_content(history(), settings())]

    pieces = run(ask)
    assert "Paris" in "".join(pieces) and len(pieces) > 2, pieces


@check
def semantic_schema():
    assert list(json.loads(str(chat(settings(response_format=Place))))) == ["city"]


@check
def semantic_functions():
    kernel = Kernel()
    kernel.add_plugin(Weather(), "plugin")
    required = FunctionChoiceBehavior.Required(auto_invoke=False)
    (call, *_) = chat(settings(function_choice_behavior=required), kernel).items
    assert call.function_name == "weather" and list(json.loads(call.arguments)) == ["city"], call


@check
def semantic_text():
    async def ask(client):
        settings = OpenAITextPromptExecutionSettings(max_tokens=1, temperature=0)
        return await OpenAITextCompletion(CHAT, async_client=client).get_text_contents("The capital of France is", settings)

    assert str(run(ask)[0]) == " Paris"


@check
def semantic_embeddings():
    async def ask(client):
        return await OpenAITextEmbedding(EMBEDDER, async_client=client).generate_embeddings(["a mayfly", "an insect"])

    assert run(ask).shape == (2, 384)


if __name__ == "__main__":
    sys.exit(main())
