"""Signs the requests that it is given as JSON with botocore, and prints the headers that it adds."""

import base64
import datetime
import json
import sys

import botocore.auth
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials


def signed(case):
    at = datetime.datetime.fromtimestamp(case["at"], datetime.timezone.utc)
    botocore.auth.get_current_datetime = lambda *_, **__: at
    body = base64.b64decode(case["body"])
    request = AWSRequest(method=case["method"], url=case["url"], data=body)
    for name, value in case["headers"]:
        request.headers.add_header(name, value)
    credentials = Credentials(case["access_key_id"], case["secret_access_key"], case["session_token"])
    auth = SigV4Auth(credentials, case["service"], case["region"])
    request.headers["X-Amz-Content-SHA256"] = auth.payload(request)
    auth.add_auth(request)
    return {name.lower(): value for name, value in request.headers.items()}


json.dump([signed(case) for case in json.load(sys.stdin)], sys.stdout)
