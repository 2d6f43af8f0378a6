"""Times OpenVINO GenAI once: FILE THREADS PROMPT GENERATE DEPTH…

Prints one line in the form of `dayfly bench run --json`. Prompts are random tokens, each another, so that nothing is
taken from a cache of prefixes; an answer's time per token leaves out its first, which belongs to the prompt. Before
each timed run goes one of the same shape that is not timed.
"""

import json
import random
import sys

import numpy
import openvino
import openvino_genai

file, (threads, prompt, generate, *depths) = sys.argv[1], map(int, sys.argv[2:])
pipeline = openvino_genai.LLMPipeline(file, "CPU", INFERENCE_NUM_THREADS=threads)
vocabulary = len(pipeline.get_tokenizer().get_vocab())
generator = random.Random(0)


def run(prompt_tokens, answer_tokens):
    """The timings of an answer to a random prompt."""
    ids = numpy.array([[generator.randrange(vocabulary) for _ in range(prompt_tokens)]], dtype=numpy.int64)
    inputs = openvino_genai.TokenizedInputs(openvino.Tensor(ids), openvino.Tensor(numpy.ones_like(ids)))
    settings = openvino_genai.GenerationConfig()
    settings.max_new_tokens = answer_tokens
    settings.ignore_eos = True
    settings.do_sample = False
    return pipeline.generate(inputs, settings).perf_metrics


def rate(milliseconds_per_token):
    return {"tokens_per_second": 1000 / milliseconds_per_token}


def decode(depth):
    run(max(depth, 1), 8)
    return rate(run(max(depth, 1), generate + 1).get_tpot().mean)


def prefill():
    run(prompt, 1)
    return rate(run(prompt, 1).get_ttft().mean / prompt)


report = {"version": openvino_genai.__version__, "decode": {depth: decode(depth) for depth in depths}}
report["prefill"] = prefill() if prompt else None
print(json.dumps(report))
