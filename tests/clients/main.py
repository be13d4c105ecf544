"""Uses the client of openapi-python-client. Answers must have the types that it was generated with."""

import os

from rpp_client import AuthenticatedClient
from rpp_client.api.default import (
    cancel_snapshot_stream,
    get_head,
    get_identity,
    get_metrics,
    get_snapshot_stream,
    is_ready,
    list_peers,
    list_snapshot_streams,
    start_or_resume_snapshot_stream,
)
from rpp_client.models import Identity, Problem, Resume, ResumeResume, SnapshotStreamStatus, Start

PEER = "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"

with AuthenticatedClient(os.environ["RPP_URL"], token=os.environ["RPP_TOKEN"]) as client:
    assert is_ready.sync(client=client).status == "ok"
    identity = get_identity.sync(client=client)
    assert isinstance(identity, Identity) and identity.peer_id.startswith("12D3"), identity
    assert list_peers.sync(client=client) == []
    missing = get_head.sync(client=client)
    assert isinstance(missing, Problem) and missing.code == "no_head", missing
    started = start_or_resume_snapshot_stream.sync(client=client, body=Start(peer=PEER, chunk_size=32768))
    assert isinstance(started, SnapshotStreamStatus), started
    again = start_or_resume_snapshot_stream.sync(client=client, body=Resume(resume=ResumeResume(session=started.session)))
    assert isinstance(again, SnapshotStreamStatus) and again.session == started.session, again
    status = get_snapshot_stream.sync(started.session, client=client)
    assert status.waiting_on is None or status.waiting_on.reason, status
    assert [one.session for one in list_snapshot_streams.sync(client=client)] == [started.session]
    assert "rpp_build_info" in get_metrics.sync(client=client)
    assert cancel_snapshot_stream.sync_detailed(started.session, client=client).status_code == 204
    gone = get_snapshot_stream.sync(started.session, client=client)
    assert isinstance(gone, Problem) and gone.code == "unknown_session", gone
print("the Python client works")
