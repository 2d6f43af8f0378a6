"""lm_eval's local-completions and local-chat-completions: what it scores by log-probabilities and by generated texts is what is
computed here without it.

usage: DAYFLY=PROGRAM flows.py BASE_URL. It brings neither torch nor a model: only the tokenizer of the model's own file.
"""

import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

from checks import CHAT, base_url, check, main

FOLDER = tempfile.TemporaryDirectory()
# Data and tokenizers are those of this folder, and nothing is looked for elsewhere.
os.environ.update(HF_HOME=FOLDER.name, HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
os.chdir(Path(__file__).parent)

import lm_eval
from gguf import GGUFReader
from lm_eval.tasks import TaskManager
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

ITEMS = [json.loads(line) for line in Path("capitals.jsonl").read_text().splitlines()]
CONTROL = 3


def post(path, body):
    """The answer of the server."""
    data = json.dumps({"model": CHAT, **body}).encode()
    request = urllib.request.Request(base_url() + path, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def tokenizer():
    """A folder with the tokenizer of the model's file, as transformers reads it."""
    listed = json.loads(subprocess.check_output([os.environ["DAYFLY"], "list", "--json"]))["models"]
    fields = GGUFReader(next(model["path"] for model in listed if CHAT in model["aliases"])).fields
    value = lambda name: fields[f"tokenizer.ggml.{name}"].contents()
    assert (value("model"), value("pre")) == ("gpt2", "smollm")
    tokens = value("tokens")
    pairs = [tuple(merge.split(" ")) for merge in value("merges")]
    inner = Tokenizer(models.BPE({token: index for index, token in enumerate(tokens)}, pairs))
    digits = pre_tokenizers.Digits(individual_digits=True)
    inner.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens([token for token, kind in zip(tokens, value("token_type")) if kind == CONTROL])
    end = tokens[value("eos_token_id")]
    folder = str(Path(FOLDER.name, "tokenizer"))
    PreTrainedTokenizerFast(tokenizer_object=inner, bos_token=end, eos_token=end).save_pretrained(folder)
    return folder


TOKENIZER = tokenizer()


def evaluate(task, model="local-completions", path="/v1/completions", **settings):
    """What lm_eval makes of a task: its scores, and what it was told for each item, in order."""
    settings |= {"model": CHAT, "base_url": base_url() + path, "tokenizer": TOKENIZER}
    results = lm_eval.simple_evaluate(
        model=model,
        model_args={**settings, "tokenizer_backend": "huggingface", "max_retries": 1},
        tasks=[task],
        task_manager=TaskManager(include_path="."),
        apply_chat_template=model == "local-chat-completions",
        bootstrap_iters=0,
        log_samples=True,
    )
    samples = sorted(results["samples"][task], key=lambda sample: sample["doc_id"])
    return results["results"][task], [sample["filtered_resps"] for sample in samples]


def log_probability(before, after):
    """Of `after`, where `before` stands before it: by the log-probabilities of the tokens that begin in it."""
    answer = post("/v1/completions", {"prompt": before + after, "echo": True, "logprobs": 0, "max_tokens": 0})
    told = answer["choices"][0]["logprobs"]
    return sum(one for one, at in zip(told["token_logprobs"], told["text_offset"]) if at >= len(before))


@check
def lmeval_tokenizer():
    from transformers import AutoTokenizer

    read = AutoTokenizer.from_pretrained(TOKENIZER)
    for text in [f"Question: What is the capital of {item['country']}?\nAnswer: 1234" for item in ITEMS]:
        assert read(text, add_special_tokens=False).input_ids == post("/tokenize", {"content": text})["tokens"], text


@check
def lmeval_multiple_choice():
    scores, told = evaluate("capitals")
    right, right_by_length = 0, 0
    for item, pairs in zip(ITEMS, told, strict=True):
        before = f"Question: What is the capital of {item['country']}?\nAnswer:"
        ours = [log_probability(before, f" {choice}") for choice in item["choices"]]
        # How steps were shared moves the last digits.
        assert all(abs(one - float(pair[0])) < 1e-3 for one, pair in zip(ours, pairs, strict=True)), (ours, pairs)
        by_length = [one / len(choice) for one, choice in zip(ours, item["choices"])]
        right += ours.index(max(ours)) == item["answer"]
        right_by_length += by_length.index(max(by_length)) == item["answer"]
    assert scores["acc,none"] == right / len(ITEMS), (scores, right)
    assert scores["acc_norm,none"] == right_by_length / len(ITEMS), (scores, right_by_length)
    # By chance it would be a quarter.
    assert right > len(ITEMS) / 2, right


@check
def lmeval_generate_until():
    scores, told = evaluate("capitals_said")
    right = 0
    for item, (text,) in zip(ITEMS, told, strict=True):
        prompt = "The capital of France is Paris.\nThe capital of Italy is Rome.\n" f"The capital of {item['country']} is"
        asked = {"prompt": prompt, "stop": [".", "\n"], "max_tokens": 8, "temperature": 0}
        ours = post("/v1/completions", asked)["choices"][0]["text"]
        assert ours == text, (ours, text)
        right += ours.strip().lower() == item["choices"][item["answer"]].lower()
    # It compares texts as they are, the space that they begin with included.
    assert scores["exact_match,none"] <= right / len(ITEMS), (scores, right)


@check
def lmeval_chats():
    _, told = evaluate("capitals_said", "local-chat-completions", "/v1/chat/completions", num_concurrent=4)
    for item, (text,) in zip(ITEMS, told, strict=True):
        prompt = "The capital of France is Paris.\nThe capital of Italy is Rome.\n" f"The capital of {item['country']} is"
        messages = [{"role": "user", "content": prompt}]
        asked = {"messages": messages, "stop": [".", "\n"], "max_tokens": 8, "temperature": 0}
        ours = post("/v1/chat/completions", asked)["choices"][0]["message"]["content"]
        assert ours == text, (ours, text)


if __name__ == "__main__":
    sys.exit(main())
