"""Adds to the OpenAPI description what schemathesis needs for its checks, and other readers do not.

described.py OPENAPI: prints the description, in which

- `/events` is described event by event, as schemathesis reads a stream, and the JSON in each event's data, too;
- a peer is one that the node accepts, because random text is not a peer and no schema can say whether a peer has an address; so is a
  mirror, and a list of either has one at most, because none may stand there twice;
- the two bounds of the chunk size are in separate requests, because a schema cannot say that one is not above the other, and a
  resume does not repeat the session's own chunk size.
"""

import copy
import json
import sys

PEER = "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"
OTHER = "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWGjLmW1BoGWE2fvTUrXVqXCvK8Yd2jGVHYiFDy5vQpQg6"
MIRROR = "http://127.0.0.1:1/snapshots"

with open(sys.argv[1], encoding="utf-8") as file:
    description = json.load(file)
schemas = description["components"]["schemas"]

events = description["paths"]["/p2p/snapshots/{session}/events"]["get"]["responses"]["200"]["content"]["text/event-stream"]


def event(name, data):
    data = {"type": "string", "contentMediaType": "application/json", "contentSchema": data}
    return {
        "type": "object",
        "properties": {"event": {"const": name}, "data": data},
        "required": ["event", "data"],
        "additionalProperties": False,
    }


end = {"type": "object", "properties": {"reason": {"enum": ["complete", "failed", "cancelled", "shutdown"]}}, "required": ["reason"]}
events["schema"] = {"oneOf": [event("message", {"$ref": "#/components/schemas/SnapshotStreamStatus"}), event("end", end)]}

del schemas["Resume"]["properties"]["chunk_size"]
for name in ["Start", "Resume"]:
    schemas[name]["properties"]["peer"]["enum"] = [PEER]
for field, value in [("peers", OTHER), ("mirrors", MIRROR)]:
    schemas["Start"]["properties"][field]["items"]["enum"] = [value]
    schemas["Start"]["properties"][field]["maxItems"] = 1
schemas["AddedPeer"]["properties"]["peer"]["enum"] = [OTHER]
schemas["AddedMirror"]["properties"]["mirror"]["enum"] = [MIRROR]
removal = description["paths"]["/p2p/snapshots/{session}/sources/{source}"]["delete"]
removal["parameters"][1]["schema"]["enum"] = [OTHER.rsplit("/", 1)[1], MIRROR]
upper = copy.deepcopy(schemas["Start"])
del schemas["Start"]["properties"]["max_chunk_size"]
del upper["properties"]["min_chunk_size"]
schemas["StartWithUpperBound"] = upper
body = description["paths"]["/p2p/snapshots"]["post"]["requestBody"]["content"]["application/json"]
body["schema"] = {"anyOf": [{"$ref": f"#/components/schemas/{name}"} for name in ["Start", "StartWithUpperBound", "Resume"]]}
body["examples"]["start"]["value"]["peer"] = PEER
body["examples"]["many"]["value"] = {"peers": [OTHER], "mirrors": [MIRROR]}
added = description["paths"]["/p2p/snapshots/{session}/sources"]["post"]["requestBody"]["content"]["application/json"]
added["examples"] = {"peer": {"value": {"peer": OTHER}}, "mirror": {"value": {"mirror": MIRROR}}}

json.dump(description, sys.stdout, indent=1)
