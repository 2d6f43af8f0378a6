"""LangChain's own integration tests of chat models and of embeddings, through its packages for OpenAI's, Ollama's and Anthropic's
interfaces, and an agent of LangGraph's. usage: flows.py BASE_URL

What is expected to fail, and says why, is what SmolLM2 is too small for, or what a package itself does not do.
"""

import os
import sys
from pathlib import Path

import pytest

if __name__ == "__main__":
    os.environ["DAYFLY_URL"] = sys.argv[1].rstrip("/")
    # Its clients outlive a test, and so has the loop to that they belong to.
    loops = [f"--override-ini=asyncio_default_{of}_loop_scope=session" for of in ("test", "fixture")]
    sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "--asyncio-mode=auto", *loops, "-W", "ignore", __file__]))

from langchain_anthropic import ChatAnthropic
from langchain_core.tools import tool
from langchain_ollama import ChatOllama, OllamaEmbeddings
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from langchain_tests.integration_tests import ChatModelIntegrationTests, EmbeddingsIntegrationTests
from langgraph.prebuilt import create_react_agent

BASE = os.environ["DAYFLY_URL"]
CHAT, EMBEDDER = "smollm2", "minilm"
# Another name of the same model.
OVERRIDE = "SmolLM2-135M-Instruct.Q4_1"
NEVER_CALLS = "a function is called where the model chooses to, and this one does not"


def declared(reason):
    """A test that fails through no fault of the server's."""
    return pytest.mark.xfail(reason=reason, strict=True)


class ChatTests(ChatModelIntegrationTests):
    """What is said of the model by whatever interface."""

    has_tool_calling = True
    has_tool_choice = True
    has_structured_output = True
    structured_output_kwargs = {"method": "json_schema"}
    # In this mode the model only reads of the schema that it is to follow.
    supports_json_mode = False
    supports_anthropic_inputs = True
    supports_image_inputs = False
    model_override_value = OVERRIDE

    @property
    def supported_usage_metadata_details(self):
        """What of the usage is told apart."""
        return {"invoke": ["cache_read_input"], "stream": ["cache_read_input"]}

    def invoke_with_cache_read_input(self, *, stream=False):
        """A prompt that was computed before."""
        model = self.chat_model_class(**self.chat_model_params)
        long = "Repeat after me: " + "the mayfly lives for a day. " * 20
        model.invoke(long)
        answer = model.invoke(long)
        if stream:
            pieces = list(model.stream(long))
            answer = pieces[0]
            for piece in pieces[1:]:
                answer = answer + piece
        assert answer.usage_metadata["input_token_details"]["cache_read"] >= 64, answer.usage_metadata
        return answer

    @declared(NEVER_CALLS)
    def test_agent_loop(self, model):
        super().test_agent_loop(model)


class TestChatOpenAI(ChatTests):
    """By `/v1/chat/completions`."""

    chat_model_class = ChatOpenAI
    chat_model_params = {
        "model": CHAT,
        "base_url": f"{BASE}/v1",
        "api_key": "unused",
        "temperature": 0,
        "max_tokens": 200,
        "max_retries": 0,
        # Which it leaves out where the address is not OpenAI's.
        "stream_usage": True,
        # The tests expect one call where several would be allowed; the model goes on calling.
        "model_kwargs": {"parallel_tool_calls": False},
    }
    # Without the penalty it says one thing again and again, within the schema, until its answer is cut.
    structured_output_kwargs = {"method": "json_schema", "frequency_penalty": 1}


class TestChatResponses(ChatTests):
    """By `/v1/responses`."""

    chat_model_class = ChatOpenAI
    chat_model_params = {
        "model": CHAT,
        "base_url": f"{BASE}/v1",
        "api_key": "unused",
        "temperature": 0,
        "max_tokens": 200,
        "max_retries": 0,
        "use_responses_api": True,
        "model_kwargs": {"parallel_tool_calls": False},
    }

    @declared("it says one thing again and again until its answer is cut, and this interface has no penalty")
    def test_structured_output_optional_param(self, model):
        super().test_structured_output_optional_param(model)


class TestChatOllama(ChatTests):
    """By Ollama's `/api/chat`, where a call cannot be asked for."""

    chat_model_class = ChatOllama
    chat_model_params = {
        "model": CHAT,
        "base_url": BASE,
        "temperature": 0,
        "num_predict": 200,
        "repeat_penalty": 1.1,
    }
    has_tool_choice = False
    # Its package refuses thoughts in that form.
    supports_anthropic_inputs = False
    # What was found computed is not told there.
    supported_usage_metadata_details = {"invoke": [], "stream": []}

    @declared(NEVER_CALLS)
    def test_tool_calling(self, model):
        super().test_tool_calling(model)

    @declared(NEVER_CALLS)
    async def test_tool_calling_async(self, model):
        await super().test_tool_calling_async(model)

    @declared(NEVER_CALLS)
    def test_bind_runnables_as_tools(self, model):
        super().test_bind_runnables_as_tools(model)

    @declared(NEVER_CALLS)
    def test_tool_calling_with_no_arguments(self, model):
        super().test_tool_calling_with_no_arguments(model)

    @declared(NEVER_CALLS)
    def test_unicode_tool_call_integration(self, model):
        super().test_unicode_tool_call_integration(model)


class OneCall(ChatAnthropic):
    """Its class has no field for what the tests leave open: the model goes on calling where it may."""

    def bind_tools(self, tools, **more):
        """Offers them for one call."""
        return super().bind_tools(tools, parallel_tool_calls=False, **more)


class TestChatAnthropic(ChatTests):
    """By Anthropic's `/v1/messages`."""

    chat_model_class = OneCall
    chat_model_params = {
        "model": CHAT,
        "base_url": BASE,
        "api_key": "unused",
        "temperature": 0,
        "max_tokens": 200,
        "max_retries": 0,
    }

    @declared("its package makes no schema of a model of pydantic 1")
    def test_structured_output_pydantic_2_v1(self, model):
        super().test_structured_output_pydantic_2_v1(model)


@pytest.mark.parametrize("name", [CHAT, f"{CHAT}:latest", OVERRIDE])
def test_ollama_finds_every_name(name):
    """It looks for the name among those that are listed."""
    ChatOllama(model=name, base_url=BASE, validate_model_on_init=True)


@tool
def weather(city: str) -> str:
    """Tells the weather of a city."""
    return f"It is sunny in {city}."


@pytest.mark.parametrize("use_responses_api", [False, True])
def test_langgraph_agent(use_responses_api):
    """An agent that calls a function, and then answers."""
    settings = TestChatResponses.chat_model_params if use_responses_api else TestChatOpenAI.chat_model_params
    model = ChatOpenAI(**settings)

    def choose(state, _runtime):
        # This model calls nothing of its own accord.
        is_first = len(state["messages"]) == 1
        return model.bind_tools([weather], tool_choice="required" if is_first else "none")

    agent = create_react_agent(choose, [weather])
    asked = {"messages": [("user", "How is the weather in Oslo?")]}
    kinds = [message.type for message in agent.invoke(asked)["messages"]]
    assert kinds == ["human", "ai", "tool", "ai"]
    streamed = list(agent.stream(asked, stream_mode="messages"))
    assert {where["langgraph_node"] for _, where in streamed} == {"agent", "tools"}
    assert "".join(piece.text for piece, _ in streamed if piece.type == "AIMessageChunk")


class TestOpenAIEmbeddings(EmbeddingsIntegrationTests):
    """By `/v1/embeddings`."""

    embeddings_class = OpenAIEmbeddings
    embedding_model_params = {
        "model": EMBEDDER,
        "base_url": f"{BASE}/v1",
        "api_key": "unused",
        # It would send ids of OpenAI's tokens instead of texts.
        "check_embedding_ctx_length": False,
    }


class TestOllamaEmbeddings(EmbeddingsIntegrationTests):
    """By Ollama's `/api/embed`."""

    embeddings_class = OllamaEmbeddings
    embedding_model_params = {"model": EMBEDDER, "base_url": BASE}
