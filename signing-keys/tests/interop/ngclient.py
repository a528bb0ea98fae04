"""Walks through a repository with python-tuf's own client and downloads every target named.

Usage: ngclient.py REPOSITORY FIRST_ROOT TARGET...

REPOSITORY holds the folders `metadata` and `targets`; it is served over HTTP from a port of the
system's choice. Prints one line per target: path, length, SHA-256 of what was downloaded. Exits
with an error as soon as python-tuf refuses anything.
"""

import functools
import hashlib
import http.server
import pathlib
import sys
import tempfile
import threading

from tuf.ngclient import Updater


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files without a log."""

    def log_message(self, *_args):
        pass


def main():
    repository, first_root, *targets = sys.argv[1:]
    handler = functools.partial(Quiet, directory=repository)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_port}"
    with tempfile.TemporaryDirectory() as folder:
        metadata = pathlib.Path(folder, "metadata")
        metadata.mkdir()
        updater = Updater(
            str(metadata),
            f"{base}/metadata/",
            target_dir=folder,
            target_base_url=f"{base}/targets/",
            bootstrap=pathlib.Path(first_root).read_bytes(),
        )
        updater.refresh()
        for path in targets:
            info = updater.get_targetinfo(path)
            if info is None:
                sys.exit(f"{path} is not listed")
            content = pathlib.Path(updater.download_target(info)).read_bytes()
            print(path, len(content), hashlib.sha256(content).hexdigest())


if __name__ == "__main__":
    main()
