"""Claude Code and Codex against a node in front of providers on a bad day; by hand, for they are large and not ours to pin.

storm_cli.py SPROXY claude=PATH codex=PATH [rounds=N] [uncertain=false]: starts two mock providers and a node, plays each kind of failure to
each call of a client while the other provider is well, and compares what the clients printed, the node's books and the
providers' totals. Then all providers fail, and what the clients say is printed. Their own retries are turned off.
"""

import collections
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.request

sproxy, *options = sys.argv[1:]
options = dict(option.split("=", 1) for option in options)
rounds = int(options.get("rounds", 1))
home = pathlib.Path(tempfile.mkdtemp(prefix="storm-"))
running = []

ENVIRONMENT = {**os.environ, "SPROXY_ADMIN_PASSWORD": "correct horse battery"}
# A good answer after what counts against a target's health keeps it from being ejected.
DAY = [
    {"status": 529},
    {"status": 503, "headers": {"retry-after": "20"}},
    {"status": 429, "headers": {"retry-after": "7"}},
    {"fail": "reset"},
    {},
    {"fail": "before-headers"},
    {},
    {"fail": "close-unread"},
    {},
    {"fail": "error-event", "after": 0, "status": 503},
    {"fail": "error-event", "after": 1, "status": 503},
    {},
]
WORDS = {
    "claude": {
        "type": "error",
        "error": {"type": "overloaded_error", "message": "own words of the last provider"},
        "request_id": "req_own",
    },
    "codex": {"error": {"message": "own words of the last provider", "type": "odd", "param": None, "code": "own"}},
}


def start(*arguments):
    """Starts the program; where it listens."""
    child = subprocess.Popen([sproxy, *arguments], stderr=subprocess.PIPE, text=True, cwd=home, env=ENVIRONMENT)
    running.append(child)
    log = open(home / f"{len(running)}.log", "w")
    for line in child.stderr:
        log.write(line)
        try:
            said = json.loads(line)
        except ValueError:
            continue
        fields = said.get("fields", said)
        if fields.get("message") == "ready":
            # What follows would fill the pipe.
            subprocess.Popen(["cat"], stdin=child.stderr, stdout=log)
            return "http://" + fields["http"]
    raise SystemExit(f"{arguments} did not start: {open(log.name).read()}")


def get(url):
    with urllib.request.urlopen(url) as answer:
        return json.load(answer)


def script(mock, steps):
    urllib.request.urlopen(urllib.request.Request(mock + "/mock/script", json.dumps(steps).encode())).close()


def played(mock):
    return sum(step["played"] for step in get(mock + "/mock/script"))


def command(*arguments):
    environment = {**os.environ, "NO_COLOR": "1"}
    ran = subprocess.run(
        [sproxy, *arguments, "--server", node, "--data-dir", str(home / "data"), "--json"],
        capture_output=True,
        text=True,
        env=environment,
    )
    if ran.returncode:
        raise SystemExit(f"{arguments}: {ran.stderr}")
    return json.loads(ran.stdout) if ran.stdout.strip() else None


def rows():
    request = urllib.request.Request(node + "/admin/v1/usage?format=jsonl")
    request.add_header("authorization", "Bearer " + (home / "data/admin.token").read_text().strip())
    with urllib.request.urlopen(request) as answer:
        return [json.loads(line) for line in answer.read().decode().splitlines()]


def claude(model, prompt):
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home / "claude"),
        "ANTHROPIC_BASE_URL": node,
        "ANTHROPIC_AUTH_TOKEN": key,
        "ANTHROPIC_MODEL": model,
        "ANTHROPIC_DEFAULT_HAIKU_MODEL": model,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "CLAUDE_CODE_MAX_RETRIES": "0",
        "CLAUDE_CODE_DISABLE_NONSTREAMING_FALLBACK": "1",
        "DISABLE_AUTOUPDATER": "1",
    }
    return run([options["claude"], "-p", prompt], environment)


def codex(model, prompt):
    (home / "codex").mkdir(exist_ok=True)
    (home / "codex/config.toml").write_text(
        f"""
model_provider = "sproxy"
[model_providers.sproxy]
name = "sproxy"
base_url = "{node}/v1"
env_key = "STORM_KEY"
wire_api = "responses"
request_max_retries = 0
stream_max_retries = 0
"""
    )
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "CODEX_HOME": str(home / "codex"), "STORM_KEY": key}
    return run([options["codex"], "exec", "--skip-git-repo-check", "-m", model, prompt], environment)


def run(arguments, environment):
    (home / "work").mkdir(exist_ok=True)
    ran = subprocess.run(
        arguments, env=environment, cwd=home / "work", stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=180
    )
    return ran.returncode, ran.stdout.strip(), ran.stderr.strip()


def weather_the_storm(name, client):
    good, noticed, hits = 0, [], collections.Counter()
    for at, step in enumerate(DAY * rounds):
        # For each call the client makes, and a client may make several.
        script(mocks[0], [{**step, "times": 100}])
        code, out, err = client(f"{name}-storm-{at}", f"Say hello, call {at}")
        hits[json.dumps(step)] += played(mocks[0])
        if code == 0 and "mock provider" in out:
            good += 1
        else:
            noticed.append((step, code, out[-500:], err[-500:]))
    print(f"{name}: {good} of {len(DAY) * rounds} runs answered; failures played to its calls:")
    for step, count in hits.items():
        print(f"  {count:3} x {step}")
    for what in noticed:
        print("  NOTICED:", what)


def books():
    served = collections.Counter()
    for mock in mocks:
        for sums in get(mock + "/mock/served").values():
            served.update({name: sums[name] for name in ["requests", "input", "output", "errors"]})
    until = time.time() + 30
    while True:
        ok = [row for row in rows() if row["outcome"] == "ok" and row["total_tokens"]]
        booked = {
            "requests": len(ok),
            "input": sum(row["input_tokens"] for row in ok),
            "output": sum(row["output_tokens"] for row in ok),
        }
        if all(booked[name] == served[name] for name in booked) or time.time() > until:
            break
        time.sleep(0.2)
    print("served by the providers:", dict(served))
    print("booked by the node:     ", booked)
    reasons = collections.Counter(attempt["reason"] for row in rows() for attempt in row["attempts"])
    outcomes = collections.Counter(row["outcome"] for row in rows())
    print("outcomes:", dict(outcomes), " failed attempts:", dict(reasons))
    return all(booked[name] == served[name] for name in booked)


try:
    mocks = [start("mock-provider", "--listen", "127.0.0.1:0") for _ in range(2)]
    targets = ""
    for provider in ["anthropic", "openai"]:
        for tier, mock in enumerate(mocks):
            targets += f'[[targets]]\nname = "{provider}-{tier}"\nprovider = "{provider}"\nurl = "{mock}"\n'
            targets += f'api_key = "k-{tier}"\ntier = {tier}\n'
    (home / "sproxy.toml").write_text(
        f"""
[http]
listen = "127.0.0.1:0"
[cluster]
listen = "127.0.0.1:0"
[node]
data_dir = "{home}/data"
[log]
format = "json"
[upstream]
retry_uncertain = {options.get("uncertain", "true")}
{targets}"""
    )
    node = start("serve", "--config", str(home / "sproxy.toml"))
    command("user", "add", "storm")
    key = command("key", "create", "--user", "storm")["key"]
    clients = {name: client for name, client in [("claude", claude), ("codex", codex)] if name in options}
    for name, client in clients.items():
        weather_the_storm(name, client)
    exact = books()
    print("books:", "exact" if exact else "NOT EXACT")
    for name, client in clients.items():
        words = {"body": WORDS[name], "headers": {"retry-after": "1"}}
        steps = [{"status": status, **words} for status in [429, 529, 503]]
        message = WORDS[name]["error"]["message"]
        steps += [{"fail": "error-event", "after": 0, "status": 503, "message": message}, {"fail": "reset"}]
        for at, step in enumerate(steps):
            for mock in mocks:
                script(mock, [{**step, "times": 1000}])
            code, out, err = client(f"{name}-down-{at}", "Say hello")
            calls = [played(mock) for mock in mocks]
            print(f"\n{name}, all providers {step}: exit code {code}, calls at the providers {calls}")
            print("  stdout:", out[-700:].replace("\n", "\n          "))
            print("  stderr:", err[-500:].replace("\n", "\n          "))
finally:
    for child in reversed(running):
        child.terminate()
        child.wait()
