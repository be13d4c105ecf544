#!/usr/bin/env bash
# Three object store emulators answer the same ranged reads of a blob with different bytes.
#
# Guess: code that reads pieces of a blob, and whose tests pass against an emulator of its object store, has read the right bytes,
# because a 206 carries the bytes of the requested range.
#
# Seen on a blob of the ten bytes 0123456789 and on an empty one, 2026-11-28:
#
#   Range        moto 5.2.5 (S3)       s3rver 3.7.1 (S3)                        azurite 3.35.0 (Azure)
#   2-4          206 2-4/10, 234       206 2-4/10, 234                          206 2-4/10, 234
#   0-0          206 0-0/10, 0         206 0-9/10, 0123456789: all of it        206 0-0/10, 0
#   -3           206 7-9/10, 789       206 0-3/10, 0123: the start, not the end 500
#   10-          416                   416                                      206 10-9/10, nothing
#   0-, empty    416                   (not asked)                              206 0--1/0, nothing
#
# Real S3 answers the second with one byte, the third with the last three, the last two with 416; Azure documents no suffix ranges
# and 416 at the end. So a reader compares Content-Range and length with what it asked for, also in tests; and a loop that reads
# until 416 does not end against azurite.
#
# Needs python3 with venv, node and npm; traffic on loopback only. Exits 1 when anything of this changes.
set -euo pipefail
work=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check 'moto[s3,server]==5.2.5' boto3==1.44.8 azure-storage-blob==12.31.1
npm install --silent --no-audit --no-fund --prefix . s3rver@3.7.1 azurite@3.35.0 >/dev/null
read -r moto s3rver azurite < <(venv/bin/python - <<'PY'
import socket
held = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
print(*(one.getsockname()[1] for one in held))
PY
)
venv/bin/moto_server -p "$moto" >/dev/null 2>&1 & pids+=($!)
mkdir s3 azure
node_modules/.bin/s3rver -a 127.0.0.1 -p "$s3rver" -d s3 --silent >/dev/null 2>&1 & pids+=($!)
node_modules/.bin/azurite-blob --blobHost 127.0.0.1 --blobPort "$azurite" -l azure --skipApiVersionCheck --disableTelemetry \
    --silent >/dev/null 2>&1 & pids+=($!)

venv/bin/python - "$moto" "$s3rver" "$azurite" <<'PY'
import socket, sys, time, urllib.error, urllib.request
import boto3
from azure.storage.blob import BlobServiceClient
from botocore.config import Config

ports = dict(zip(("moto", "s3rver", "azurite"), sys.argv[1:]))
for port in ports.values():
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", int(port)), 1).close()
            break
        except OSError:
            time.sleep(0.1)

urls = {}
for name in ("moto", "s3rver"):
    client = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{ports[name]}", aws_access_key_id="S3RVER",
                          aws_secret_access_key="S3RVER", region_name="us-east-1",
                          config=Config(s3={"addressing_style": "path"}))
    client.create_bucket(Bucket="bucket")
    for key, body in (("ten", b"0123456789"), ("empty", b"")):
        client.put_object(Bucket="bucket", Key=key, Body=body)
        urls[name, key] = client.generate_presigned_url("get_object", Params={"Bucket": "bucket", "Key": key})
# The emulator's own account, the same in every installation.
account = "devstoreaccount1"
key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
container = BlobServiceClient(f"http://127.0.0.1:{ports['azurite']}/{account}", credential=key).create_container(
    "public", public_access="blob")
for name, body in (("ten", b"0123456789"), ("empty", b"")):
    blob = container.get_blob_client(name)
    blob.upload_blob(body)
    urls["azurite", name] = blob.url

def get(url, wanted):
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers={"Range": f"bytes={wanted}"})) as answer:
            return f"{answer.status} {answer.headers.get('Content-Range')} {answer.read().decode()}".strip()
    except urllib.error.HTTPError as error:
        return str(error.code)

expected = {
    ("moto", "ten"): {"2-4": "206 bytes 2-4/10 234", "0-0": "206 bytes 0-0/10 0", "-3": "206 bytes 7-9/10 789", "10-": "416"},
    ("moto", "empty"): {"0-": "416"},
    ("s3rver", "ten"): {"2-4": "206 bytes 2-4/10 234", "0-0": "206 bytes 0-9/10 0123456789", "-3": "206 bytes 0-3/10 0123",
                        "10-": "416"},
    ("azurite", "ten"): {"2-4": "206 bytes 2-4/10 234", "0-0": "206 bytes 0-0/10 0", "-3": "500", "10-": "206 bytes 10-9/10"},
    ("azurite", "empty"): {"0-": "206 bytes 0--1/0"},
}
changed = False
for (name, blob), ranges in expected.items():
    for wanted, said in ranges.items():
        seen = get(urls[name, blob], wanted)
        print(f"{name:8} {blob:5} bytes={wanted:4} {seen}" + ("" if seen == said else f"   CHANGED, was: {said}"))
        changed |= seen != said
sys.exit(changed)
PY
