"""The command `llm`, which knows the server from its extra-openai-models.yaml. usage: flows.py BASE_URL"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from checks import CHAT, TEXT, base_url, check, main

MODELS = f"""
- {{model_id: dayfly, model_name: {CHAT}, api_base: "{base_url()}/v1", supports_schema: true, supports_tools: true}}
- {{model_id: dayfly-completion, model_name: {CHAT}, api_base: "{base_url()}/v1", completion: true}}
- {{model_id: dayfly-responses, model_name: {CHAT}, api_base: "{base_url()}/v1", responses: true}}
"""
FOLDER = tempfile.TemporaryDirectory()
Path(FOLDER.name, "extra-openai-models.yaml").write_text(MODELS)


def llm(*arguments):
    """What the command says."""
    settings = {"LLM_USER_PATH": FOLDER.name, "OPENAI_API_KEY": "unused"}
    command = [Path(sys.executable).with_name("llm"), *arguments, "-o", "temperature", "0"]
    done = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@check
def llm_whole():
    said = llm("-m", "dayfly", TEXT, "--no-stream", "--usage", "-o", "max_tokens", "24")
    assert "Paris" in said and "42 input, 8 output" in said, said


@check
def llm_streamed_and_gone_on_with():
    assert "Paris" in llm("-m", "dayfly", TEXT, "--system", "Be brief.", "-o", "max_tokens", "24")
    assert "Rome" in llm("--continue", "And of Italy?", "-o", "max_tokens", "24")


@check
def llm_options():
    penalties = ["-o", "presence_penalty", "0.1", "-o", "frequency_penalty", "0.1", "-o", "logit_bias", '{"10": -5}']
    said = llm("-m", "dayfly", TEXT, "-o", "max_tokens", "24", "-o", "seed", "1", "-o", "stop", "Paris", *penalties)
    assert said.startswith("The capital of France is") and "Paris" not in said, said


@check
def llm_schema():
    # It writes schemas that do not say `additionalProperties`.
    said = llm("-m", "dayfly", TEXT, "--schema", "city, inhabitants int", "-o", "max_tokens", "100")
    assert list(json.loads(said)) == ["city", "inhabitants"], said


@check
def llm_tools():
    # The model is too small to call one of its own accord, and llm has no way to ask for it.
    assert llm("-m", "dayfly", TEXT, "--tool", "llm_version", "-o", "max_tokens", "8").strip()


@check
def llm_completion():
    said = llm("-m", "dayfly-completion", "The capital of France is", "-o", "max_tokens", "1")
    assert said.strip() == "Paris", said


@check
def llm_responses():
    assert "Paris" in llm("-m", "dayfly-responses", TEXT)


if __name__ == "__main__":
    sys.exit(main())
