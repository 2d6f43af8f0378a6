"""litellm, by each of its providers that speaks to a server such as this one. usage: flows.py BASE_URL"""

import json
import os
import sys

from checks import CHAT, EMBEDDER, QUESTION, base_url, check, check_each, fails, main

# It would look for prices elsewhere.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
import litellm
import openai

BASE = base_url()
V1 = f"{BASE}/v1"
# By OpenAI's interface; the others have it below the root.
OPENAI = ["openai", "hosted_vllm", "lm_studio", "llamafile", "openai/responses"]
NATIVE = ["ollama_chat", "ollama", "anthropic"]
# Of these, those whose formats and functions are tried here; Ollama's are by clients.py, since litellm offers it no forced choice.
HELD = ["openai", "hosted_vllm", "lm_studio", "llamafile", "openai/responses", "anthropic"]
SCHEMA = {
    "type": "object",
    "required": ["city"],
    "additionalProperties": False,
    "properties": {"city": {"type": "string", "maxLength": 20}},
}
TOOL = {"type": "function", "function": {"name": "weather", "description": "Tells the weather.", "parameters": SCHEMA}}


def asked(provider, **more):
    """What a completion by this provider is called with."""
    base = BASE if provider in NATIVE else V1
    asked = {"model": f"{provider}/{CHAT}", "messages": QUESTION, "api_base": base, "api_key": "unused"}
    return {**asked, "max_tokens": 64, "temperature": 0, "num_retries": 0, **more}


@check_each(OPENAI + NATIVE)
def litellm_completion(provider):
    answer = litellm.completion(**asked(provider))
    assert "Paris" in answer.choices[0].message.content and answer.usage.completion_tokens > 0, answer
    assert answer.choices[0].finish_reason == "stop"


@check_each(OPENAI + NATIVE)
def litellm_stream(provider):
    chunks = list(litellm.completion(**asked(provider, stream=True, stream_options={"include_usage": True})))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert "Paris" in text and chunks[-1].usage.total_tokens > 0, text


@check_each(HELD)
def litellm_schema(provider):
    held = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}
    answer = litellm.completion(**asked(provider, response_format=held))
    assert list(json.loads(answer.choices[0].message.content)) == ["city"], answer


@check_each(HELD)
def litellm_tools(provider):
    called = litellm.completion(**asked(provider, tools=[TOOL], tool_choice="required", parallel_tool_calls=False))
    message = called.choices[0].message
    (call,) = message.tool_calls
    assert call.function.name == "weather" and list(json.loads(call.function.arguments)) == ["city"], call
    told = [*QUESTION, message, {"role": "tool", "tool_call_id": call.id, "content": "It is sunny."}]
    assert litellm.completion(**asked(provider, messages=told, tools=[TOOL], max_tokens=8)).usage.prompt_tokens > 0


@check
def litellm_text_completion():
    asked = {"model": f"text-completion-openai/{CHAT}", "api_base": V1, "api_key": "unused"}
    answer = litellm.text_completion(prompt="The capital of France is", max_tokens=1, temperature=0, **asked)
    assert answer.choices[0].text == " Paris", answer


@check_each(["openai", "hosted_vllm", "ollama"])
def litellm_embedding(provider):
    base = BASE if provider in NATIVE else V1
    asked = {"model": f"{provider}/{EMBEDDER}", "api_base": base, "api_key": "unused"}
    answer = litellm.embedding(input=["a mayfly", "an insect"], **asked)
    assert [len(entry["embedding"]) for entry in answer.data] == [384, 384]


@check_each(["openai", "ollama_chat", "anthropic"])
def litellm_refusal(provider):
    asked_of_none = {**asked(provider), "model": f"{provider}/none"}
    error = fails(openai.APIError, lambda: litellm.completion(**asked_of_none))
    assert "none" in str(error), error


if __name__ == "__main__":
    sys.exit(main())
