//! Streams state snapshots between libp2p peers that do not trust each other, proves every byte, and always reports its
//! state.
//!
//! # Participants
//!
//! * A **consumer** wants a snapshot: a payload of any bytes with a height, a block hash and a root. It decides when each
//!   piece comes; nothing is sent that was not asked for.
//! * A **provider** has the payload and serves it through a [`SnapshotProvider`]. It is not trusted.
//! * **Publishers** sign checkpoints of a commitment chain and prove it recursively (`rpp_proofs`). A consumer knows them
//!   by one string, the genesis commitment in its [`TrustAnchor`].
//!
//! A *session* is one consumer streaming one plan from one provider. It belongs to those two peers: it is keyed by the
//! authenticated peer and the session's id, and no third peer can touch it.
//!
//! # Goals
//!
//! * Every chunk is checked alone against the BLAKE3 root of the payload before anybody hears of it; a lie is caught in the
//!   chunk that carries it, and the peer that sent it is named.
//! * Only verified responses ([`Exchange`]) move a marker, and only durable data is acknowledged
//!   ([`consumer::Session`]). What is verified survives lost connections and restarts.
//! * The rules are pure state machines: no I/O, no clock, no runtime. [`snapshots::Behaviour`] drives them over
//!   `/rpp/snapshots/2.0.0` (one stream for each session, with credit) and, where the peer has that not, over
//!   `/rpp/snapshots/1.0.0` (request/response, JSON); simulators drive the same ones.
//! * Backpressure is in the types: a command returns [`NotSent::Busy`] while the session has a request in flight.
//!
//! # Non-goals
//!
//! * No peer scoring, no connection management: compose the behaviours with those you like. [`offers`] says what the peers
//!   that are connected offer; finding peers is left to others.
//! * No storage: a provider reads its payload as it likes, a consumer writes chunks where it likes.
//! * No secrecy: every peer that can connect may ask. A provider that wants to refuse does so in
//!   [`SnapshotProvider::plan`].
//!
//! # Parts
//!
//! | module | what | I/O |
//! |---|---|---|
//! | [`messages`], [`json`] | the messages and their strict JSON | none |
//! | [`tree`], [`outboard`] | chunk proofs in the payload's BLAKE3 tree | none |
//! | [`have`] | what is had of a payload, wherever it stands | none |
//! | [`plan`], [`authority`] | what makes a plan acceptable and authoritative | none |
//! | [`exchange`] | one request and the check of its answer | none |
//! | [`consumer`] | the policy of a consumer session: what a root needs, what a peer gives | none |
//! | [`stream`] | the frames of 2.0.0 and the rules of both ends of a stream | none |
//! | [`by_hand`] | a consumer session without a policy | none |
//! | [`provider`] | the provider's trait, slots, records, byte budget | none |
//! | [`status`] | what a session says of itself, word by word | none |
//! | [`snapshots`] | the substreams and the `NetworkBehaviour` | libp2p, tokio's blocking threads |
//! | [`offers`] | which snapshots peers offer | libp2p, in its behaviour alone |
//! | [`negotiation`] | how a substream's protocol is agreed on, peer by peer | none |
//! | `transport` | what lies below yamux: fewer system calls | the connection's |
//! | [`light_client`] | follows the commitment chain, publishes verified heads | none; proofs block |
//!
//! Complete programs are in `examples/`: `embed` (all of it in memory), `provider_on_disk` and `resume`.
//!
//! # Features
//!
//! * `proofs` (default): everything that checks a chain, and everything that needs that: the behaviour, sessions,
//!   plans, the light client. Without it, only messages, chunk proofs and the rules of a provider remain.
//! * `transport`: `transport::Tls`, which is libp2p's but prefers AES on processors with AES instructions, and
//!   `transport::Yamux`, which makes fewer system calls.
//! * `introspection`: tags each substream with the session and chunk that it serves (`stream_tags`), for programs that
//!   count bytes below the protocol.
//!
//! # Limits
//!
//! All bounds are in [`limits`]; [`snapshots::Config`] changes them. The main ones: one request in flight per session,
//! which both sides enforce; requests of 64 KiB and responses of 8 MiB, larger ones are refused and never cut; 30 s
//! without a byte, and at least 1 KiB/s; 16 request streams per connection; 64 session slots on a provider, 8 per peer;
//! 32 MiB of response bytes in flight, 8 MiB per peer. Text from a peer is cut to 512 bytes, and escaped before it is
//! shown ([`text::escape`]).
//!
//! # Errors
//!
//! The type says who is at fault: [`PipelineError`] is a provider's refusal, [`Violation`] is a provider's breach of
//! the protocol, and [`RequestFailure`] is a failure of the transport (nobody knows what the provider did).
//! [`SnapshotProtocolError`] combines them with the caller's own mistakes. After a violation the session has ended on
//! this side; after any other error it can go on.

#[cfg(feature = "proofs")]
pub mod authority;
#[cfg(feature = "proofs")]
mod behaviour;
#[cfg(feature = "proofs")]
pub mod by_hand;
#[cfg(feature = "proofs")]
mod codec;
#[cfg(feature = "proofs")]
pub mod consumer;
#[cfg(feature = "proofs")]
mod download;
pub mod error;
pub mod evidence;
#[cfg(feature = "proofs")]
pub mod exchange;
pub mod have;
pub mod json;
#[cfg(feature = "proofs")]
pub mod light_client;
pub mod limits;
#[cfg(feature = "proofs")]
mod link;
pub mod messages;
#[cfg(feature = "proofs")]
pub mod mirror;
#[cfg(feature = "proofs")]
pub mod negotiation;
#[cfg(feature = "proofs")]
pub mod offers;
pub mod outboard;
#[cfg(feature = "proofs")]
mod pace;
#[cfg(feature = "proofs")]
pub mod plan;
pub mod provider;
#[cfg_attr(not(feature = "proofs"), allow(dead_code, reason = "the sessions use all of it"))]
mod ranges;
pub mod rate;
#[cfg(feature = "proofs")]
mod schedule;
pub mod status;
#[cfg(feature = "proofs")]
pub mod stream;
#[cfg(feature = "introspection")]
pub mod stream_tags;
#[cfg(all(feature = "proofs", not(feature = "introspection")))]
#[allow(unreachable_pub, reason = "public with the feature")]
mod stream_tags;
pub mod text;
#[cfg(feature = "transport")]
pub mod transport;
pub mod tree;
pub mod types;

#[cfg(feature = "proofs")]
pub use authority::{AuthenticationError, AuthorityError, UpdateError};
#[cfg(feature = "proofs")]
pub use by_hand::ByHand;
pub use error::{NotSent, PipelineError, ResumeReason, Unfit};
#[cfg(feature = "proofs")]
pub use error::{RequestFailure, SnapshotProtocolError, Violation};
pub use evidence::{Evidence, Offence};
#[cfg(feature = "proofs")]
pub use exchange::{Exchange, Rules, Verified, VerifiedChunk};
pub use have::Have;
#[cfg(feature = "proofs")]
pub use light_client::{LightClientSync, RecursiveProofVerifier, SharedVerifier, SignedChain, SyncError};
pub use messages::{
    ArtefactKind, Checkpoint, ErrorCode, GenesisDescriptor, PayloadFormat, Plan, PlanWishes, Signature, SnapshotHeader,
    SnapshotsRequest, SnapshotsResponse, Update,
};
#[cfg(feature = "proofs")]
pub use plan::{PlanBounds, PlanError, TrustAnchor};
pub use provider::{Acknowledged, ChunkData, PlanOffer, PlanRequest, Resumed, SnapshotProvider};
pub use status::{FailureCode, SessionState, SnapshotStreamStatus, WaitKind, WaitingOn};
#[cfg(feature = "proofs")]
pub use stream::{Protocol, Protocols};
pub use types::{Hash, RequestId, SnapshotSessionId};

/// The `NetworkBehaviour` of snapshot streaming and what belongs to it.
#[cfg(feature = "proofs")]
pub mod snapshots {
    pub use crate::behaviour::{
        Activity, Behaviour, Config, Ended, Event, Job, Load, Observer, Outcome, RequestId, RequestKind, Unobserved,
    };
    pub use crate::pace::{PaceLimits, Stall};
}

/// The request/response protocol that this crate speaks.
pub const PROTOCOL_V1: &str = "/rpp/snapshots/1.0.0";
/// The streaming protocol that this crate speaks.
pub const PROTOCOL_V2: &str = "/rpp/snapshots/2.0.0";

/// The examples of the README compile and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
