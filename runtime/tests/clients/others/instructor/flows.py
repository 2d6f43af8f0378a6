"""instructor: answers as pydantic's models, by functions and by schemas. usage: flows.py BASE_URL"""

import sys

import instructor
import openai
from checks import CHAT, QUESTION, base_url, check, check_each, main
from pydantic import BaseModel, Field


class Place(BaseModel):
    """A place."""

    city: str = Field(max_length=20)
    country: str = Field(max_length=20)


ASKED = {"model": CHAT, "messages": QUESTION, "temperature": 0, "max_tokens": 100}


def client(mode):
    inner = openai.OpenAI(base_url=f"{base_url()}/v1", api_key="unused", max_retries=0)
    return instructor.from_openai(inner, mode=getattr(instructor.Mode, mode))


# In its other modes nothing holds the model, which is too small to follow a schema that it only reads.
@check_each(["TOOLS", "TOOLS_STRICT", "JSON_SCHEMA"])
def instructor_object(mode):
    place = client(mode).chat.completions.create(response_model=Place, max_retries=0, **ASKED)
    assert place.city and place.country, place


@check
def instructor_partial():
    partial = client("JSON_SCHEMA").chat.completions.create_partial(response_model=Place, **ASKED)
    places = list(partial)
    assert len(places) > 1 and places[-1].country, places


if __name__ == "__main__":
    sys.exit(main())
