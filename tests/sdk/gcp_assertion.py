"""Makes the assertion of a service account at a given time with google-auth, verifies another with the account's public
key, and prints both."""

import datetime
import json
import sys

from cryptography.hazmat.primitives import serialization
from google.auth import _helpers, jwt
from google.oauth2 import service_account

asked = json.load(sys.stdin)
at = datetime.datetime.fromtimestamp(asked["at"], datetime.timezone.utc).replace(tzinfo=None)
_helpers.utcnow = lambda: at
credentials = service_account.Credentials.from_service_account_info(
    asked["file"], scopes=["https://www.googleapis.com/auth/cloud-platform"]
)
key = serialization.load_pem_private_key(asked["file"]["private_key"].encode(), password=None)
public = key.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)
json.dump(
    {
        "assertion": credentials._make_authorization_grant_assertion().decode(),
        "verified": jwt.decode(asked["verify"], certs=public),
    },
    sys.stdout,
)
