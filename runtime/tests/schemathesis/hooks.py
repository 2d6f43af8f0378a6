"""What schemathesis sends, made cheap; and what the server describes of its answers, made strict.

Generated bodies name models that there are not and ask for as many tokens as a context holds. Here what is valid and costly is
replaced by what is valid and cheap, after it was generated: what is not valid stays as it is, and has to be refused.
"""

import json
import re

import schemathesis
from schemathesis.core.parameters import ParameterLocation

SIZE = re.compile(r"^\s*[0-9]+(\.[0-9]*)?\s*([kKmMgGtT]([iI]?[bB])?|[bB])?\s*$")
TOKENS = 4
TOKENS_MAX = 2**32 - 1
CHOICES_MAX = 128
MODELS = {
    "createEmbedding": "minilm",
    "ollamaEmbed": "minilm",
    "ollamaEmbeddings": "minilm",
    **dict.fromkeys(["rerank", "rerankOfVersion2", "rerankWithoutVersion", "reranking", "rerankingWithoutVersion"], "minilm"),
    **dict.fromkeys(["score", "scoreWithoutVersion"], "minilm"),
    "ollamaDelete": "scratch",
}
# By which name a route bounds an answer's tokens.
BOUNDS = {
    "createChatCompletion": ["max_tokens", "max_completion_tokens"],
    "createCompletion": ["max_tokens"],
    "createResponse": ["max_output_tokens"],
    "createMessage": ["max_tokens"],
    "llamaCppCompletion": ["n_predict", "max_tokens"],
    "llamaCppCompletions": ["n_predict", "max_tokens"],
}
# Where it must be said anyway: to add it would mend what is meant to be wrong.
SAID = {"createMessage"}


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """Of answers nothing is expected but what is described."""
    for item in raw_schema["paths"].values():
        for operation in item.values():
            for response in operation["responses"].values():
                for content in response.get("content", {}).values():
                    close(content.get("schema"))
    # Parts of an `allOf` are each about some of the members.
    parts = set()
    find_parts(raw_schema["components"]["schemas"], parts)
    asked = parts | {"AnthropicBlock", "AnthropicUserBlock", "AnthropicAssistantBlock", "ResponseInputPart", "JsonSchema", "ChatMessage", "ContentPart", "KeepAlive", "Prompt", "ResponseFormat", "Tool", "ToolCall"}
    for name, schema in raw_schema["components"]["schemas"].items():
        if name not in asked:
            close(schema)
    for response in raw_schema["components"]["responses"].values():
        for content in response.get("content", {}).values():
            close(content.get("schema"))


def members(case):
    """The names that a body may have."""
    schema = case.operation.definition.raw["requestBody"]["content"]["application/json"]["schema"]
    return {name for form in [schema, *schema.get("anyOf", [])] for name in form.get("properties", {})}


def find_parts(schema, parts, is_part=False):
    if isinstance(schema, list):
        for one in schema:
            find_parts(one, parts, is_part)
    elif isinstance(schema, dict):
        if is_part and "$ref" in schema:
            parts.add(schema["$ref"].rsplit("/", 1)[1])
        for name, inner in schema.items():
            find_parts(inner, parts, is_part or name == "allOf")


def close(schema, is_part=False):
    if isinstance(schema, list):
        for one in schema:
            close(one)
    if not isinstance(schema, dict):
        return
    if "properties" in schema and not is_part:
        schema.setdefault("additionalProperties", False)
    for name, inner in schema.items():
        if name == "properties":
            for one in inner.values():
                close(one)
        elif name == "allOf":
            for one in inner:
                close(one, is_part=True)
        elif isinstance(inner, (dict, list)):
            close(inner)


@schemathesis.hook
def before_call(context, case, kwargs):
    operation = case.operation.definition.raw.get("operationId")
    # Whoever has no time gets 504, which is right and shows nothing.
    wait = (case.headers or {}).get("x-request-timeout")
    if wait is not None and is_short(wait):
        case.headers["x-request-timeout"] = "30"
    body = case.body
    if not isinstance(body, dict):
        return
    # `null` is as good as absent, also where nothing is known of the name.
    for name in [name for name, value in body.items() if value is None and name not in members(case)]:
        body[name] = 0
    of_body = case.meta and case.meta.components.get(ParameterLocation.BODY)
    if of_body is None or of_body.mode.is_positive:
        mend(operation, body)
    for name in ["model", "name"] if operation.startswith("ollama") else ["model"]:
        if isinstance(body.get(name), str) and body[name]:
            # Some ask for what there is not.
            body[name] = MODELS.get(operation, "smollm2") if len(body[name]) % 8 or operation == "ollamaPull" else "nothing"
    # Whoever has no memory for a model gets 503.
    budget = body.get("memory_budget")
    if is_whole(budget) and budget >= 1 << 20:
        body["memory_budget"] = 2 << 30
    elif isinstance(budget, str) and SIZE.match(budget):
        body["memory_budget"] = "2GiB"
    if is_short(body.get("timeout")):
        body["timeout"] = 30
    for name in ["n", "n_cmpl"]:
        clamp(body, name, 2, CHOICES_MAX)
    bounds = BOUNDS.get(operation, [])
    for name in bounds:
        clamp(body, name, TOKENS)
        if body.get(name) == -1 and operation.startswith("llamaCpp"):
            body[name] = TOKENS
    if bounds and operation not in SAID and all(body.get(name) is None for name in bounds):
        body[bounds[0]] = TOKENS
    if operation in ("ollamaGenerate", "ollamaChat"):
        options = body.setdefault("options", {})
        if options is None:
            options = body["options"] = {}
        if isinstance(options, dict):
            clamp(options, "num_predict", TOKENS)
            if options.get("num_predict") is None or options["num_predict"] in (0, -1, -2):
                options["num_predict"] = TOKENS


CONSTRAINTS = "response_format grammar regex structured_outputs json_schema guided_json guided_regex guided_choice".split()
BIASES = ["logit_bias", "repeat_penalty", "repeat_last_n"]


def mend(operation, body):
    """Takes out of a body what contradicts something else in it: what hangs together is described in words alone."""

    def drop(names):
        for name in names:
            body.pop(name, None)

    for name in {"prompt", "input", "tokens"} & body.keys():
        body[name] = of_a_vocabulary(body[name])
    # What they mean depends on the model, and has tests of its own.
    drop(CONSTRAINTS + BIASES + ["context", "cache", "chat_template_kwargs", "reasoning_effort", "dimensions"])
    drop(["name"] if operation.startswith("ollama") else [])
    drop(["continue_final_message", "stop_token_ids"])
    drop(["tool_choice", "best_of", "samplers", "json_schema", "format", "think", "thinking", "reasoning"])
    drop([] if operation == "publishContext" else ["text"])
    drop(["output_config", "output_format"])
    if isinstance(body.get("keep_alive"), str):
        body["keep_alive"] = "5m"
    if body.get("service_tier") == "priority":
        body["service_tier"] = "flex"
    if body.get("logprobs") is not True and operation in ("createChatCompletion", "ollamaGenerate", "ollamaChat"):
        drop(["top_logprobs"])
    if body.get("stream") is not True and operation in ("createChatCompletion", "createCompletion"):
        drop(["stream_options"])
    for one, other in [("max_completion_tokens", "max_tokens"), ("n_predict", "max_tokens"), ("n_cmpl", "n")]:
        if one in body:
            drop([other])
    for name in ["max_tokens", "n_predict"]:
        if body.get(name) == 0:
            body[name] = TOKENS
    if is_whole(body.get("min_tokens")):
        body["min_tokens"] = min(body["min_tokens"], 1)
    options = body.get("stream_options")
    if isinstance(options, dict) and body.get("echo"):
        options.pop("continuous_usage_stats", None)
    for name in ["text_1", "text_2"]:
        if isinstance(body.get(name), list):
            body[name] = body[name][:1]
    if operation == "ollamaGenerate" and body.get("raw"):
        drop(["system"])
    if operation == "publishContext" and body.get("text") is not None:
        drop(["messages"])
    if isinstance(body.get("options"), dict):
        for name in BIASES:
            body["options"].pop(name, None)
    if operation in ("createMessage", "countMessageTokens"):
        body["messages"].append({"role": "user", "content": "so?"})
    # So many calls in a row are refused.
    if operation in ("createResponse", "countResponseTokens") and isinstance(body.get("input"), list):
        body["input"] = body["input"][:100]
    offered = {}
    for tool in body.get("tools") or []:
        if isinstance(tool.get("tools"), list):
            tool["tools"] = list({one["name"]: one for one in tool["tools"]}.values())
        offered.setdefault((tool.get("function") or tool)["name"], tool)
    if offered:
        body["tools"] = list(within_a_context(offered.values()))


def within_a_context(tools, letters=3000):
    """As many as have room in a prompt, each letter of which may be a token."""
    for tool in tools:
        letters -= len(json.dumps(tool))
        if letters < 0:
            return
        yield tool


def of_a_vocabulary(value):
    """Ids that there are; and of nothing some models make no token, and what is long is costly."""
    if isinstance(value, list):
        return [of_a_vocabulary(one) for one in value]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value % 1000
    return (value[:1000] or "so?") if isinstance(value, str) else value


def is_short(seconds):
    try:
        return not isinstance(seconds, bool) and 1e-9 <= float(seconds) < 30
    except (TypeError, ValueError):
        return False


def clamp(body, name, most, most_valid=TOKENS_MAX):
    """Bounds what is valid and costly."""
    value = body.get(name)
    if is_whole(value) and most < value <= most_valid:
        body[name] = most


def is_whole(value):
    """In JSON 4.0 is as whole as 4."""
    return isinstance(value, int) and not isinstance(value, bool) or isinstance(value, float) and value.is_integer()
