"""/rpp/snapshots/1.0.0 for py-libp2p: one JSON document each way on a stream of its own, each side closes its half after it."""

import json
import random

from libp2p import new_host
from libp2p.network.stream.exceptions import StreamEOF, StreamReset
from libp2p.peer.peerinfo import info_from_p2p_addr
from multiaddr import Multiaddr

PROTOCOL = "/rpp/snapshots/1.0.0"
REQUEST_BOUND = 64 * 1024
RESPONSE_BOUND = 8 * 1024 * 1024
MAX_INTEGER = 2**53 - 1
TRIES = 5


def host(quic=False):
    return new_host(enable_quic=quic)


async def read(stream, bound):
    """Reads until the other side closes its half, and parses the document.

    Over TCP a lost connection looks like a clean end. Over QUIC every end is a reset, which now and then loses the last
    bytes. So only parsing tells whether the message is complete: the beginning of a document does not parse.
    """
    pieces, length = [], 0
    while True:
        try:
            piece = await stream.read(65536)
        except (StreamEOF, StreamReset):
            break
        if not piece:
            break
        pieces.append(piece)
        length += len(piece)
        if length > bound:
            raise ValueError(f"a message of more than {bound} bytes")
    return json.loads(b"".join(pieces))


async def write(stream, message):
    data = json.dumps(message, separators=(",", ":")).encode()
    for at in range(0, len(data), 65536):
        await stream.write(data[at : at + 65536])
    await stream.close_write()


class Session:
    """A consumer's session: one request after the other."""

    def __init__(self, host, address):
        self.host = host
        self.info = info_from_p2p_addr(Multiaddr(address))
        self.id = random.randint(1, MAX_INTEGER)

    async def ask(self, type_, **fields):
        for tries_left in reversed(range(TRIES)):
            await self.host.connect(self.info)
            stream = await self.host.new_stream(self.info.peer_id, [PROTOCOL])
            try:
                await write(stream, {"type": type_, "session_id": self.id, **fields})
                answer = await read(stream, RESPONSE_BOUND)
                break
            except json.JSONDecodeError:
                # The answer was cut off on the way. Every request may be repeated.
                if not tries_left:
                    raise
            finally:
                await stream.close()
        if answer.get("type") != type_ or answer.get("session_id") != self.id:
            raise ValueError(f"{type_} was answered by {str(answer)[:200]}")
        return answer

    async def fetch(self, chunk_size):
        """Fetches everything that a mirror needs: the plan, all updates, all chunks with their proofs."""
        plan = await self.ask("plan", chunk_size=chunk_size)
        totals = plan["plan"]
        updates = [await self.ask("light_client_update", update_index=index) for index in range(totals["total_updates"])]
        chunks = [await self.ask("chunk", chunk_index=index) for index in range(totals["total_chunks"])]
        await self.ask("ack", kind="light_client_update", index=len(updates) - 1)
        await self.ask("ack", kind="chunk", index=len(chunks) - 1)
        return plan, updates, chunks
