"""Says how securesystemslib reads JSON texts, one per line in hex.

For each text prints the canonical form in hex, or `refused`.

Usage: canonical.py FILE
"""

import json
import sys
from pathlib import Path

from securesystemslib.formats import encode_canonical


def canonical(text: bytes) -> str:
    try:
        return encode_canonical(json.loads(text.decode("utf-8"))).encode("utf-8").hex()
    except Exception:  # whatever it is, it is a refusal
        return "refused"


if __name__ == "__main__":
    for line in Path(sys.argv[1]).read_text().splitlines():
        print(canonical(bytes.fromhex(line)))
