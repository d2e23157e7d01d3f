"""Checks a node's SCIM with scim2-tester, which others have written to check servers by the RFCs.

Called by tests/it/cluster/scim.rs: scim.py URL TOKEN. Prints one JSON line: how many checks have passed, which were
skipped, with the reason, and which have failed. Needs scim2-tester from PyPI.
"""

import json
import sys
import uuid
from types import SimpleNamespace

from httpx2 import Client
from scim2_client.engines.httpx2 import SyncSCIMClient
from scim2_tester import Status, check_server, filling


class Name:
    """What the tester calls things: it makes UUIDs, and names that look like an id are refused here."""

    def __init__(self):
        self.id = uuid.uuid4()
        self.bytes = self.id.bytes

    def __str__(self):
        return f"made-{self.id}"

    __format__ = lambda self, _: str(self)


filling.uuid = SimpleNamespace(uuid4=Name)


def main(url, token):
    headers = {"authorization": f"Bearer {token}"}
    with Client(base_url=f"{url}/scim/v2", headers=headers, timeout=60) as client:
        results = check_server(SyncSCIMClient(client))
    of = lambda status: [f"{r.title} {r.resource_type or ''}: {r.reason}" for r in results if r.status == status]
    passed = of(Status.SUCCESS)
    skipped = of(Status.SKIPPED)
    failed = [f"{r.title} {r.resource_type or ''}: {r.reason} {r.data}" for r in results
              if r.status not in (Status.SUCCESS, Status.SKIPPED)]
    print(json.dumps({"passed": passed, "skipped": skipped, "failed": failed}))


main(*sys.argv[1:])
