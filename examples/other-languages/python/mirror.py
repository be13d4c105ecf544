"""python mirror.py PROVIDER LISTEN [CHUNK-SIZE]

Fetches a snapshot once and serves it to everybody, in chunks of the size in which it came. Sessions live as long as the
process; a real provider keeps their records on its disk (docs/protocol.md, "What a provider does").
"""

import json
import sys

import trio
from multiaddr import Multiaddr

from session import PROTOCOL, REQUEST_BOUND, Session, host, read, write


class Mirror:
    def __init__(self, plan, updates, chunks):
        self.plan, self.updates, self.chunks = plan, updates, chunks
        self.size = plan["plan"]["chunk_size"]
        self.sessions = {}  # (peer, session) -> what is acknowledged of each kind, as counts

    def answer(self, peer, request):
        session = request.get("session_id", 0)
        kind = request.get("type")
        snapshot = self.plan["plan"]["snapshot"]

        def refuse(code, message):
            return {"type": "error", "session_id": session, "code": code, "message": message}

        if kind == "plan":
            if request.get("min_chunk_size", 1) > self.size or request.get("max_chunk_size", self.size) < self.size:
                return refuse("invalid", f"chunks are of {self.size} bytes here")
            for name, field in (("root", "state_root"), ("height", "height")):
                if request.get(name, snapshot[field]) != snapshot[field]:
                    return refuse("not_found", "no such snapshot")
            self.sessions[peer, session] = {"chunk": 0, "light_client_update": 0}
            return {**self.plan, "session_id": session, "min_chunk_size": self.size, "max_chunk_size": self.size}
        if kind == "error":
            self.sessions.pop((peer, session), None)
            return refuse("cancelled", "the session was cancelled")
        acked = self.sessions.get((peer, session))
        if acked is None:
            return refuse("not_found", f"session {session} is not open here")
        if kind == "chunk":
            if request["chunk_index"] >= len(self.chunks):
                return refuse("invalid", "beyond the last chunk")
            return {**self.chunks[request["chunk_index"]], "session_id": session}
        if kind == "light_client_update":
            if request["update_index"] >= len(self.updates):
                return refuse("invalid", "beyond the last update")
            return {**self.updates[request["update_index"]], "session_id": session}
        if kind == "ack":
            if request["kind"] != "plan":
                acked[request["kind"]] = max(acked[request["kind"]], request["index"] + 1)
            return request
        if kind == "resume":
            if request["plan_id"] != self.plan["plan"]["plan_id"]:
                return refuse("plan_changed", f"it streams plan {self.plan['plan']['plan_id']}")
            if request["chunk_index"] < acked["chunk"] or request["update_index"] < acked["light_client_update"]:
                return refuse("resume_regressed", f"expected chunk {acked['chunk']} or later")
            if request["chunk_index"] > len(self.chunks) or request["update_index"] > len(self.updates):
                return refuse("resume_out_of_bounds", f"there are {len(self.chunks)} chunks")
            return {**request, "chunk_size": self.size}
        return refuse("invalid", f"{kind} is no request")

    async def serve(self, stream):
        peer = str(stream.muxed_conn.peer_id)
        try:
            answer = self.answer(peer, await read(stream, REQUEST_BOUND))
        except json.JSONDecodeError:
            # The request was probably cut off on the way. A consumer without an answer repeats it.
            return await stream.reset()
        except (ValueError, KeyError) as error:
            answer = {"type": "error", "session_id": 0, "code": "invalid", "message": str(error)}
        await write(stream, answer)


async def main(provider, listen, chunk_size="1048576"):
    node = host(quic="/quic" in listen or "/quic" in provider)
    async with node.run(listen_addrs=[Multiaddr(listen)]):
        mirror = Mirror(*await Session(node, provider).fetch(int(chunk_size)))
        node.set_stream_handler(PROTOCOL, mirror.serve)
        print(f"listening on {node.get_addrs()[0]}", flush=True)
        await trio.sleep_forever()


trio.run(main, *sys.argv[1:])
