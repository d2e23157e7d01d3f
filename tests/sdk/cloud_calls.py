"""Prints the requests that Anthropic's clients for Bedrock and Vertex send for the calls that it is given as JSON."""

import json
import sys

try:
    import httpx2
except ImportError:  # their first major version
    import httpx as httpx2

asked = json.load(sys.stdin)
sent = []


def answer(request):
    sent.append(request)
    return httpx2.Response(400, json={"type": "error", "error": {"type": "invalid_request_error", "message": "seen"}})


def client():
    http = httpx2.Client(transport=httpx2.MockTransport(answer))
    if asked["cloud"] == "bedrock":
        from anthropic import AnthropicBedrock

        return AnthropicBedrock(
            aws_access_key="AKIA", aws_secret_key="secret", aws_region="eu-west-1", http_client=http, max_retries=0
        )
    from anthropic import AnthropicVertex

    return AnthropicVertex(
        project_id=asked["project"], region=asked["region"], access_token="token", http_client=http, max_retries=0
    )


def seen(call, **arguments):
    from anthropic import BadRequestError

    headers = {"anthropic-beta": ",".join(asked_call["betas"])} if asked_call["betas"] else {}
    try:
        call(**arguments, extra_headers=headers)
    except BadRequestError:
        return sent.pop()
    raise SystemExit("nothing was sent")


requests = []
client = client()
for asked_call in asked["calls"]:
    arguments = dict(asked_call["body"])
    if asked_call["stream"]:
        arguments["stream"] = True
    request = seen(client.messages.create, **arguments)
    told = {
        "url": str(request.url),
        "path": request.url.raw_path.decode(),
        "body": request.content.decode(),
    }
    if asked["cloud"] == "vertex":
        body = asked_call["body"]
        count = seen(client.messages.count_tokens, model=body["model"], messages=body["messages"])
        told["count_url"] = str(count.url)
        told["count_body"] = count.content.decode()
    requests.append(told)
json.dump(requests, sys.stdout)
