//! Builds messages from scanned JSON.

use std::borrow::Cow;

use base64_simd::STANDARD;
use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::{DecodeError, scan};
use crate::{
    limits::{MAX_PROOF_HASHES, MAX_PUBLISHERS, MAX_SIGNATURES},
    messages::{
        ArtefactKind, Checkpoint, ErrorCode, GenesisDescriptor, Plan, PlanWishes, Signature, SnapshotHeader,
        SnapshotsRequest, SnapshotsResponse, Update,
    },
    text,
    types::{Hash, MAX_INTEGER, SnapshotSessionId},
};

pub(super) fn request(text: &str) -> Result<SnapshotsRequest, DecodeError> {
    let message = Object { members: scan::document(text)? };
    let tag = message.text("type")?;
    let session_id = || message.session_id();
    Ok(match tag.as_ref() {
        "plan" => SnapshotsRequest::Plan {
            session_id: session_id()?,
            wishes: PlanWishes {
                chunk_size: message.optional("chunk_size", Object::integer)?,
                min_chunk_size: message.optional("min_chunk_size", Object::integer)?,
                max_chunk_size: message.optional("max_chunk_size", Object::integer)?,
                root: message.optional("root", Object::hash)?,
                height: message.optional("height", Object::integer)?,
            },
        },
        "chunk" => SnapshotsRequest::Chunk { session_id: session_id()?, chunk_index: message.integer("chunk_index")? },
        "light_client_update" => SnapshotsRequest::LightClientUpdate {
            session_id: session_id()?,
            update_index: message.integer("update_index")?,
        },
        "resume" => SnapshotsRequest::Resume {
            session_id: session_id()?,
            plan_id: message.hash("plan_id")?,
            chunk_index: message.integer("chunk_index")?,
            update_index: message.integer("update_index")?,
        },
        "ack" => {
            SnapshotsRequest::Ack { session_id: session_id()?, kind: message.kind()?, index: message.integer("index")? }
        }
        "error" => SnapshotsRequest::Error { session_id: session_id()?, message: message.words("message")? },
        other => return Err(unknown(other)),
    })
}

pub(super) fn response(text: &str) -> Result<SnapshotsResponse, DecodeError> {
    let message = Object { members: scan::document(text)? };
    let tag = message.text("type")?;
    let session_id = || message.session_id();
    Ok(match tag.as_ref() {
        "plan" => SnapshotsResponse::Plan {
            session_id: session_id()?,
            plan: Box::new(plan(&message.object("plan")?)?),
            min_chunk_size: message.integer("min_chunk_size")?,
            max_chunk_size: message.integer("max_chunk_size")?,
        },
        "chunk" => SnapshotsResponse::Chunk {
            session_id: session_id()?,
            chunk_index: message.integer("chunk_index")?,
            chunk: message.base64("chunk")?,
            proof: message.hashes("proof", MAX_PROOF_HASHES)?,
        },
        "light_client_update" => SnapshotsResponse::LightClientUpdate {
            session_id: session_id()?,
            update_index: message.integer("update_index")?,
            update: Box::new(update(&message.object("update")?)?),
        },
        "resume" => SnapshotsResponse::Resume {
            session_id: session_id()?,
            plan_id: message.hash("plan_id")?,
            chunk_index: message.integer("chunk_index")?,
            update_index: message.integer("update_index")?,
            chunk_size: message.integer("chunk_size")?,
        },
        "ack" => SnapshotsResponse::Ack {
            session_id: session_id()?,
            kind: message.kind()?,
            index: message.integer("index")?,
        },
        "error" => SnapshotsResponse::Error {
            session_id: match message.integer("session_id")? {
                0 => SnapshotSessionId::UNREADABLE,
                _ => session_id()?,
            },
            code: message
                .optional("code", |message, field| message.word(field, "one of the protocol's codes"))?
                .unwrap_or(ErrorCode::Internal),
            message: message.words("message")?,
        },
        other => return Err(unknown(other)),
    })
}

pub(super) fn unknown(tag: &str) -> DecodeError {
    DecodeError::UnknownType { found: text::escape(tag) }
}

fn plan(plan: &Object<'_>) -> Result<Plan, DecodeError> {
    let genesis = plan.object("genesis")?;
    let snapshot = plan.object("snapshot")?;
    Ok(Plan {
        plan_id: plan.hash("plan_id")?,
        proof: plan.words("proof")?,
        genesis: descriptor(&genesis)?,
        snapshot: header(&snapshot)?,
        tip: checkpoint(&plan.object("tip")?)?,
        chunk_size: plan.integer("chunk_size")?,
        total_chunks: plan.integer("total_chunks")?,
        total_updates: plan.integer("total_updates")?,
    })
}

pub(super) fn descriptor(genesis: &Object<'_>) -> Result<GenesisDescriptor, DecodeError> {
    Ok(GenesisDescriptor {
        chain_id: genesis.words("chain_id")?,
        publishers: genesis.hashes("publishers", MAX_PUBLISHERS)?,
        threshold: genesis.integer("threshold")?,
    })
}

pub(super) fn header(snapshot: &Object<'_>) -> Result<SnapshotHeader, DecodeError> {
    Ok(SnapshotHeader { checkpoint: checkpoint(snapshot)?, format: snapshot.word("format", "raw or tar")? })
}

pub(super) fn checkpoint(checkpoint: &Object<'_>) -> Result<Checkpoint, DecodeError> {
    Ok(Checkpoint {
        step: checkpoint.integer("step")?,
        height: checkpoint.integer("height")?,
        block_hash: checkpoint.hash("block_hash")?,
        state_root: checkpoint.hash("state_root")?,
        payload_bytes: checkpoint.integer("payload_bytes")?,
        commitment: checkpoint.hash("commitment")?,
    })
}

fn update(update: &Object<'_>) -> Result<Update, DecodeError> {
    Ok(Update {
        checkpoint: checkpoint(update)?,
        previous_commitment: update.hash("previous_commitment")?,
        recursive_proof: match update.raw("recursive_proof")? {
            "null" => None,
            _ => Some(update.base64("recursive_proof")?),
        },
        signatures: signatures(update)?,
    })
}

pub(super) fn signatures(of: &Object<'_>) -> Result<Vec<Signature>, DecodeError> {
    let signatures = of.array("signatures", MAX_SIGNATURES, "an array of at most 256 signatures")?;
    signatures.into_iter().map(signature).collect()
}

fn signature(raw: &str) -> Result<Signature, DecodeError> {
    let expected = "an array of signatures, each with publisher and signature";
    let members = scan::object(raw).ok_or(DecodeError::Field { field: "signatures", expected })?;
    let signature = Object { members };
    let publisher = signature.hash("publisher")?;
    let bytes = signature.base64("signature")?;
    if bytes.len() != 64 {
        return Err(DecodeError::Field { field: "signature", expected: "64 bytes" });
    }
    Ok(Signature { publisher, signature: bytes })
}

pub(super) struct Object<'a> {
    pub(super) members: scan::Members<'a>,
}

impl<'a> Object<'a> {
    fn find(&self, field: &str) -> Option<&'a str> {
        self.members.iter().find(|(key, _)| key == field).map(|(_, raw)| *raw)
    }

    fn raw(&self, field: &'static str) -> Result<&'a str, DecodeError> {
        self.find(field).ok_or(DecodeError::Missing { field })
    }

    /// Absent and `null` mean the same.
    pub(super) fn optional<T>(
        &self,
        field: &'static str,
        read: impl FnOnce(&Self, &'static str) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        match self.find(field) {
            None | Some("null") => Ok(None),
            Some(_) => read(self, field).map(Some),
        }
    }

    pub(super) fn integer(&self, field: &'static str) -> Result<u64, DecodeError> {
        let wrong = DecodeError::Field { field, expected: "an integer literal from 0 to 2^53 - 1" };
        let raw = self.raw(field)?;
        if !raw.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong);
        }
        raw.parse().ok().filter(|number| *number <= MAX_INTEGER).ok_or(wrong)
    }

    fn session_id(&self) -> Result<SnapshotSessionId, DecodeError> {
        let wrong = DecodeError::Field { field: "session_id", expected: "an integer literal from 1 to 2^53 - 1" };
        SnapshotSessionId::new(self.integer("session_id")?).ok_or(wrong)
    }

    pub(super) fn text(&self, field: &'static str) -> Result<Cow<'a, str>, DecodeError> {
        scan::string(self.raw(field)?).ok_or(DecodeError::Field { field, expected: "a string" })
    }

    /// A peer's text, cut to the length that is kept.
    pub(super) fn words(&self, field: &'static str) -> Result<String, DecodeError> {
        self.text(field).map(|words| text::cut(&words).to_owned())
    }

    pub(super) fn hash(&self, field: &'static str) -> Result<Hash, DecodeError> {
        hash(self.raw(field)?).ok_or(DecodeError::Field { field, expected: "64 lower-case hex digits" })
    }

    pub(super) fn hashes(&self, field: &'static str, most: usize) -> Result<Vec<Hash>, DecodeError> {
        let expected = "an array of hashes (at most 64), each of 64 lower-case hex digits";
        let wrong = DecodeError::Field { field, expected };
        let elements = self.array(field, most, expected)?;
        elements.into_iter().map(hash).collect::<Option<_>>().ok_or(wrong)
    }

    fn base64(&self, field: &'static str) -> Result<Bytes, DecodeError> {
        let wrong = DecodeError::Field { field, expected: "standard base64 with padding" };
        let text = self.text(field)?;
        STANDARD.decode_to_vec(text.as_bytes()).map(Bytes::from).map_err(|_| wrong)
    }

    pub(super) fn object(&self, field: &'static str) -> Result<Object<'a>, DecodeError> {
        let members = scan::object(self.raw(field)?).ok_or(DecodeError::Field { field, expected: "an object" })?;
        Ok(Object { members })
    }

    pub(super) fn array(
        &self,
        field: &'static str,
        most: usize,
        expected: &'static str,
    ) -> Result<Vec<&'a str>, DecodeError> {
        scan::array(self.raw(field)?, most).ok_or(DecodeError::Field { field, expected })
    }

    /// One of a few words; serde knows them from the message types.
    pub(super) fn word<T: DeserializeOwned>(
        &self,
        field: &'static str,
        expected: &'static str,
    ) -> Result<T, DecodeError> {
        // serde takes an object for a word, too.
        let raw = Some(self.raw(field)?).filter(|raw| raw.starts_with('"'));
        let word = raw.and_then(|raw| serde_json::from_str(raw).ok());
        word.ok_or(DecodeError::Field { field, expected })
    }

    fn kind(&self) -> Result<ArtefactKind, DecodeError> {
        self.word("kind", "plan, chunk or light_client_update")
    }
}

fn hash(raw: &str) -> Option<Hash> {
    scan::string(raw)?.parse().ok()
}
