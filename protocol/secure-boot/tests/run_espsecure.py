"""Runs espsecure commands one after the other; starting Python takes longer than the rest.

Reads a JSON list of argument lists from standard input, writes a JSON list of
{"accepted": bool, "text": str} to standard output.
"""

import contextlib
import io
import json
import sys

import espsecure


def run(arguments):
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
        try:
            espsecure.main(arguments)
            accepted = True
        except SystemExit as end:
            accepted = not end.code
        except Exception as error:
            print(error)
            accepted = False
    return {"accepted": accepted, "text": text.getvalue()}


json.dump([run(arguments) for arguments in json.load(sys.stdin)], sys.stdout)
