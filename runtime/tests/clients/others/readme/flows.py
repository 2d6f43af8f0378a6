"""What the README shows: its requests by curl, and its programs. usage: flows.py BASE_URL"""

import contextlib
import io
import json
import re
import subprocess
import sys
from pathlib import Path

from checks import base_url, check_each, main

README = Path(__file__).parents[5] / "README.md"
SHOWN = README.read_text().replace("http://127.0.0.1:8787", base_url())
# Each to the end of its body. Without that of a stream that has no end, and of a context that has to be published first.
REQUESTS = {
    f"{number} {match[1]}": match[0]
    for number, match in enumerate(
        re.finditer(r"^curl (?:-N )?http\S+?(/[a-z]\S*)(?: -H '[^']*' -d '[^']*')?", SHOWN, re.MULTILINE), start=1
    )
    if not match[1].endswith("/sse") and '"context"' not in match[0]
}
PROGRAMS = dict(enumerate(re.findall(r"^```python\n(.*?)^```", SHOWN, re.DOTALL | re.MULTILINE), start=1))
assert len(REQUESTS) > 3 and len(PROGRAMS) > 1, "the README is read wrongly"


@check_each(REQUESTS)
def readme_curl(path):
    command = REQUESTS[path].replace("curl ", "curl --silent --fail-with-body --max-time 60 ", 1)
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    if "event-stream" in done.stdout or done.stdout.startswith(("data:", ":")):
        assert "data: [DONE]" in done.stdout, done.stdout
    else:
        json.loads(done.stdout)


@check_each(PROGRAMS)
def readme_python(number):
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(PROGRAMS[number], f"README.md, program {number}", "exec"), {})
    assert said.getvalue().strip(), "it said nothing"


if __name__ == "__main__":
    sys.exit(main())
