"""Reads the golden files of conversions by the types of the providers' own SDKs: what is sent to a provider by those of
its requests, which know no other fields, and what a caller gets by those of its answers.

    golden_convert.py DIRECTORY [SDK]    (src/dialect/convert; where another version of Anthropic's SDK is)

A pair's files are named by what they are in: `NAME.API.json` and `NAME.API.sse` in `FROM_to_TO/golden`. In the target's
API a file is a request, in the caller's it is an answer.
"""

import json
import sys
from pathlib import Path

sys.path[:0] = sys.argv[2:]

from anthropic.types import Message, MessageCreateParams, RawMessageStreamEvent
from google.genai import types as gemini
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from typing_extensions import is_typeddict

# A field that a type does not know is wrong, in whichever of them.
for module in [module for name, module in sys.modules.items() if name.startswith("anthropic.types")]:
    for kind in vars(module).values():
        if is_typeddict(kind):
            kind.__pydantic_config__ = ConfigDict(extra="forbid", arbitrary_types_allowed=True)


class GeminiRequest(BaseModel):
    """Google's SDK has types for what is in a request alone. Its settings are those of a call, in fewer places."""

    model_config = ConfigDict(extra="forbid")
    systemInstruction: gemini.Content | None = None
    contents: list[gemini.Content]
    tools: list[gemini.Tool] = []
    toolConfig: gemini.ToolConfig | None = None
    generationConfig: gemini.GenerateContentConfig | None = None


# OpenAI's types of requests want more than its API does: an id of every message of the assistant's.
REQUESTS = {
    "messages": TypeAdapter(MessageCreateParams),
    "gemini": TypeAdapter(GeminiRequest),
}
DOCUMENTS = {
    "messages": TypeAdapter(Message),
    "responses": TypeAdapter(Response),
    "chat": TypeAdapter(ChatCompletion),
}
EVENTS = {
    "messages": TypeAdapter(RawMessageStreamEvent),
    "responses": TypeAdapter(ResponseStreamEvent),
    "chat": TypeAdapter(ChatCompletionChunk),
}
# Of the API's older version, which models have that still take them; the SDK's types are of the newer.
OLDER = {"messages": ["temperature", "top_p", "top_k"]}
PING = json.dumps({"type": "ping"}, separators=(",", ":"))


def exhaust(value):
    """Lists of requests are read only as far as somebody looks at them."""
    if isinstance(value, dict):
        for each in value.values():
            exhaust(each)
    elif hasattr(value, "__iter__") and not isinstance(value, (str, bytes)):
        for each in value:
            exhaust(each)


def request(api, file):
    sent = json.loads(file.read_text())
    for field in OLDER.get(api, []):
        sent.pop(field, None)
    exhaust(REQUESTS[api].validate_python(sent))


def events(api, file):
    data = [line[6:] for line in file.read_text().splitlines() if line.startswith("data: ")]
    for event in data:
        # Both SDKs pass over pings before they look at anything else.
        if event != "[DONE]" and event != PING:
            EVENTS[api].validate_python(json.loads(event))
    return len(data)


def main():
    read, wrong = [], []
    for file in sorted(Path(sys.argv[1]).glob("*_to_*/golden/*.*.*")):
        caller, target = file.parent.parent.name.split("_to_")
        _, api, form = file.name.split(".")
        try:
            if form == "sse" and api == caller and api in EVENTS:
                assert events(api, file) > 1, f"{file}: no events"
            elif form == "json" and api == target and api in REQUESTS:
                request(api, file)
            elif form == "json" and api == caller and api in DOCUMENTS:
                DOCUMENTS[api].validate_python(json.loads(file.read_text()))
            else:
                continue
            read.append(file.name)
        except ValidationError as error:
            wrong.append(f"{file}: {error}")
    assert not wrong, "\n".join(wrong)
    # That fields which nobody knows are seen, however deep.
    good = {
        "messages": {"model": "x", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}]},
        "gemini": {"contents": [{"role": "user", "parts": [{"text": "x"}]}]},
    }
    for api, bad in (
        ("messages", {"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "x", "unknown": 1}]}]}),
        ("messages", {"tools": [{"name": "x", "input_schema": {"type": "object"}, "unknown": 1}]}),
        ("messages", {"unknown": 1}),
        ("gemini", {"contents": [{"role": "user", "parts": [{"functionCall": {"name": "x", "unknown": 1}}]}]}),
        ("gemini", {"generationConfig": {"thinkingConfig": {"unknown": 1}}}),
        ("gemini", {"unknown": 1}),
    ):
        exhaust(REQUESTS[api].validate_python(good[api]))
        try:
            exhaust(REQUESTS[api].validate_python(good[api] | bad))
        except ValidationError:
            continue
        raise AssertionError(f"taken for good: {bad}")
    print(json.dumps({"read": read}))


main()
