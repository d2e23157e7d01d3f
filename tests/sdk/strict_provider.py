"""A provider that plays a scripted agent, and takes nothing that the provider's own published types do not.

Usage: strict_provider.py PORT_FILE FAULTS_FILE

It answers /v1/responses, /v1/chat/completions, /v1/messages and Gemini's streamGenerateContent, always as streams where
they are asked for. What it says next depends on nothing but the request: on how many outputs of tools are in it. Every
request is checked against the types of the vendor's SDK with unknown fields forbidden; what is wrong is answered with 400
and written to FAULTS_FILE.
"""

import json
import pkgutil
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module

import typing_extensions
from pydantic import ConfigDict, TypeAdapter

PORT_FILE, FAULTS_FILE = sys.argv[1:3]


def forbid_extras(package):
    """Makes every TypedDict below a package refuse fields that it does not name."""
    root = import_module(package)
    for found in pkgutil.walk_packages(root.__path__, package + "."):
        module = import_module(found.name)
        # An Iterable's elements are checked when somebody asks for them, which nobody does.
        if hasattr(module, "Iterable"):
            module.Iterable = list
        for value in vars(module).values():
            if typing_extensions.is_typeddict(value):
                value.__pydantic_config__ = ConfigDict(extra="forbid", arbitrary_types_allowed=True)


forbid_extras("openai.types")
forbid_extras("anthropic.types")

from anthropic.types import message_create_params  # noqa: E402
from google.genai import types as gemini  # noqa: E402
from openai.types.chat import completion_create_params  # noqa: E402
from openai.types.responses import response_create_params  # noqa: E402

RESPONSES = TypeAdapter(response_create_params.ResponseCreateParamsStreaming)
RESPONSES_WHOLE = TypeAdapter(response_create_params.ResponseCreateParamsNonStreaming)
CHAT = TypeAdapter(completion_create_params.CompletionCreateParamsStreaming)
CHAT_WHOLE = TypeAdapter(completion_create_params.CompletionCreateParamsNonStreaming)
MESSAGES = TypeAdapter(message_create_params.MessageCreateParamsStreaming)
MESSAGES_WHOLE = TypeAdapter(message_create_params.MessageCreateParamsNonStreaming)

REASONING = {"id": "rs_strict", "summary": [{"type": "summary_text", "text": "thinking é"}]}
SEALED = "sealed+/="
SIGNATURE = "c2lnbmF0dXJl"


class Wrong(Exception):
    """The request is not what the API takes."""


def expect(condition, what):
    if not condition:
        raise Wrong(what)


def steps(tools, place, is_interrupted):
    """What the agent does, step by step: each a list of calls. One that is interrupted is killed while it runs a tool."""
    if "Write" in tools:
        long = ("Bash", {"command": "touch started; sleep 15", "description": "wait"})
        return ([[long]] if is_interrupted else []) + [
            [("Write", {"file_path": f"{place}/a.txt", "content": "hello é\n"})],
            [("Read", {"file_path": f"{place}/a.txt"})],
            [("Read", {"file_path": f"{place}/pic.png"})],
            [("Read", {"file_path": f"{place}/a.txt"}), ("Bash", {"command": "echo one", "description": "say"})],
        ]
    if "exec_command" in tools:
        run = lambda command: ("exec_command", {"cmd": command})  # noqa: E731
    elif "shell_command" in tools:
        run = lambda command: ("shell_command", {"command": command})  # noqa: E731
    elif "shell" in tools:
        run = lambda command: ("shell", {"command": ["bash", "-c", command]})  # noqa: E731
    else:
        return []
    first = run("printf 'hello\\n' > a.txt")
    if "apply_patch" in tools:
        patch = "*** Begin Patch\n*** Add File: a.txt\n+hello é\n*** End Patch\n"
        first = ("apply_patch", {"input": patch})
    plan = [[first], [run("cat a.txt")], [run("cat a.txt"), run("echo one")]]
    if "view_image" in tools:
        plan.insert(2, [("view_image", {"path": f"{place}/pic.png"})])
    return plan


def next_step(tools, outputs, text):
    """The calls to make now; none: the task is done."""
    place = re.search(r"PLACE=(\S+?)[\s\"\\]", text + " ")
    plan = steps(tools, place.group(1), "INTERRUPTED" in text) if place else []
    done = 0
    for calls in plan:
        if outputs <= done:
            return calls
        done += len(calls)
    return []


def final(outputs):
    return f"DONE after {outputs} outputs: é"


class Api:
    """What one API's requests say, and how its answers are written."""

    def __init__(self, body):
        self.body = body

    def events(self):
        calls = next_step(self.tools(), self.outputs(), json.dumps(self.body, ensure_ascii=False))
        return self.say(calls, self.outputs())


class Responses(Api):
    def check(self):
        (RESPONSES if self.body.get("stream") else RESPONSES_WHOLE).validate_python(self.body)
        calls, answered, sealed = [], [], 0
        for item in self.body["input"]:
            kind = item.get("type", "message")
            if kind in ("function_call", "custom_tool_call"):
                calls.append(item["call_id"])
                json.loads(item.get("arguments", "{}"))
            elif kind in ("function_call_output", "custom_tool_call_output"):
                expect(item["call_id"] in calls, f"No tool call found for {item['call_id']}")
                answered.append(item["call_id"])
            elif kind == "reasoning":
                expect(item["encrypted_content"] == SEALED and item["summary"] == REASONING["summary"], "reasoning changed")
                sealed += 1
        expect(calls == answered or set(calls) == set(answered), f"No tool output found for {set(calls) - set(answered)}")
        expect(self.body.get("store") is False, "store")
        expect(not calls or sealed > 0, "the reasoning before the calls was lost")
        for tool in self.body.get("tools", []):
            if tool["type"] == "function":
                expect(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", tool["name"]), tool["name"])
                expect(tool["parameters"].get("type") == "object" and "properties" in tool["parameters"], tool["name"])

    def tools(self):
        return [tool.get("name", "") for tool in self.body.get("tools", [])]

    def outputs(self):
        return sum("output" in item for item in self.body["input"])

    def say(self, calls, outputs):
        items = []
        if calls:
            items.append({"type": "reasoning", **REASONING, "encrypted_content": SEALED})
        for at, (name, arguments) in enumerate(calls):
            text = json.dumps(arguments, ensure_ascii=False)
            items.append({"type": "function_call", "id": f"fc_{outputs}_{at}", "call_id": f"call_{outputs}_{at}",
                          "name": name, "arguments": text, "status": "completed"})
        if not calls:
            part = {"type": "output_text", "text": final(outputs), "annotations": []}
            items.append({"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]})
        whole = {"id": f"resp_{outputs}", "object": "response", "created_at": 1, "model": self.body["model"],
                 "status": "completed", "output": items, "error": None, "incomplete_details": None,
                 "usage": {"input_tokens": 1000 + outputs, "input_tokens_details": {"cached_tokens": 900},
                           "output_tokens": 50, "output_tokens_details": {"reasoning_tokens": 20}, "total_tokens": 1050 + outputs}}
        yield "response.created", {"response": {**whole, "output": [], "status": "in_progress", "usage": None}}
        for at, item in enumerate(items):
            begun = {key: value for key, value in item.items() if key not in ("arguments", "encrypted_content", "content")}
            if item["type"] == "function_call":
                begun["arguments"] = ""
            if item["type"] == "reasoning":
                begun["summary"] = []
            yield "response.output_item.added", {"output_index": at, "item": begun}
            if item["type"] == "function_call":
                middle = len(item["arguments"]) // 2
                for piece in (item["arguments"][:middle], item["arguments"][middle:]):
                    yield "response.function_call_arguments.delta", {"output_index": at, "item_id": item["id"], "delta": piece}
            elif item["type"] == "reasoning":
                yield "response.reasoning_summary_part.added", {"output_index": at, "summary_index": 0}
                yield "response.reasoning_summary_text.delta", {"output_index": at, "summary_index": 0, "delta": "thinking é"}
            else:
                yield "response.output_text.delta", {"output_index": at, "content_index": 0, "delta": final(outputs)}
            yield "response.output_item.done", {"output_index": at, "item": item}
        yield "response.completed", {"response": whole}

    def write(self, events):
        for name, data in events:
            yield f"event: {name}\ndata: {json.dumps({'type': name, **data})}\n\n"

    def whole(self, events):
        return list(events)[-1][1]["response"]


class Chat(Api):
    def check(self):
        body = dict(self.body)
        # What servers that hide nothing call their reasoning is in no published type.
        body["messages"] = [{k: v for k, v in m.items() if k != "reasoning_content"} for m in body["messages"]]
        (CHAT if body.get("stream") else CHAT_WHOLE).validate_python(body)
        open_calls = set()
        for message in self.body["messages"]:
            if message["role"] == "tool":
                expect(message["tool_call_id"] in open_calls, "a tool message without its call")
                open_calls.discard(message["tool_call_id"])
                continue
            expect(not open_calls, f"tool_calls must be followed by tool messages: {open_calls}")
            for call in message.get("tool_calls") or []:
                json.loads(call["function"]["arguments"])
                open_calls.add(call["id"])
        expect(not open_calls, f"tool_calls must be followed by tool messages: {open_calls}")

    def tools(self):
        return [tool.get("function", {}).get("name", "") for tool in self.body.get("tools", [])]

    def outputs(self):
        return sum(message["role"] == "tool" for message in self.body["messages"])

    def say(self, calls, outputs):
        head = {"id": f"chatcmpl-{outputs}", "object": "chat.completion.chunk", "created": 1, "model": self.body["model"]}
        chunk = lambda delta, reason=None: {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}  # noqa: E731
        yield chunk({"role": "assistant", "content": ""})
        if calls:
            yield chunk({"reasoning_content": "thinking é"})
        for at, (name, arguments) in enumerate(calls):
            text = json.dumps(arguments, ensure_ascii=False)
            function = {"name": name, "arguments": ""}
            yield chunk({"tool_calls": [{"index": at, "id": f"call_{outputs}_{at}", "type": "function", "function": function}]})
            for piece in (text[: len(text) // 2], text[len(text) // 2 :]):
                yield chunk({"tool_calls": [{"index": at, "function": {"arguments": piece}}]})
        if not calls:
            yield chunk({"content": final(outputs)})
        yield chunk({}, "tool_calls" if calls else "stop")
        usage = {"prompt_tokens": 1000 + outputs, "completion_tokens": 50, "total_tokens": 1050 + outputs,
                 "prompt_tokens_details": {"cached_tokens": 900}}
        yield {**head, "choices": [], "usage": usage}

    def write(self, events):
        for data in events:
            yield f"data: {json.dumps(data)}\n\n"
        yield "data: [DONE]\n\n"

    def whole(self, events):
        chunks = list(events)
        message = {"role": "assistant", "content": final(self.outputs())}
        return {**chunks[0], "object": "chat.completion", "usage": chunks[-1]["usage"],
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}


class Messages(Api):
    def check(self):
        (MESSAGES if self.body.get("stream") else MESSAGES_WHOLE).validate_python(self.body)
        last_role, open_calls, thought = None, set(), False
        for message in self.body["messages"]:
            blocks = message["content"]
            blocks = [{"type": "text", "text": blocks}] if isinstance(blocks, str) else blocks
            expect(message["role"] != last_role, "roles must alternate")
            expect(blocks, "messages must have content")
            last_role = message["role"]
            results = {block["tool_use_id"] for block in blocks if block["type"] == "tool_result"}
            expect(results == open_calls, f"`tool_use` ids without `tool_result`: {open_calls ^ results}")
            kinds = [block["type"] == "tool_result" for block in blocks]
            expect(kinds == sorted(kinds, reverse=True), "tool_result blocks come first")
            open_calls = {block["id"] for block in blocks if block["type"] == "tool_use"}
            for block in blocks:
                expect(block["type"] != "text" or block["text"].strip(), "text content blocks must be non-empty")
                expect(block["type"] != "tool_use" or isinstance(block["input"], dict), "input is an object")
                if block["type"] == "thinking":
                    expect((block["thinking"], block["signature"]) == ("thinking é", SIGNATURE), "thinking changed")
                    thought = True
            expect(not open_calls or thought, "the thinking before the calls was lost")
        expect(not open_calls, "the last calls have no results")
        marks = json.dumps(self.body).count('"cache_control"')
        expect(1 <= marks <= 4, f"{marks} blocks with cache_control")
        for tool in self.body.get("tools", []):
            expect(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", tool["name"]), tool["name"])

    def tools(self):
        return [tool["name"] for tool in self.body.get("tools", [])]

    def outputs(self):
        blocks = [block for message in self.body["messages"] if isinstance(message["content"], list) for block in message["content"]]
        return sum(block["type"] == "tool_result" for block in blocks)

    def say(self, calls, outputs):
        usage = {"input_tokens": 100 + outputs, "cache_read_input_tokens": 900, "cache_creation_input_tokens": 0, "output_tokens": 1}
        message = {"id": f"msg_{outputs}", "type": "message", "role": "assistant", "model": self.body["model"],
                   "content": [], "stop_reason": None, "stop_sequence": None, "usage": usage}
        yield "message_start", {"message": message}
        at = 0

        def block(start, *deltas):
            yield "content_block_start", {"index": at, "content_block": start}
            for delta in deltas:
                yield "content_block_delta", {"index": at, "delta": delta}
            yield "content_block_stop", {"index": at}

        if calls:
            yield from block({"type": "thinking", "thinking": "", "signature": ""},
                             {"type": "thinking_delta", "thinking": "thinking é"},
                             {"type": "signature_delta", "signature": SIGNATURE})
            at += 1
        for number, (name, arguments) in enumerate(calls):
            text = json.dumps(arguments, ensure_ascii=False)
            yield from block({"type": "tool_use", "id": f"toolu_{outputs}_{number}", "name": name, "input": {}},
                             {"type": "input_json_delta", "partial_json": text[: len(text) // 2]},
                             {"type": "input_json_delta", "partial_json": text[len(text) // 2 :]})
            at += 1
        if not calls:
            yield from block({"type": "text", "text": ""}, {"type": "text_delta", "text": final(outputs)})
        reason = "tool_use" if calls else "end_turn"
        yield "message_delta", {"delta": {"stop_reason": reason, "stop_sequence": None}, "usage": {"output_tokens": 50}}
        yield "message_stop", {}

    def write(self, events):
        for name, data in events:
            yield f"event: {name}\ndata: {json.dumps({'type': name, **data})}\n\n"

    def whole(self, events):
        start = next(iter(events))[1]["message"]
        return {**start, "content": [{"type": "text", "text": final(self.outputs())}], "stop_reason": "end_turn"}


class Gemini(Api):
    def check(self):
        body = dict(self.body)
        config = dict(body.pop("generationConfig", {}))
        contents = body.pop("contents")
        system, tools = body.pop("systemInstruction", None), body.pop("tools", None)
        choice = body.pop("toolConfig", None)
        expect(not body, f"unknown fields: {sorted(body)}")
        gemini.GenerateContentConfig.model_validate({**config, "systemInstruction": system, "tools": tools, "toolConfig": choice})
        signed, last_role = False, None
        for content in contents:
            gemini.Content.model_validate(content)
            expect(content["role"] in ("user", "model") and content["role"] != last_role, "roles must alternate")
            last_role = content["role"]
            calls = [part for part in content["parts"] if "functionCall" in part]
            if calls:
                expect(calls[0].get("thoughtSignature") == SIGNATURE, "Function call is missing a thought_signature")
                signed = True
        expect(signed or not self.outputs(), "calls without their results")
        for tool in self.body.get("tools", []):
            for function in tool.get("functionDeclarations", []):
                expect("$schema" not in json.dumps(function), "$schema")

    def tools(self):
        return [f["name"] for tool in self.body.get("tools", []) for f in tool.get("functionDeclarations", [])]

    def outputs(self):
        return sum("functionResponse" in part for content in self.body["contents"] for part in content["parts"])

    def say(self, calls, outputs):
        head = {"responseId": f"r{outputs}", "modelVersion": "gemini-3-pro"}
        chunk = lambda parts, more=None: {**head, "candidates": [{"index": 0, "content": {"role": "model", "parts": parts}, **(more or {})}]}  # noqa: E731
        if calls:
            yield chunk([{"text": "thinking é", "thought": True}])
            parts = [{"functionCall": {"name": name, "args": arguments}} for name, arguments in calls]
            parts[0]["thoughtSignature"] = SIGNATURE
            for part in parts:
                yield chunk([part])
        else:
            yield chunk([{"text": final(outputs)}])
        usage = {"promptTokenCount": 1000 + outputs, "cachedContentTokenCount": 900, "candidatesTokenCount": 30,
                 "thoughtsTokenCount": 20, "totalTokenCount": 1050 + outputs}
        yield {**chunk([{"text": ""}], {"finishReason": "STOP"}), "usageMetadata": usage}

    def write(self, events):
        for data in events:
            yield f"data: {json.dumps(data)}\n\n"

    def whole(self, events):
        return {**list(events)[-1], **{"candidates": [{"content": {"role": "model", "parts": [{"text": final(0)}]}, "finishReason": "STOP"}]}}


def api_of(path):
    for part, api in (("/v1/responses", Responses), ("/chat/completions", Chat), ("/v1/messages", Messages), ("enerateContent", Gemini)):
        if part in path:
            return api
    return None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, kind, pieces):
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for piece in pieces:
            data = piece.encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.write(b"0\r\n\r\n")

    def do_GET(self):
        self.answer(404, "application/json", ['{"error":{"message":"nothing here","type":"invalid_request_error"}}'])

    def do_POST(self):
        text = self.rfile.read(int(self.headers["content-length"]))
        found = api_of(self.path)
        if found is None or "count" in self.path or "input_tokens" in self.path:
            return self.do_GET()
        try:
            body = json.loads(text)
            api = found(body)
            api.check()
        except Exception as error:  # whatever it is, it is the request's
            with open(FAULTS_FILE, "a") as faults:
                print(json.dumps({"path": self.path, "error": str(error)[:4000], "body": text.decode()}), file=faults)
            error = {"error": {"message": f"strict: {error}", "type": "invalid_request_error", "code": None, "param": None}}
            return self.answer(400, "application/json", [json.dumps(error)])
        if body.get("stream") or "streamGenerate" in self.path:
            self.answer(200, "text/event-stream", api.write(api.events()))
        else:
            self.answer(200, "application/json", [json.dumps(api.whole(api.events()))])


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
with open(PORT_FILE + ".new", "w") as port:
    print(server.server_address[1], file=port)
import os  # noqa: E402

os.replace(PORT_FILE + ".new", PORT_FILE)
server.serve_forever()
