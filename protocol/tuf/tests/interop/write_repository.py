"""Writes a repository with python-tuf, for ours to verify.

Root 1 holds three Ed25519 keys, two of which must sign; root 2 replaces one by a P-256 key and
rotates the timestamp key. `targets` delegates `acme/stable/*/*` to a role with an Ed25519 and a
P-256 key, both of which must sign.

Usage: write_repository.py FOLDER
"""

import sys
from datetime import datetime, timezone
from pathlib import Path

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    MetaFile,
    Metadata,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

EXPIRES = datetime(2026, 12, 31, tzinfo=timezone.utc)
REPOSITORY = {"repo": "image/acme"}
ROLE = "acme-stable"


def main(folder: Path) -> None:
    ed25519 = [CryptoSigner.generate_ed25519() for _ in range(8)]
    ecdsa = [CryptoSigner.generate_ecdsa() for _ in range(3)]

    root = Root(expires=EXPIRES, consistent_snapshot=True, unrecognized_fields=REPOSITORY)
    for role, signers in {
        "root": ed25519[:3],
        "timestamp": [ed25519[3]],
        "snapshot": [ecdsa[0]],
        "targets": [ed25519[4]],
    }.items():
        for signer in signers:
            root.add_key(signer.public_key, role)
    root.roles["root"].threshold = 2
    write(folder, "1.root", root, ed25519[:2])

    root.version = 2
    root.revoke_key(ed25519[2].public_key.keyid, "root")
    root.add_key(ecdsa[1].public_key, "root")
    root.revoke_key(ed25519[3].public_key.keyid, "timestamp")
    root.add_key(ed25519[5].public_key, "timestamp")
    write(folder, "2.root", root, [ed25519[0], ed25519[1], ecdsa[1]])

    content = b"not really firmware"
    target = TargetFile.from_data("acme/stable/1.4.2/esp32c3.bin", content, ["sha256", "sha512"])
    target.unrecognized_fields["custom"] = {"match": {"version": "1.4.2", "note": 'é "quoted" \\ \n'}}
    role = Targets(
        version=7,
        expires=EXPIRES,
        targets={target.path: target},
        unrecognized_fields=REPOSITORY,
    )
    role_signers = [ed25519[6], ecdsa[2]]
    role_bytes = write(folder, f"7.{ROLE}", role, role_signers)

    keys = {signer.public_key.keyid: signer.public_key for signer in role_signers}
    delegation = DelegatedRole(ROLE, list(keys), 2, True, ["acme/stable/*/*"])
    targets = Targets(
        version=3,
        expires=EXPIRES,
        delegations=Delegations(keys, {ROLE: delegation}),
        unrecognized_fields=REPOSITORY,
    )
    targets_bytes = write(folder, "3.targets", targets, [ed25519[4]])

    meta = {
        "targets.json": MetaFile.from_data(3, targets_bytes, ["sha256"]),
        f"{ROLE}.json": MetaFile.from_data(7, role_bytes, ["sha512"]),
    }
    snapshot = Snapshot(version=9, expires=EXPIRES, meta=meta, unrecognized_fields=REPOSITORY)
    snapshot_bytes = write(folder, "9.snapshot", snapshot, [ecdsa[0]])

    snapshot_meta = MetaFile.from_data(9, snapshot_bytes, ["sha256"])
    timestamp = Timestamp(
        version=12,
        expires=EXPIRES,
        snapshot_meta=snapshot_meta,
        unrecognized_fields=REPOSITORY,
    )
    write(folder, "timestamp", timestamp, [ed25519[5]])


def write(folder: Path, name: str, signed, signers) -> bytes:
    """Signs, and writes the way python-tuf does by default: indented, not compact."""
    metadata = Metadata(signed)
    for signer in signers:
        metadata.sign(signer, append=True)
    data = metadata.to_bytes(JSONSerializer())
    (folder / f"{name}.json").write_bytes(data)
    return data


if __name__ == "__main__":
    main(Path(sys.argv[1]))
