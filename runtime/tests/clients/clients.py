"""Asks a running server with the clients that people have: openai, ollama and anthropic, at the versions of requirements.txt.

usage: clients.py BASE_URL

Needs the models smollm2 and minilm. Prints a line for what each client did, and exits with 1 if anything failed.
"""

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
