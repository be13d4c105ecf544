"""python client.py PROVIDER FILE [CHUNK-SIZE]

Streams a snapshot into FILE and checks it against the root that the plan names. Who vouches for that root (the commitment
chain, its signatures and the recursive proof) is not checked here: docs/protocol.md says how.
"""

import base64
import json
import sys
import time

import trio
from blake3 import blake3

from session import Session, host


async def main(provider, file, chunk_size="1048576"):
    node = host(quic="/quic" in provider)
    async with node.run(listen_addrs=[]):
        begun = time.monotonic()
        plan, _, chunks = await Session(node, provider).fetch(int(chunk_size))
        seconds = round(time.monotonic() - begun, 3)
    payload = b"".join(base64.b64decode(answer["chunk"], validate=True) for answer in chunks)
    root = blake3(payload).hexdigest()
    if root != plan["plan"]["snapshot"]["state_root"]:
        raise ValueError(f"the payload's root is {root}")
    with open(file, "wb") as out:
        out.write(payload)
    print(json.dumps({"root": root, "bytes": len(payload), "chunk_size": plan["plan"]["chunk_size"], "seconds": seconds}))


trio.run(main, *sys.argv[1:])
