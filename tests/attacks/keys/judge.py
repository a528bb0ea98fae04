"""Judges the repositories of a ceremony folder with python-tuf, whenever it is asked.

Reads lines, each the path of a ceremony folder; answers each with one line of JSON:
{"files": {"acme-th1/metadata/1.root.json": true, ...}, "walks": {"acme-th1": "3 targets", ...}}

`files` says of every root, role file, snapshot and timestamp that counts now whether python-tuf's
Metadata API finds it signed by whom it must be. `walks` says of every repository that has been
published what python-tuf's own client says, which knows only its first root: how many targets it
has downloaded, or why it refuses. A root that is not signed yet is kept from the client.
"""

import functools
import http.server
import itertools
import json
import pathlib
import sys
import tempfile
import threading

from tuf.api.metadata import Metadata
from tuf.ngclient import Updater


def signed_by(delegator, role, metadata):
    try:
        delegator.signed.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
    except Exception:
        return False
    return True


class Folder:
    """The metadata of one repository."""

    def __init__(self, metadata):
        self.metadata = metadata
        self.files = {}
        self.root = None
        self.roots = 0

    def read(self, name):
        path = self.metadata / name
        return Metadata.from_bytes(path.read_bytes()) if path.exists() else None

    def judge(self, name, delegator, role):
        """Returns the file if it is there, and remembers whether it is signed."""
        metadata = self.read(name)
        if metadata is not None:
            self.files[name] = signed_by(delegator, role, metadata)
        return metadata

    def follow_roots(self):
        for version in itertools.count(1):
            name = f"{version}.root.json"
            root = self.read(name)
            if root is None:
                return
            before = self.root or root
            good = signed_by(before, "root", root) and signed_by(root, "root", root)
            self.files[name] = good and root.signed.version == version
            if not self.files[name]:
                return
            self.root, self.roots = root, version

    def judge_working_copies(self):
        targets = self.judge("targets.json", self.root, "targets")
        delegations = targets and targets.signed.delegations
        for role in (delegations and delegations.roles) or []:
            self.judge(f"{role}.json", targets, role)

    def judge_published(self):
        timestamp = self.judge("timestamp.json", self.root, "timestamp")
        if timestamp is not None:
            version = timestamp.signed.snapshot_meta.version
            self.judge(f"{version}.snapshot.json", self.root, "snapshot")

    def walk(self):
        folder = self

        class Quiet(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *_args):
                pass

            def do_GET(self):
                version, _, rest = self.path.rpartition("/")[2].partition(".")
                if rest == "root.json" and int(version) > folder.roots:
                    self.send_error(404)
                else:
                    super().do_GET()

        handler = functools.partial(Quiet, directory=str(self.metadata.parent))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            return self.download(f"http://127.0.0.1:{server.server_port}")
        except Exception as refusal:
            return f"refused: {type(refusal).__name__}"
        finally:
            server.shutdown()
            server.server_close()

    def download(self, base):
        with tempfile.TemporaryDirectory() as folder:
            updater = Updater(
                folder,
                f"{base}/metadata/",
                target_dir=folder,
                target_base_url=f"{base}/targets/",
                bootstrap=(self.metadata / "1.root.json").read_bytes(),
            )
            updater.refresh()
            count = 0
            for path in self.listed():
                updater.download_target(updater.get_targetinfo(path))
                count += 1
        return f"{count} targets"

    def listed(self):
        timestamp = self.read("timestamp.json").signed
        snapshot = self.read(f"{timestamp.snapshot_meta.version}.snapshot.json").signed
        for name, meta in snapshot.meta.items():
            yield from self.read(f"{meta.version}.{name}").signed.targets


def judge(ceremony):
    files, walks = {}, {}
    for metadata in sorted(ceremony.glob("*/metadata")):
        folder = Folder(metadata)
        folder.follow_roots()
        if folder.root is not None:
            folder.judge_working_copies()
            folder.judge_published()
        below = metadata.relative_to(ceremony)
        files.update({f"{below}/{name}": good for name, good in folder.files.items()})
        if (metadata / "timestamp.json").exists():
            walks[str(below.parent)] = folder.walk()
    return {"files": files, "walks": walks}


for line in sys.stdin:
    print(json.dumps(judge(pathlib.Path(line.strip()))), flush=True)
