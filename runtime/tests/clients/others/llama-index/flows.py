"""llama-index's OpenAILike and its embeddings. usage: flows.py BASE_URL"""

import sys

from checks import CHAT, EMBEDDER, TEXT, base_url, check, main
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel, Field

SERVER = {"api_base": f"{base_url()}/v1", "api_key": "unused", "max_retries": 0}


class Place(BaseModel):
    """A place."""

    city: str = Field(max_length=20)


def model(**more):
    return OpenAILike(**{"model": CHAT, "is_chat_model": True, "max_tokens": 64, "temperature": 0, **SERVER, **more})


@check
def llamaindex_chat():
    messages = [ChatMessage(role="user", content=TEXT)]
    assert "Paris" in model().chat(messages).message.content
    assert "Paris" in "".join(piece.delta for piece in model().stream_chat(messages))


@check
def llamaindex_completion():
    answer = model(is_chat_model=False, max_tokens=1).complete("The capital of France is")
    assert answer.text == " Paris", answer


@check
def llamaindex_structured():
    by_schema, by_function = {"should_use_structured_outputs": True}, {"is_function_calling_model": True}
    for how in (by_schema, by_function):
        assert model(**how).as_structured_llm(Place).complete(TEXT).raw.city


@check
def llamaindex_tools():
    def weather(city: str) -> str:
        """Tells the weather of a city."""
        return f"sunny, as far as the model can say: {city}"

    tool = FunctionTool.from_defaults(weather)
    answer = model(is_function_calling_model=True).predict_and_call([tool], user_msg=TEXT, tool_required=True)
    assert answer.response.startswith("sunny"), answer


@check
def llamaindex_embeddings():
    embedder = OpenAILikeEmbedding(model_name=EMBEDDER, **SERVER)
    assert [len(vector) for vector in embedder.get_text_embedding_batch(["a mayfly", "an insect"])] == [384, 384]


if __name__ == "__main__":
    sys.exit(main())
