"""The official SDKs against a node in front of the mock provider.

Called by tests/it/sdk.rs: check.py NAME BASE_URL KEY. Prints one JSON line: what each call got. Raises where an SDK does
not get what it expects of its provider.
"""

import json
import sys


def anthropic(base, key):
    import anthropic as sdk

    client = sdk.Anthropic(base_url=base, api_key=key, max_retries=0)
    ask = dict(model="claude-sonnet-4-5", max_tokens=64, messages=[{"role": "user", "content": "Hello"}])
    tokens = {"mock-input": "21", "mock-output": "7"}
    message = client.messages.create(**ask, extra_headers=tokens)
    assert message.content[0].text, message
    assert (message.usage.input_tokens, message.usage.output_tokens) == (21, 7), message.usage
    with client.messages.stream(**ask, extra_headers=tokens) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text and final.usage.output_tokens == 7, final
    counted = client.messages.count_tokens(model=ask["model"], messages=ask["messages"])
    assert counted.input_tokens > 0
    assert client.models.list(limit=10) is not None
    for status, error in [(529, sdk.InternalServerError), (429, sdk.RateLimitError), (400, sdk.BadRequestError)]:
        raises(error, lambda: client.messages.create(**ask, extra_headers={"mock-status": str(status)}))
    stranger = sdk.Anthropic(base_url=base, api_key="sk-sp-nobody", max_retries=0)
    raises(sdk.AuthenticationError, lambda: stranger.messages.create(**ask))
    bearer = sdk.Anthropic(base_url=base, auth_token=key, api_key=None, max_retries=0)
    assert bearer.messages.create(**ask, extra_headers=tokens).usage.input_tokens == 21
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tools = [{"name": "weather", "input_schema": schema}]
    with client.messages.stream(
        **ask, tools=tools, tool_choice={"type": "any"}, extra_headers=tokens
    ) as stream:
        called = stream.get_final_message()
    assert called.stop_reason == "tool_use" and called.content[0].input == {"city": "mock"}, called
    return {"requests": 4, "input": 84, "output": 28}


def openai(base, key):
    import openai as sdk

    client = sdk.OpenAI(base_url=base + "/v1", api_key=key, max_retries=0)
    tokens = {"mock-input": "21", "mock-output": "7"}
    said = [{"role": "user", "content": "Hello"}]
    chat = client.chat.completions.create(model="gpt-5-mini", messages=said, extra_headers=tokens)
    assert chat.choices[0].message.content and chat.usage.prompt_tokens == 21, chat
    chunks = list(client.chat.completions.create(model="gpt-5-mini", messages=said, stream=True, extra_headers=tokens))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert all(c.choices for c in chunks), "a caller that did not ask for usage must not see its chunk"
    asked = list(
        client.chat.completions.create(
            model="gpt-5-mini", messages=said, stream=True, stream_options={"include_usage": True}, extra_headers=tokens
        )
    )
    assert asked[-1].usage.completion_tokens == 7, asked[-1]
    response = client.responses.create(model="gpt-5-mini", input="Hello", extra_headers=tokens)
    assert response.output_text and response.usage.output_tokens == 7, response
    with client.responses.stream(model="gpt-5-mini", input="Hello", extra_headers=tokens) as stream:
        for _ in stream:
            pass
        assert stream.get_final_response().usage.input_tokens == 21
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tools = [{"type": "function", "function": {"name": "weather", "parameters": schema}}]
    called = client.chat.completions.create(
        model="gpt-5-mini", messages=said, tools=tools, tool_choice="required", extra_headers=tokens
    )
    assert json.loads(called.choices[0].message.tool_calls[0].function.arguments) == {"city": "mock"}, called
    tools = [{"type": "function", "name": "weather", "parameters": schema}]
    with client.responses.stream(
        model="gpt-5-mini", input="Hello", tools=tools, tool_choice="required", extra_headers=tokens
    ) as stream:
        for _ in stream:
            pass
        called = stream.get_final_response().output[0]
    assert called.type == "function_call" and json.loads(called.arguments) == {"city": "mock"}, called
    embedded = client.embeddings.create(model="text-embedding-3-small", input="Hello", extra_headers={"mock-input": "5"})
    assert embedded.data[0].embedding and embedded.usage.prompt_tokens == 5
    assert client.models.list() is not None
    raises(
        sdk.RateLimitError,
        lambda: client.chat.completions.create(model="gpt-5-mini", messages=said, extra_headers={"mock-status": "429"}),
    )
    stranger = sdk.OpenAI(base_url=base + "/v1", api_key="sk-sp-nobody", max_retries=0)
    raises(sdk.AuthenticationError, lambda: stranger.chat.completions.create(model="gpt-5-mini", messages=said))
    return {"requests": 8, "input": 152, "output": 49}


def gemini(base, key):
    from google import genai
    from google.genai import errors, types

    def client(key, **headers):
        return genai.Client(api_key=key, http_options=types.HttpOptions(base_url=base, headers=headers))

    steered = client(key, **{"mock-input": "21", "mock-output": "7"})
    answer = steered.models.generate_content(model="gemini-2.5-flash", contents="Hello")
    assert answer.text and answer.usage_metadata.prompt_token_count == 21, answer
    chunks = list(steered.models.generate_content_stream(model="gemini-2.5-flash", contents="Hello"))
    assert "".join(chunk.text or "" for chunk in chunks)
    forced = types.GenerateContentConfig(
        tools=[types.Tool(function_declarations=[types.FunctionDeclaration(name="weather")])],
        tool_config=types.ToolConfig(function_calling_config=types.FunctionCallingConfig(mode="ANY")),
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
    )
    called = steered.models.generate_content(model="gemini-2.5-flash", contents="Hello", config=forced)
    assert called.function_calls[0].name == "weather", called
    plain = client(key)
    assert plain.models.count_tokens(model="gemini-2.5-flash", contents="Hello").total_tokens > 0
    stranger = client("sk-sp-nobody")
    raises(
        errors.ClientError,
        lambda: stranger.models.generate_content(model="gemini-2.5-flash", contents="Hello"),
    )
    return {"requests": 3, "input": 63, "output": 21}


def ollama(base, key):
    import ollama as sdk

    tokens = {"mock-input": "21", "mock-output": "7"}
    client = sdk.Client(host=base, headers={"authorization": f"Bearer {key}", **tokens})
    said = [{"role": "user", "content": "Hello"}]
    chat = client.chat(model="llama3.3", messages=said)
    assert chat.message.content and chat.prompt_eval_count == 21, chat
    parts = list(client.chat(model="llama3.3", messages=said, stream=True))
    assert "".join(part.message.content for part in parts) and parts[-1].eval_count == 7
    assert client.generate(model="llama3.3", prompt="Hello").eval_count == 7
    caller = sdk.Client(host=base, headers={"authorization": f"Bearer {key}", "mock-tool": "weather", **tokens})
    assert caller.chat(model="llama3.3", messages=said).message.tool_calls[0].function.name == "weather"
    assert client.list() is not None
    stranger = sdk.Client(host=base, headers={"authorization": "Bearer sk-sp-nobody"})
    raises(sdk.ResponseError, lambda: stranger.chat(model="llama3.3", messages=said))
    return {"requests": 4, "input": 84, "output": 28}


def raises(error, call):
    try:
        call()
    except error:
        return
    raise AssertionError(f"{error.__name__} was not raised")


if __name__ == "__main__":
    name, base, key = sys.argv[1:]
    print(json.dumps(globals()[name](base, key)))
