"""Reads streams of AWS's frames with botocore, or as the events that Anthropic's client makes of them, and prints what it
has read as JSON."""

import base64
import json
import sys

from botocore.eventstream import EventStreamBuffer


def frames(stream):
    """Every message up to what is wrong, and whether the stream was whole."""
    buffer = EventStreamBuffer()
    buffer.add_data(stream)
    messages, read = [], 0
    try:
        for message in buffer:
            read += message.prelude.total_length
            texts = {name: value for name, value in message.headers.items() if isinstance(value, str)}
            messages.append({"headers": texts, "payload": base64.b64encode(message.payload).decode()})
    except Exception:
        return {"messages": messages, "is_whole": False}
    return {"messages": messages, "is_whole": read == len(stream)}


def events(stream):
    from anthropic.lib.bedrock._stream_decoder import AWSEventStreamDecoder

    read = []
    for event in AWSEventStreamDecoder().iter_bytes(iter([stream])):
        data = json.loads(event.data)
        read.append({"event": event.event, "data": data["error"]["message"] if event.event == "error" else data})
    return read


asked = json.load(sys.stdin)
read = {"frames": frames, "events": events}[asked["what"]]
json.dump([read(base64.b64decode(stream)) for stream in asked["streams"]], sys.stdout)
