"""Validates a node's OpenAPI document, generates a client from it in the working directory, and calls the node with it."""

import json
import pathlib
import subprocess
import sys
import urllib.request

from openapi_spec_validator import validate

url, admin, key = sys.argv[1:]
document = json.load(urllib.request.urlopen(f"{url}/admin/v1/openapi.json"))
validate(document)

pathlib.Path("openapi.json").write_text(json.dumps(document))
pathlib.Path("generator.json").write_text(json.dumps({"post_hooks": []}))
generate = [sys.executable, "-m", "openapi_python_client", "generate", "--path", "openapi.json", "--meta", "none"]
generated = subprocess.run(
    [*generate, "--output-path", "generated", "--config", "generator.json"],
    capture_output=True,
    text=True,
    check=False,
)
assert generated.returncode == 0, generated.stdout + generated.stderr

sys.path.insert(0, ".")
from generated import AuthenticatedClient, Client  # noqa: E402
from generated.api.data_plane import post_v1_messages  # noqa: E402
from generated.api.health import get_healthz, get_readyz  # noqa: E402
from generated.api.keys import get_keys, post_keys  # noqa: E402
from generated.api.stats import get_stats, get_stats_users  # noqa: E402
from generated.api.usage import get_usage  # noqa: E402
from generated.api.users import get_users, get_users_id, post_users  # noqa: E402
from generated.models import NewKeyInput, NewUserInput, PostV1MessagesBody  # noqa: E402

anyone = Client(base_url=url)
assert get_healthz.sync_detailed(client=anyone).status_code == 200
assert get_readyz.sync_detailed(client=anyone).status_code == 200
refused = get_users.sync(client=anyone)
assert refused.status == 401, refused

people = AuthenticatedClient(base_url=url, token=admin)
made = post_users.sync(client=people, body=NewUserInput(name="generated"))
assert made.name == "generated", made
assert get_users_id.sync("generated", client=people).id == made.id
assert {user.name for user in get_users.sync(client=people, limit=50).items} >= {"generated", "developer"}
created = post_keys.sync(client=people, body=NewKeyInput(user="generated"))
assert created.key.startswith("sk-sp-"), created
assert get_keys.sync(client=people, user="generated").items[0].prefix in created.key

caller = AuthenticatedClient(base_url=url, token=key)
body = PostV1MessagesBody.from_dict(
    {"model": "claude-sonnet-4-5", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
)
answer = post_v1_messages.sync_detailed(client=caller, body=body)
assert answer.status_code == 200, answer
assert get_stats.sync(client=people).request_count == 1
assert get_stats_users.sync(client=people).items[0].user == "developer"
assert get_usage.sync(client=people).items[0].model == "claude-sonnet-4-5"
