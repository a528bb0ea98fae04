"""The judges of row 40: espsecure signs images of a folder, and says with esptool what it thinks.

uploads.py FOLDER sign    signs *.bin with one key (image.bin with another one, too), prints the digest
uploads.py FOLDER judge   prints as JSON which *.bin files both tools take
"""

import contextlib
import io
import json
import pathlib
import sys
import zlib

import espsecure
import esptool

FOLDER = pathlib.Path(sys.argv[1])
SECTOR = 4096


def run(tool, *arguments):
    """Returns what a tool printed; None if it failed."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
        try:
            tool.main([str(argument) for argument in arguments])
        except SystemExit as end:
            return None if end.code else text.getvalue()
        except Exception:
            return None
    return text.getvalue()


def sign():
    for key in ("key", "other"):
        pem = FOLDER / f"{key}.pem"
        run(espsecure, "generate-signing-key", "--version", "2", "--scheme", "rsa3072", pem)
        run(espsecure, "extract-public-key", "--version", "2", "--keyfile", pem, FOLDER / f"{key}.pub")
    for image in list(FOLDER.glob("*.bin")):
        key = ("--keyfile", FOLDER / "key.pem")
        run(espsecure, "sign-data", "--version", "2", *key, "--output", image.with_suffix(".signed.bin"), image)
    image = FOLDER / "image.bin"
    key = ("--keyfile", FOLDER / "other.pem")
    run(espsecure, "sign-data", "--version", "2", *key, "--output", FOLDER / "image.other.bin", image)
    # A signature of zeros under a good CRC.
    signed = bytearray((FOLDER / "image.signed.bin").read_bytes())
    block = len(signed) - SECTOR
    signed[block + 812 : block + 1196] = bytes(384)
    crc = zlib.crc32(signed[block : block + 1196])
    signed[block + 1196 : block + 1200] = crc.to_bytes(4, "little")
    (FOLDER / "resealed.bin").write_bytes(signed)
    key = ("--keyfile", FOLDER / "key.pub")
    run(espsecure, "digest-sbv2-public-key", *key, "--output", FOLDER / "digest")
    print((FOLDER / "digest").read_bytes().hex())


def takes(image):
    info = run(esptool, "image-info", image)
    if info is None or "invalid" in info:
        return False
    key = ("--keyfile", FOLDER / "key.pub")
    return run(espsecure, "verify-signature", "--version", "2", *key, image) is not None


if sys.argv[2] == "sign":
    sign()
else:
    print(json.dumps({image.name: takes(image) for image in FOLDER.glob("*.bin")}))
