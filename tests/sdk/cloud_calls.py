"""Prints the requests that Anthropic's clients for Bedrock and Vertex, or AWS's own, send for the calls that it is given as
JSON."""

import base64
import json
import sys

try:
    import httpx2
except ImportError:
    try:
        import httpx as httpx2  # what the SDKs' first major versions bring
    except ImportError:
        httpx2 = None  # only AWS's own client is there, which does without

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


class Seen(Exception):
    pass


def see(request, **_):
    raise Seen(request)


def aws(call):
    """The path, the body and who signs for what, of AWS's own client."""
    import boto3
    from botocore.config import Config

    client = boto3.client(
        "bedrock-runtime",
        region_name="eu-west-1",
        aws_access_key_id="AKIA",
        aws_secret_access_key="secret",
        config=Config(retries={"total_max_attempts": 1}),
    )
    client.meta.events.register("before-send.bedrock-runtime", see)
    body = base64.b64decode(call["body"])
    calls = {
        "invoke": lambda: client.invoke_model(modelId=call["model"], body=body),
        "events": lambda: client.invoke_model_with_response_stream(modelId=call["model"], body=body),
        "count": lambda: client.count_tokens(modelId=call["model"], input={"invokeModel": {"body": body}}),
    }
    try:
        calls[call["what"]]()
    except Seen as seen:
        request = seen.args[0]
        path = request.url.removeprefix("https://bedrock-runtime.eu-west-1.amazonaws.com")
        signed = request.headers["Authorization"]
        return {
            "path": path,
            "body": base64.b64encode(request.body).decode(),
            "signed": signed.decode() if isinstance(signed, bytes) else signed,
        }


if asked["cloud"] == "aws":
    json.dump([aws(call) for call in asked["calls"]], sys.stdout)
    raise SystemExit

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
