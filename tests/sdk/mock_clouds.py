"""AWS's client, and Anthropic's and Google's for the clouds, against the mock provider itself. Prints what they used."""

import json
import sys

import boto3
from anthropic import APIStatusError, AnthropicBedrock, AnthropicVertex, AuthenticationError, PermissionDeniedError
from botocore.config import Config
from botocore.exceptions import ClientError
from google import genai
from google.genai import types
from google.oauth2.credentials import Credentials

[base] = sys.argv[1:]
MODEL = "anthropic.claude-sonnet-4-5-20250929-v1:0"
ASK = dict(max_tokens=64, messages=[{"role": "user", "content": "Hello"}])
TOKENS = {"mock-input": "21", "mock-output": "7"}
used = dict(requests=0, input=0, output=0, errors=0)


def good(input_tokens, output_tokens):
    used["requests"] += 1
    used["input"] += input_tokens
    used["output"] += output_tokens


def refused(error, call):
    try:
        call()
    except error as raised:
        used["errors"] += 1
        return raised
    raise AssertionError(f"{error.__name__} was not raised")


def aws(secret="secret"):
    return boto3.client(
        "bedrock-runtime",
        region_name="eu-west-1",
        endpoint_url=base,
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key=secret,
        config=Config(retries={"total_max_attempts": 1}),
    )


body = json.dumps({"anthropic_version": "bedrock-2023-05-31", **ASK})
answer = aws().invoke_model(modelId=MODEL, body=body)
usage = json.load(answer["body"])["usage"]
assert answer["ResponseMetadata"]["HTTPHeaders"]["x-amzn-bedrock-output-token-count"] == str(usage["output_tokens"])
good(usage["input_tokens"], usage["output_tokens"])
stream = aws().invoke_model_with_response_stream(modelId=MODEL, body=body)
events = [json.loads(event["chunk"]["bytes"]) for event in stream["body"]]
counted = events[-1]["amazon-bedrock-invocationMetrics"]
good(counted["inputTokenCount"], counted["outputTokenCount"])
assert aws().count_tokens(modelId=MODEL, input={"invokeModel": {"body": body}})["inputTokens"] > 0
wrong = refused(ClientError, lambda: aws("other").invoke_model(modelId=MODEL, body=body))
assert wrong.response["Error"]["Code"] == "InvalidSignatureException", wrong.response


def bedrock(secret="secret"):
    return AnthropicBedrock(
        base_url=base, aws_access_key="AKIDEXAMPLE", aws_secret_key=secret, aws_region="eu-west-1", max_retries=0
    )


def vertex(token="token"):
    return AnthropicVertex(
        base_url=base + "/v1", project_id="p", region="europe-west1", access_token=token, max_retries=0
    )


for client, model in [(bedrock(), MODEL), (vertex(), "claude-sonnet-4-5@20250929")]:
    message = client.messages.create(model=model, **ASK, extra_headers=TOKENS)
    assert message.model == "claude-sonnet-4-5-20250929", message
    good(message.usage.input_tokens, message.usage.output_tokens)
    with client.messages.stream(model=model, **ASK, extra_headers=TOKENS) as stream:
        final = stream.get_final_message()
    assert final.usage.output_tokens == 7 and final.content[0].text, final
    good(final.usage.input_tokens, final.usage.output_tokens)
    overloaded = refused(
        APIStatusError, lambda: client.messages.create(model=model, **ASK, extra_headers={"mock-status": "529"})
    )
    assert overloaded.status_code == 529
refused(PermissionDeniedError, lambda: bedrock("other").messages.create(model=MODEL, **ASK))
refused(AuthenticationError, lambda: vertex("other").messages.create(model="claude-sonnet-4-5@20250929", **ASK))
assert vertex().messages.count_tokens(model="claude-sonnet-4-5@20250929", messages=ASK["messages"]).input_tokens > 0

google = genai.Client(
    vertexai=True,
    project="p",
    location="europe-west1",
    credentials=Credentials(token="token"),
    http_options=types.HttpOptions(base_url=base, headers=TOKENS),
)
answer = google.models.generate_content(model="gemini-2.5-flash", contents="Hello")
good(answer.usage_metadata.prompt_token_count, answer.usage_metadata.candidates_token_count)
last = list(google.models.generate_content_stream(model="gemini-2.5-flash", contents="Hello"))[-1]
good(last.usage_metadata.prompt_token_count, last.usage_metadata.candidates_token_count)
assert google.models.count_tokens(model="gemini-2.5-flash", contents="Hello").total_tokens > 0

print(json.dumps(used))
