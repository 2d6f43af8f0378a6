"""haystack's generator of chats, with functions and schemas, and its embedders. usage: flows.py BASE_URL"""

import json
import os
import sys

from checks import CHAT, EMBEDDER, TEXT, base_url, check, check_each, main

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"
from haystack import Document
from haystack.components.embedders import OpenAIDocumentEmbedder, OpenAITextEmbedder
from haystack.components.generators.chat import OpenAIChatGenerator
from haystack.dataclasses import ChatMessage
from haystack.tools import Tool
from haystack.utils import Secret
from pydantic import BaseModel, Field

SERVER = {"api_base_url": f"{base_url()}/v1", "api_key": Secret.from_token("unused"), "max_retries": 0}
WEATHER = Tool(
    name="weather",
    description="Tells the weather.",
    parameters={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    function=lambda city: "sunny",
)


class Place(BaseModel):
    """A place."""

    city: str = Field(max_length=20)


def ask(settings=None, **more):
    """The answer."""
    settings = {"temperature": 0, "max_tokens": 64, **(settings or {})}
    generator = OpenAIChatGenerator(model=CHAT, generation_kwargs=settings, **SERVER, **more)
    return generator.run([ChatMessage.from_user(TEXT)])["replies"][0]


@check
def haystack_chat():
    assert "Paris" in ask().text


@check
def haystack_stream():
    pieces = []
    answer = ask(streaming_callback=lambda chunk: pieces.append(chunk.content))
    assert "Paris" in answer.text and "".join(pieces) == answer.text and len(pieces) > 2, pieces


@check_each([False, True])
def haystack_tools_strict(strict):
    answer = ask({"tool_choice": "required", "parallel_tool_calls": False}, tools=[WEATHER], tools_strict=strict)
    (call,) = answer.tool_calls
    assert call.tool_name == "weather" and list(call.arguments) == ["city"], call


@check
def haystack_schema():
    assert list(json.loads(ask({"response_format": Place}).text)) == ["city"]


@check
def haystack_embeddings():
    assert len(OpenAITextEmbedder(model=EMBEDDER, **SERVER).run("a mayfly")["embedding"]) == 384
    documents = [Document(content="a mayfly"), Document(content="an insect")]
    embedded = OpenAIDocumentEmbedder(model=EMBEDDER, **SERVER).run(documents)["documents"]
    assert [len(document.embedding) for document in embedded] == [384, 384]


if __name__ == "__main__":
    sys.exit(main())
