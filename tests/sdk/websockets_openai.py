"""The OpenAI SDK over WebSockets: responses and a conversation, through a node. Arguments: the node's URL, a key.
Prints the sums of what it used, as the SDK's own types report them."""

import json
import sys

from openai import OpenAI
from openai.types.realtime import ResponseDoneEvent
from openai.types.responses import ResponseCompletedEvent, ResponseErrorEvent

url, key = sys.argv[1:]
client = OpenAI(base_url=url + "/v1", api_key=key, max_retries=0)
used = {"requests": 0, "input": 0, "output": 0}


def add(usage):
    used["requests"] += 1
    used["input"] += usage.input_tokens
    used["output"] += usage.output_tokens


with client.responses.connect() as connection:
    previous = None
    for turn in range(3):
        asked = {"model": "gpt-5-mini", "input": f"turn {turn}", "store": False}
        if previous:
            asked["previous_response_id"] = previous
        connection.response.create(**asked)
        for event in connection:
            assert not isinstance(event, ResponseErrorEvent), event
            if isinstance(event, ResponseCompletedEvent):
                add(event.response.usage)
                previous = event.response.id
                break

with client.realtime.connect(model="gpt-realtime") as connection:
    for turn in range(2):
        connection.conversation.item.create(
            item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]}
        )
        connection.response.create()
        for event in connection:
            assert event.type != "error", event
            if isinstance(event, ResponseDoneEvent):
                add(event.response.usage)
                break

print(json.dumps(used))
