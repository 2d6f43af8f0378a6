"""Asks a running server with the clients that people have: openai, ollama and anthropic, at the versions of requirements.txt.

usage: clients.py BASE_URL

Needs the models smollm2 and minilm. The first is too small to choose a tool with sense, and knows no thinking: calls are forced
where the interface lets them be, and otherwise it is only looked at that what is offered, called and answered goes its way.
Prints a line for what each client did, and exits with 1 if anything failed.
"""

import json
import sys

import anthropic
import ollama
import openai
from checks import CHAT, EMBEDDER, QUESTION, base_url, check, fails, main

BASE = base_url()
openai_client = openai.OpenAI(base_url=f"{BASE}/v1", api_key="unused", max_retries=0)
ollama_client = ollama.Client(host=BASE)
anthropic_client = anthropic.Anthropic(base_url=BASE, api_key="unused", max_retries=0)
# The client no longer has a parameter for it.
GREEDY = {"temperature": 0}
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": ["Rome", "Oslo"]}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER = {"name": "weather", "description": "Tells the weather of a city."}
ASKED = [{"role": "user", "content": "How is the weather in Rome?"}]


def is_kept(arguments):
    """Whether they are valid by the schema."""
    return set(arguments) == {"city"} and arguments["city"] in ("Rome", "Oslo")


@check
def openai_models():
    models = openai_client.models.list().data
    assert any(model.id.startswith("SmolLM2") for model in models), models
    assert openai_client.models.retrieve(CHAT).owned_by == "dayfly"


@check
def openai_chat():
    answer = openai_client.chat.completions.create(model=CHAT, messages=QUESTION, max_tokens=24, temperature=0)
    assert "Paris" in answer.choices[0].message.content, answer
    assert answer.usage.completion_tokens > 0


@check
def openai_chat_streamed():
    options = {"include_usage": True}
    stream = openai_client.chat.completions.create(
        model=CHAT, messages=QUESTION, max_tokens=24, temperature=0, stream=True, stream_options=options
    )
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert "Paris" in text and chunks[-1].usage.total_tokens > 0, text


@check
def openai_completion():
    answer = openai_client.completions.create(
        model=CHAT, prompt="The capital of France is", max_tokens=1, temperature=0, logprobs=2
    )
    assert answer.choices[0].text == " Paris", answer
    assert answer.choices[0].logprobs.tokens == [" Paris"]


@check
def openai_embeddings():
    answer = openai_client.embeddings.create(model=EMBEDDER, input=["a mayfly", "an insect"])
    assert [len(entry.embedding) for entry in answer.data] == [384, 384]


@check
def openai_responses():
    answer = openai_client.responses.create(
        model=CHAT, input=QUESTION[0]["content"], instructions="You are brief.", max_output_tokens=24, temperature=0
    )
    assert "Paris" in answer.output_text and answer.usage.output_tokens > 0, answer
    assert answer.status in ("completed", "incomplete")


@check
def openai_responses_streamed():
    with openai_client.responses.stream(model=CHAT, input=QUESTION, max_output_tokens=64, temperature=0) as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        final = stream.get_final_response()
    assert final.output_text == text and "Paris" in text, text


@check
def openai_responses_function():
    tool = {"type": "function", **WEATHER, "parameters": SCHEMA, "strict": True}
    asked = {"model": CHAT, "tools": [tool], "max_output_tokens": 64, "temperature": 0}
    answer = openai_client.responses.create(input=ASKED, tool_choice="required", parallel_tool_calls=False, **asked)
    call = answer.output[0]
    assert call.type == "function_call" and call.name == "weather" and is_kept(json.loads(call.arguments)), answer
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "Sunny, 21 degrees."}
    again = openai_client.responses.create(input=[*ASKED, call.model_dump(exclude_none=True), result], **asked)
    assert again.usage.input_tokens > answer.usage.input_tokens, again
    with openai_client.responses.stream(input=ASKED, tool_choice={"type": "function", "name": "weather"}, **asked) as stream:
        arguments = "".join(event.delta for event in stream if event.type == "response.function_call_arguments.delta")
        final = stream.get_final_response()
    assert final.output[0].arguments == arguments and is_kept(final.output[0].parsed_arguments), final


@check
def openai_responses_json_schema():
    text = {"format": {"type": "json_schema", "name": "weather", "schema": SCHEMA, "strict": True}}
    answer = openai_client.responses.create(model=CHAT, input=ASKED, text=text, max_output_tokens=64, temperature=0)
    assert is_kept(json.loads(answer.output_text)) and answer.text.format.name == "weather", answer


@check
def openai_errors():
    error = fails(openai.NotFoundError, lambda: openai_client.responses.create(model="none", input="a"))
    assert error.code == "model_not_found", error
    error = fails(openai.BadRequestError, lambda: openai_client.responses.create(model=CHAT, input="a", store=True))
    assert error.param == "store", error


@check
def ollama_chat():
    options = {"temperature": 0, "num_predict": 24}
    answer = ollama_client.chat(model=CHAT, messages=QUESTION, options=options)
    assert "Paris" in answer.message.content and answer.done and answer.eval_duration > 0, answer
    pieces = list(ollama_client.chat(model=CHAT, messages=QUESTION, options=options, stream=True))
    assert "".join(piece.message.content for piece in pieces) == answer.message.content
    assert pieces[-1].prompt_eval_count == answer.prompt_eval_count


@check
def ollama_generate():
    options = ollama.Options(temperature=0, num_predict=1, num_ctx=64)
    answer = ollama_client.generate(model=f"{CHAT}:latest", prompt="The capital of France is", raw=True, options=options)
    assert answer.response == " Paris" and answer.done_reason == "length", answer


@check
def ollama_format():
    options = {"temperature": 0, "num_predict": 64}
    answer = ollama_client.chat(model=CHAT, messages=ASKED, format=SCHEMA, options=options)
    assert is_kept(json.loads(answer.message.content)), answer
    pieces = ollama_client.generate(model=CHAT, prompt=ASKED[0]["content"], format=SCHEMA, options=options, stream=True)
    assert is_kept(json.loads("".join(piece.response for piece in pieces)))


@check
def ollama_tools():
    options = {"temperature": 0, "num_predict": 24}
    tool = {"type": "function", "function": {**WEATHER, "parameters": SCHEMA}}
    plain = ollama_client.chat(model=CHAT, messages=ASKED, options=options)
    answer = ollama_client.chat(model=CHAT, messages=ASKED, tools=[tool], options=options)
    assert answer.prompt_eval_count > plain.prompt_eval_count, answer
    call = ollama.Message.ToolCall.Function(name="weather", arguments={"city": "Rome"})
    called = ollama.Message(role="assistant", tool_calls=[ollama.Message.ToolCall(function=call)])
    result = ollama.Message(role="tool", content="Sunny, 21 degrees.", tool_name="weather")
    messages = [ollama.Message(**ASKED[0]), called, result]
    pieces = list(ollama_client.chat(model=CHAT, messages=messages, tools=[tool], options=options, stream=True))
    assert pieces[-1].done and pieces[-1].prompt_eval_count > answer.prompt_eval_count, pieces[-1]


@check
def ollama_think():
    answer = ollama_client.chat(model=CHAT, messages=QUESTION, think=False, options={"num_predict": 1})
    assert answer.done and answer.message.thinking is None, answer
    error = fails(ollama.ResponseError, lambda: ollama_client.chat(model=CHAT, messages=QUESTION, think=True))
    assert error.status_code == 400 and "think" in error.error, error


@check
def ollama_embed():
    answer = ollama_client.embed(model=EMBEDDER, input=["a mayfly", "an insect"])
    assert [len(row) for row in answer.embeddings] == [384, 384]
    assert len(ollama_client.embeddings(model=EMBEDDER, prompt="a mayfly").embedding) == 384


@check
def ollama_models():
    listed = ollama_client.list().models
    smollm2 = next(model for model in listed if model.model.startswith("SmolLM2"))
    assert smollm2.details.quantization_level == "Q4_1" and smollm2.details.parameter_size == "134.5M", smollm2
    shown = ollama_client.show(CHAT)
    assert shown.capabilities == ["completion"] and shown.modelinfo["general.architecture"] == "llama"
    assert any(model.name.startswith("SmolLM2") for model in ollama_client.ps().models)


@check
def ollama_pull():
    told = list(ollama_client.pull(CHAT, stream=True))
    assert told[-1].status == "success", told


@check
def ollama_unload():
    ollama_client.generate(model=CHAT, keep_alive=0)
    assert not any(model.name.startswith("SmolLM2") for model in ollama_client.ps().models)


@check
def ollama_errors():
    error = fails(ollama.ResponseError, lambda: ollama_client.chat(model="none", messages=QUESTION))
    assert error.status_code == 404 and "none" in error.error, error


@check
def anthropic_message():
    answer = anthropic_client.messages.create(model=CHAT, max_tokens=24, messages=QUESTION, extra_body=GREEDY)
    assert "Paris" in answer.content[0].text and answer.usage.output_tokens > 0, answer
    assert answer.stop_reason in ("end_turn", "max_tokens")


@check
def anthropic_stream():
    with anthropic_client.messages.stream(
        model=CHAT, max_tokens=24, messages=QUESTION, system="You are brief.", stop_sequences=["Paris"], extra_body=GREEDY
    ) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert final.stop_reason == "stop_sequence" and final.stop_sequence == "Paris", final
    assert final.content[0].text == text and "Paris" not in text


TOOL = {**WEATHER, "input_schema": SCHEMA}


@check
def anthropic_tools():
    choice = {"type": "any", "disable_parallel_tool_use": True}
    asked = {"model": CHAT, "max_tokens": 64, "tools": [TOOL], "extra_body": GREEDY}
    answer = anthropic_client.messages.create(messages=ASKED, tool_choice=choice, **asked)
    used = answer.content[0]
    assert answer.stop_reason == "tool_use" and used.type == "tool_use" and is_kept(used.input), answer
    result = {"type": "tool_result", "tool_use_id": used.id, "content": "Sunny, 21 degrees."}
    messages = [*ASKED, {"role": "assistant", "content": answer.content}, {"role": "user", "content": [result]}]
    again = anthropic_client.messages.create(messages=messages, **asked)
    tokens = lambda message: message.usage.input_tokens + message.usage.cache_read_input_tokens
    assert tokens(again) > tokens(answer), again
    count = anthropic_client.messages.count_tokens(model=CHAT, messages=messages, tools=[TOOL]).input_tokens
    assert again.usage.input_tokens + again.usage.cache_read_input_tokens == count, (again.usage, count)


@check
def anthropic_tools_streamed():
    choice = {"type": "tool", "name": "weather"}
    with anthropic_client.messages.stream(
        model=CHAT, max_tokens=64, messages=ASKED, tools=[TOOL], tool_choice=choice, extra_body=GREEDY
    ) as stream:
        pieces = [event.partial_json for event in stream if event.type == "input_json"]
        final = stream.get_final_message()
    assert final.stop_reason == "tool_use" and is_kept(final.content[0].input), final
    assert json.loads("".join(pieces)) == final.content[0].input, pieces


@check
def anthropic_format_and_thinking():
    config = {"format": {"type": "json_schema", "schema": SCHEMA}}
    answer = anthropic_client.messages.create(
        model=CHAT, max_tokens=64, messages=ASKED, output_config=config, extra_body=GREEDY
    )
    assert is_kept(json.loads(answer.content[0].text)), answer
    def think():
        thinking = {"type": "enabled", "budget_tokens": 1024}
        return anthropic_client.messages.create(model=CHAT, max_tokens=1100, messages=QUESTION, thinking=thinking)
    assert "thinking" in str(fails(anthropic.BadRequestError, think))


@check
def anthropic_count():
    count = anthropic_client.messages.count_tokens(model=CHAT, messages=QUESTION).input_tokens
    answer = anthropic_client.messages.create(model=CHAT, max_tokens=1, messages=QUESTION)
    assert answer.usage.input_tokens + answer.usage.cache_read_input_tokens == count


@check
def anthropic_models_and_errors():
    assert any(model.id.startswith("SmolLM2") for model in anthropic_client.models.list())
    def ask():
        return anthropic_client.messages.create(model="none", max_tokens=1, messages=QUESTION)
    assert "none" in str(fails(anthropic.NotFoundError, ask))


if __name__ == "__main__":
    sys.exit(main())
