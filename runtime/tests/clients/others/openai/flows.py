"""What OpenAI's own client does over its requests: objects by pydantic's models, whole and streamed, functions, vectors in base64,
and asking without waiting. usage: flows.py BASE_URL"""

import asyncio
import json
import sys

import openai
from checks import CHAT, EMBEDDER, QUESTION, base_url, check, main
from pydantic import BaseModel, Field

SERVER = {"base_url": f"{base_url()}/v1", "api_key": "unused", "max_retries": 0}
CLIENT = openai.OpenAI(**SERVER)
ASKED = {"model": CHAT, "messages": QUESTION, "temperature": 0, "max_tokens": 64}


class Place(BaseModel):
    """A place."""

    city: str = Field(max_length=20)


@check
def openai_parse():
    message = CLIENT.chat.completions.parse(response_format=Place, **ASKED).choices[0].message
    assert isinstance(message.parsed, Place) and message.parsed.city, message


@check
def openai_stream_parsed():
    with CLIENT.chat.completions.stream(response_format=Place, **ASKED) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert {"content.delta", "content.done", "chunk"} <= kinds, kinds
    assert isinstance(final.choices[0].message.parsed, Place), final


@check
def openai_stream_logprobs():
    with CLIENT.chat.completions.stream(logprobs=True, top_logprobs=2, **ASKED) as stream:
        final = stream.get_final_completion()
    told = final.choices[0].logprobs.content
    assert "".join(token.token for token in told) == final.choices[0].message.content
    assert all(len(token.top_logprobs) == 2 for token in told)


@check
def openai_function_parsed_and_answered():
    tool = openai.pydantic_function_tool(Place, name="weather")
    held = {"tools": [tool], "tool_choice": {"type": "function", "function": {"name": "weather"}}}
    message = CLIENT.chat.completions.parse(**held, **ASKED).choices[0].message
    (call,) = message.tool_calls
    assert isinstance(call.function.parsed_arguments, Place), call
    with CLIENT.chat.completions.stream(**held, **ASKED) as stream:
        (streamed,) = stream.get_final_completion().choices[0].message.tool_calls
    assert streamed.function.arguments == call.function.arguments
    # As it came, and with all that the client made of it.
    said = {key: value for key, value in message.model_dump().items() if key != "parsed"}
    for one in said["tool_calls"]:
        del one["function"]["parsed_arguments"]
    told = [*QUESTION, said, {"role": "tool", "tool_call_id": call.id, "content": "It is sunny."}]
    answer = CLIENT.chat.completions.create(**{**ASKED, "messages": told}, tools=[tool], tool_choice="none")
    assert answer.choices[0].message.content, answer


@check
def openai_vectors_alike():
    texts = ["a mayfly", "an insect"]
    # Without a format it asks for base64.
    packed = CLIENT.embeddings.create(model=EMBEDDER, input=texts)
    listed = CLIENT.embeddings.create(model=EMBEDDER, input=texts, encoding_format="float")
    for one, other in zip(packed.data, listed.data, strict=True):
        # 32-bit floats, which are written in decimals here and widened there.
        assert len(one.embedding) == 384
        assert all(abs(a - b) < 1e-7 for a, b in zip(one.embedding, other.embedding, strict=True))


@check
def openai_asynchronous():
    async def ask():
        async with openai.AsyncOpenAI(**SERVER) as client:
            answers = await asyncio.gather(*[client.chat.completions.create(**ASKED) for _ in range(4)])
            whole = [answer.choices[0].message.content for answer in answers]
            stream = await client.chat.completions.create(stream=True, **ASKED)
            return whole, "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    whole, streamed = asyncio.run(ask())
    assert set(whole) == {streamed} and "Paris" in streamed, (whole, streamed)


@check
def openai_raw_answer():
    raw = CLIENT.chat.completions.with_raw_response.create(**ASKED)
    assert raw.status_code == 200 and "Paris" in raw.parse().choices[0].message.content
    assert json.loads(raw.text)["dayfly"]["tokens"]["completion"] > 0


@check
def openai_several_choices():
    answer = CLIENT.completions.create(model=CHAT, prompt=["a", "b"], n=2, best_of=2, max_tokens=2, seed=1)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3], answer


if __name__ == "__main__":
    sys.exit(main())
