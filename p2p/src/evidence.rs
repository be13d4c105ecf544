//! Evidence that a peer broke the rules. When and in which session that happened is recorded elsewhere.
//!
//! Not every refusal is an offence. A peer may follow another chain, have a stale tip, have signatures of publishers
//! that are not trusted here, or have a plan that is too large for this node. None of these is a lie, so there is no
//! evidence of them.

use serde::{Deserialize, Serialize};

use crate::types::Hash;
#[cfg(feature = "proofs")]
use crate::{
    authority::AuthorityError,
    error::{SnapshotProtocolError, Unserved, Violation},
    plan::PlanError,
    stream::{Breach, StreamViolation},
    text,
    tree::ChunkError,
};
#[cfg(feature = "proofs")]
use rpp_proofs::SignatureError;

/// The kinds of offences, each one stable word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Offence {
    /// Bytes of a chunk that do not verify.
    Chunk,
    /// An update that does not verify.
    LightClientUpdate,
    /// A plan that contradicts itself, or another one than was asked for.
    Plan,
    /// A signature of a publisher that is wrong.
    Signature,
    /// A commitment chain or a recursive proof that is not valid.
    Proof,
    /// An answer to another request.
    Mismatch,
    /// An answer that is not a message of the protocol.
    Unreadable,
    /// Bytes beyond the credit, or that were not wanted; or a consumer that breaks the rules of credit.
    Credit,
    /// More refused requests than any honest peer sends.
    Flood,
}

impl Offence {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Chunk,
        Self::LightClientUpdate,
        Self::Plan,
        Self::Signature,
        Self::Proof,
        Self::Mismatch,
        Self::Unreadable,
        Self::Credit,
        Self::Flood,
    ];

    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Chunk => "chunk",
            Self::LightClientUpdate => "light_client_update",
            Self::Plan => "plan",
            Self::Signature => "signature",
            Self::Proof => "proof",
            Self::Mismatch => "mismatch",
            Self::Unreadable => "unreadable",
            Self::Credit => "credit",
            Self::Flood => "flood",
        }
    }
}

/// What a peer did, as far as the message itself shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Evidence {
    /// The kind of offence.
    pub kind: Offence,
    /// The plan of the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_id: Option<Hash>,
    /// Which chunk or update.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u64>,
    /// The hash that it should lead to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<Hash>,
    /// The hash that it leads to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received: Option<Hash>,
    /// How many bytes of payload arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
    /// One sentence, escaped, of at most 512 bytes.
    pub reason: String,
}

impl Evidence {
    /// Evidence that has only a sentence, which must already be escaped.
    #[must_use]
    pub fn new(kind: Offence, reason: String) -> Self {
        Self { kind, plan_id: None, index: None, expected: None, received: None, length: None, reason }
    }

    /// The same about an artefact of this plan.
    #[must_use]
    pub fn in_plan(self, plan_id: Option<Hash>) -> Self {
        Self { plan_id: self.plan_id.or(plan_id), ..self }
    }

    /// The same about chunk or update `index`.
    #[must_use]
    pub fn at(self, index: u64) -> Self {
        Self { index: Some(index), ..self }
    }

    /// The same with the expected hash and the received one.
    #[must_use]
    pub fn hashes(self, expected: Hash, received: Hash) -> Self {
        Self { expected: Some(expected), received: Some(received), ..self }
    }

    /// The same with the number of bytes that arrived.
    #[must_use]
    pub fn bytes(self, length: u64) -> Self {
        Self { length: Some(length), ..self }
    }
}

#[cfg(feature = "proofs")]
impl Evidence {
    /// The evidence in a violation; `None` if it is no offence.
    #[must_use]
    pub fn of_violation(violation: &Violation) -> Option<Self> {
        let told = |kind| Self::new(kind, text::escape(&violation.to_string()));
        Some(match violation {
            Violation::Unreadable(_) => told(Offence::Unreadable),
            Violation::Mismatch(_) => told(Offence::Mismatch),
            Violation::Plan(error) => {
                let plan = is_lie(error).then(|| told(Offence::Plan))?;
                match error {
                    PlanError::PlanId { found, computed } => plan.hashes(*computed, *found),
                    _ => plan,
                }
            }
            Violation::Chunk { index, received, source } => {
                let chunk = told(Offence::Chunk).at(*index).bytes(*received);
                match source {
                    ChunkError::Root { root, computed } => chunk.hashes(*root, *computed),
                    _ => chunk,
                }
            }
            Violation::Update { index, .. } => told(Offence::LightClientUpdate).at(*index),
            Violation::Authority(error) => return Self::of_authority(error),
            Violation::Stream(StreamViolation::Frame(_)) => told(Offence::Unreadable),
            Violation::Stream(StreamViolation::Unasked { .. }) => told(Offence::Mismatch),
            Violation::Stream(
                StreamViolation::BeyondCredit { index, .. }
                | StreamViolation::Unwanted { index, .. }
                | StreamViolation::Twice { index, .. }
                | StreamViolation::OutOfOrder { index, .. },
            ) => told(Offence::Credit).at(*index),
        })
    }

    /// The evidence in a plan without authority; `None` if that is no offence.
    #[must_use]
    pub fn of_authority(error: &AuthorityError) -> Option<Self> {
        let told = |kind| Self::new(kind, text::escape(&error.to_string()));
        match error {
            AuthorityError::Signatures(SignatureError::BelowThreshold { wrong: 1.., .. }) => {
                Some(told(Offence::Signature))
            }
            AuthorityError::Chain { index, .. } => Some(told(Offence::Proof).at(*index)),
            // If this machine could not set up the verifier, that shows nothing about the proof.
            AuthorityError::Proof { reason } if reason.is_local() => None,
            AuthorityError::Proof { .. } => Some(told(Offence::Proof)),
            // A question of trust, of age, or the publishers' offence.
            AuthorityError::Signatures(_)
            | AuthorityError::Authentication { .. }
            | AuthorityError::Stale { .. }
            | AuthorityError::Equivocation { .. } => None,
        }
    }

    /// The evidence in an error of the behaviour: a provider's breach of the protocol, or a consumer's breach of the
    /// rules of credit. Any other error of a consumer costs it only its stream.
    #[must_use]
    pub fn of_error(error: &SnapshotProtocolError) -> Option<Self> {
        match error {
            SnapshotProtocolError::Remote(violation) => Self::of_violation(violation),
            SnapshotProtocolError::Inbound(Unserved::Breach(breach @ Breach::CreditFell { .. })) => {
                Some(Self::new(Offence::Credit, breach.to_string()))
            }
            _ => None,
        }
    }
}

/// Whether the plan breaks a rule, whatever the configuration of either side.
#[cfg(feature = "proofs")]
fn is_lie(error: &PlanError) -> bool {
    match error {
        PlanError::Genesis(_)
        | PlanError::Commitment
        | PlanError::PlanId { .. }
        | PlanError::TipDiffers
        | PlanError::NotAsked { .. } => true,
        // The bounds of these two are this node's own.
        PlanError::Number { what, .. } => !["payload_bytes", "total_updates"].contains(what),
        PlanError::Anchor { .. }
        | PlanError::AnchorDetail { .. }
        | PlanError::ProofSystem { .. }
        | PlanError::ChunkSize { .. } => false,
    }
}

#[cfg(all(test, feature = "proofs"))]
mod tests {
    use super::*;
    use crate::{authority::AuthenticationError, plan::DueNumber};
    use rpp_proofs::ProofError;

    #[test]
    fn a_chunk_that_does_not_verify_shows_where_and_what_came() {
        let (root, computed) = (Hash([1; 32]), Hash([2; 32]));
        let source = ChunkError::Root { root, computed };
        let evidence = Evidence::of_violation(&Violation::Chunk { index: 7, received: 42, source }).unwrap();
        assert_eq!(
            (evidence.kind, evidence.index, evidence.expected, evidence.received, evidence.length),
            (Offence::Chunk, Some(7), Some(root), Some(computed), Some(42))
        );
        assert!(evidence.reason.contains("chunk 7") && evidence.reason.contains(&root.to_string()), "{evidence:?}");
        let plan = Hash([3; 32]);
        assert_eq!(evidence.clone().in_plan(Some(plan)).plan_id, Some(plan));
        let text = serde_json::to_string(&evidence).unwrap();
        assert!(!text.contains("plan_id"), "{text}");
        assert_eq!(serde_json::from_str::<Evidence>(&text).unwrap(), evidence);
    }

    #[test]
    fn lack_of_trust_is_no_offence() {
        let hash = Hash([1; 32]);
        let below = |wrong, unknown, revoked| {
            AuthorityError::Signatures(SignatureError::BelowThreshold {
                valid: 0,
                threshold: 1,
                wrong,
                unknown,
                revoked,
                repeated: 0,
            })
        };
        for error in [
            below(0, 1, 0),
            below(0, 0, 1),
            below(0, 0, 0),
            AuthorityError::Stale { tip: 1, head: 2 },
            AuthorityError::Equivocation { step: 1, accepted: hash, offered: hash, evidence: String::new() },
            AuthorityError::Authentication { reason: AuthenticationError::NotTrusted },
        ] {
            assert_eq!(Evidence::of_authority(&error), None, "{error}");
            assert_eq!(Evidence::of_violation(&Violation::Authority(error)), None);
        }
        for error in [
            PlanError::Anchor { trusted: hash, found: hash },
            PlanError::AnchorDetail { what: "publishers" },
            PlanError::ProofSystem { found: "next".to_owned() },
            PlanError::Number { what: "payload_bytes", found: 1, expected: DueNumber::PayloadBytes(0) },
            PlanError::Number { what: "total_updates", found: 1, expected: DueNumber::Between { least: 2, most: 3 } },
        ] {
            assert_eq!(Evidence::of_violation(&Violation::Plan(error)), None);
        }
        assert_eq!(Evidence::of_authority(&below(1, 0, 0)).map(|it| it.kind), Some(Offence::Signature));
        let proof = AuthorityError::Proof { reason: ProofError::Height };
        assert_eq!(Evidence::of_authority(&proof).map(|it| it.kind), Some(Offence::Proof));
        let lie = PlanError::Number { what: "total_chunks", found: 1, expected: DueNumber::Exactly(2) };
        assert_eq!(Evidence::of_violation(&Violation::Plan(lie)).map(|it| it.kind), Some(Offence::Plan));
        let busy = SnapshotProtocolError::Provider { code: crate::ErrorCode::Busy, message: String::new() };
        assert_eq!(Evidence::of_error(&busy), None);
    }

    #[test]
    fn each_offence_has_its_word() {
        for offence in Offence::ALL {
            assert_eq!(serde_json::to_value(offence).unwrap(), offence.as_str());
        }
    }
}
