"""Prints the credentials that botocore finds on this machine."""

import json
import sys

import botocore.session

found = botocore.session.get_session().get_credentials().get_frozen_credentials()
json.dump([found.access_key, found.secret_key, found.token], sys.stdout)
