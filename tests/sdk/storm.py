"""The official SDKs, with their own retries turned off, against a node in front of providers on a bad day.

storm.py ride NAME BASE_URL KEY CALLS: makes so many calls, each of which has to be answered as if nothing was wrong.
Prints what they used, as JSON.

storm.py words NAME BASE_URL KEY MODEL STATUS BODY: a call for MODEL and a stream have to fail with this status and this
body, which are the provider's own.
"""

import json
import sys


class Anthropic:
    def __init__(self, base, key):
        import anthropic

        self.error = anthropic.APIStatusError
        self.client = anthropic.Anthropic(base_url=base, api_key=key, max_retries=0)

    def calls(self):
        return [self.whole, self.stream]

    def whole(self, model, text, tokens):
        message = self.client.messages.create(**self.ask(model, text, tokens))
        assert message.content[0].text and message.stop_reason == "end_turn", message
        return message.usage.input_tokens, message.usage.output_tokens

    def stream(self, model, text, tokens):
        with self.client.messages.stream(**self.ask(model, text, tokens)) as stream:
            assert "".join(stream.text_stream)
            usage = stream.get_final_message().usage
        return usage.input_tokens, usage.output_tokens

    def ask(self, model, text, tokens):
        said = [{"role": "user", "content": text}]
        return dict(model=model, max_tokens=64, messages=said, extra_headers=tokens)

    def words(self, error):
        return error.status_code, error.response.text


class OpenAI:
    def __init__(self, base, key):
        import openai

        self.error = openai.APIStatusError
        self.client = openai.OpenAI(base_url=base + "/v1", api_key=key, max_retries=0)

    def calls(self):
        return [self.chat, self.chat_stream, self.response, self.response_stream]

    def chat(self, model, text, tokens):
        chat = self.client.chat.completions.create(**self.ask(model, text, tokens))
        assert chat.choices[0].message.content, chat
        return chat.usage.prompt_tokens, chat.usage.completion_tokens

    def chat_stream(self, model, text, tokens):
        chunks = list(
            self.client.chat.completions.create(
                **self.ask(model, text, tokens), stream=True, stream_options={"include_usage": True}
            )
        )
        assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
        return chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens

    def response(self, model, text, tokens):
        response = self.client.responses.create(model=model, input=text, extra_headers=tokens)
        assert response.output_text and response.status == "completed", response
        return response.usage.input_tokens, response.usage.output_tokens

    def response_stream(self, model, text, tokens):
        with self.client.responses.stream(model=model, input=text, extra_headers=tokens) as stream:
            for _ in stream:
                pass
            response = stream.get_final_response()
        assert response.output_text and response.status == "completed", response
        return response.usage.input_tokens, response.usage.output_tokens

    def ask(self, model, text, tokens):
        return dict(model=model, messages=[{"role": "user", "content": text}], extra_headers=tokens)

    def words(self, error):
        return error.status_code, error.response.text


class Gemini:
    def __init__(self, base, key):
        from google import genai
        from google.genai import errors, types

        self.types, self.error = types, errors.APIError
        options = types.HttpOptions(base_url=base, retry_options=types.HttpRetryOptions(attempts=1))
        self.client = genai.Client(api_key=key, http_options=options)

    def calls(self):
        return [self.whole, self.stream]

    def whole(self, model, text, tokens):
        return self.used([self.client.models.generate_content(**self.ask(model, text, tokens))])

    def stream(self, model, text, tokens):
        return self.used(list(self.client.models.generate_content_stream(**self.ask(model, text, tokens))))

    def ask(self, model, text, tokens):
        options = self.types.HttpOptions(headers=tokens)
        return dict(model=model, contents=text, config=self.types.GenerateContentConfig(http_options=options))

    def used(self, chunks):
        assert "".join(chunk.text or "" for chunk in chunks)
        assert chunks[-1].candidates[0].finish_reason == "STOP", chunks[-1]
        usage = chunks[-1].usage_metadata
        return usage.prompt_token_count, usage.candidates_token_count

    def words(self, error):
        return error.code, json.dumps(error.details)


class Ollama:
    def __init__(self, base, key):
        import ollama

        self.sdk, self.error = ollama, ollama.ResponseError
        self.base, self.headers = base, {"authorization": f"Bearer {key}"}

    def calls(self):
        return [self.chat, self.chat_stream, self.generate]

    def client(self, tokens):
        return self.sdk.Client(host=self.base, headers={**self.headers, **tokens})

    def chat(self, model, text, tokens):
        chat = self.client(tokens).chat(model=model, messages=[{"role": "user", "content": text}])
        assert chat.message.content and chat.done, chat
        return chat.prompt_eval_count, chat.eval_count

    def chat_stream(self, model, text, tokens):
        said = [{"role": "user", "content": text}]
        parts = list(self.client(tokens).chat(model=model, messages=said, stream=True))
        assert "".join(part.message.content for part in parts) and parts[-1].done, parts[-1]
        return parts[-1].prompt_eval_count, parts[-1].eval_count

    def generate(self, model, text, tokens):
        answer = self.client(tokens).generate(model=model, prompt=text)
        assert answer.response and answer.done, answer
        return answer.prompt_eval_count, answer.eval_count

    def words(self, error):
        return error.status_code, json.dumps({"error": error.error})


SDKS = {"anthropic": Anthropic, "openai": OpenAI, "gemini": Gemini, "ollama": Ollama}


def ride(name, base, key, count):
    sdk = SDKS[name](base, key)
    used = dict(requests=0, input=0, output=0)
    calls = sdk.calls()
    for at in range(int(count)):
        # Each for a model and with words of its own: what has cooled down, and where a conversation was, plays no part.
        wanted = 20 + at, 5 + at % 7
        tokens = {"mock-input": str(wanted[0]), "mock-output": str(wanted[1])}
        call = calls[at % len(calls)]
        got = call(f"storm-{name}-{at}", f"Hello {at}", tokens)
        assert got == wanted, f"{call.__name__} {at}: {got}, not {wanted}"
        used["requests"] += 1
        used["input"] += got[0]
        used["output"] += got[1]
    return used


def words(name, base, key, model, status, body):
    sdk = SDKS[name](base, key)
    for call in sdk.calls():
        try:
            call(f"{model}-{call.__name__}", f"Hello {call.__name__}", {})
        except sdk.error as error:
            status_got, body_got = sdk.words(error)
            assert status_got == int(status), (call.__name__, status_got, body_got)
            assert json.loads(body_got) == json.loads(body), (call.__name__, body_got)
        else:
            raise AssertionError(f"{call.__name__} was answered")
    return {"calls": len(sdk.calls())}


if __name__ == "__main__":
    what, *arguments = sys.argv[1:]
    print(json.dumps({"ride": ride, "words": words}[what](*arguments)))
