"""What a client does, in checks that are run one after another: each prints a line, and what failed is told at the end."""

import sys
import traceback

CHAT, EMBEDDER = "smollm2", "minilm"
TEXT = "What is the capital of France? Answer in one sentence."
QUESTION = [{"role": "user", "content": TEXT}]

_checks = []


def base_url():
    """The server's address, the first argument."""
    return sys.argv[1].rstrip("/")


def check(function):
    """Has `main` run it. Its name is the client's, an underscore, and what that does."""
    _checks.append((function.__name__, function))
    return function


def check_each(names):
    """Has `main` run it for each of them, which is its argument."""

    def register(function):
        for name in names:
            _checks.append((f"{function.__name__} {name}", lambda name=name: function(name)))
        return function

    return register


def fails(exception, call):
    """What a refusal raises."""
    try:
        call()
    except exception as error:
        return error
    raise AssertionError(f"no {exception.__name__}")


def main():
    """Runs them. 1 if any failed."""
    failed = 0
    for name, function in _checks:
        client, _, what = name.partition("_")
        try:
            function()
            print(f"ok      {client:9} {what}", flush=True)
        except Exception:
            failed += 1
            print(f"FAILED  {client:9} {what}", flush=True)
            traceback.print_exc()
    print(f"{len(_checks) - failed} of {len(_checks)} passed (python)")
    return 1 if failed else 0
