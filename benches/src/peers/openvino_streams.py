"""Asks OpenVINO GenAI for many streams at a time: FILE THREADS STREAMS TOKENS PROMPTS

PROMPTS is a list in JSON; its first is asked before and not counted. Who has its answer makes room for the next at once.
Prints one line.
"""

import json
import sys
import time

import openvino_genai

file, (threads, streams, tokens), prompts = sys.argv[1], map(int, sys.argv[2:5]), json.loads(sys.argv[5])
scheduler = openvino_genai.SchedulerConfig()
scheduler.cache_size = 2
scheduler.max_num_batched_tokens = 256
scheduler.enable_prefix_caching = True
pipeline = openvino_genai.ContinuousBatchingPipeline(file, scheduler, "CPU", {"INFERENCE_NUM_THREADS": threads})
settings = openvino_genai.GenerationConfig()
settings.max_new_tokens = tokens
settings.ignore_eos = True
settings.do_sample = False
settings.apply_chat_template = False


class Stream:
    """A request, and what has come of its answer."""

    asked = 0

    def __init__(self, prompt):
        Stream.asked += 1
        self.began, self.first_ms, self.tokens = time.perf_counter(), None, 0
        self.handle = pipeline.add_request(Stream.asked, prompt, settings)

    def read(self):
        """Takes what has come; whether more will."""
        while self.handle.can_read():
            self.first_ms = self.first_ms or (time.perf_counter() - self.began) * 1000
            self.tokens += sum(len(output.generated_ids) for output in self.handle.read().values())
        return self.handle.get_status() == openvino_genai.GenerationStatus.RUNNING


def closed_loop(prompts):
    waiting, running, done = iter(prompts), [], []
    while True:
        while len(running) < streams and (prompt := next(waiting, None)) is not None:
            running.append(Stream(prompt))
        if not running:
            return done
        pipeline.step()
        for stream in running[:]:
            if not stream.read():
                running.remove(stream)
                done.append(stream)


closed_loop(prompts[:1])
began = time.perf_counter()
done = closed_loop(prompts[1:])
seconds = time.perf_counter() - began
encode = pipeline.get_tokenizer().encode
report = {
    "seconds": seconds,
    "completed": len(done),
    "prompt_tokens": sum(encode(prompt).input_ids.shape[1] for prompt in prompts[1:]),
    "output_tokens": sum(stream.tokens for stream in done),
    "first_ms": [stream.first_ms for stream in done],
}
print(json.dumps(report))
