"""Says how python-tuf reads metadata files, one per line in hex.

For each file prints type, version and expiry (Unix seconds); `refused` if it is no metadata to it;
`unsigned` if the signature of the key does not cover what it read.

Usage: metadata.py FILE, whose first line is the key as a TUF key object
"""

import json
import sys
from datetime import timezone
from pathlib import Path

from tuf.api.metadata import Key, Metadata


def verdict(data: bytes, key: Key) -> str:
    try:
        metadata = Metadata.from_bytes(data)
        signed = metadata.signed
        expires = int(signed.expires.replace(tzinfo=timezone.utc).timestamp())
    except Exception:  # whatever it is, it is a refusal
        return "refused"
    try:
        key.verify_signature(metadata.signatures[key.keyid], metadata.signed_bytes)
    except Exception:
        return "unsigned"
    return f"{signed.type} {signed.version} {expires}"


if __name__ == "__main__":
    first, *lines = Path(sys.argv[1]).read_text().splitlines()
    key_object = json.loads(first)
    key = Key.from_dict(key_object.pop("keyid"), key_object)
    for line in lines:
        print(verdict(bytes.fromhex(line), key))
