"""dspy's models of language and its embedder. usage: flows.py BASE_URL

Its programs are not tried: their prompts ask for forms that the model here is too small to keep to.
"""

import os
import sys

from checks import CHAT, EMBEDDER, TEXT, base_url, check, main

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
import dspy

SERVER = {"api_base": f"{base_url()}/v1", "api_key": "unused"}
SETTINGS = {**SERVER, "temperature": 0, "num_retries": 0, "cache": False}


@check
def dspy_chat():
    assert "Paris" in dspy.LM(f"openai/{CHAT}", max_tokens=64, **SETTINGS)(TEXT)[0]


@check
def dspy_text():
    model = dspy.LM(f"text-completion-openai/{CHAT}", model_type="text", max_tokens=16, **SETTINGS)
    assert model("The capital of France is")[0]


@check
def dspy_embeddings():
    assert dspy.Embedder(f"openai/{EMBEDDER}", caching=False, **SERVER)(["a mayfly", "an insect"]).shape == (2, 384)


if __name__ == "__main__":
    sys.exit(main())
