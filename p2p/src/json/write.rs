//! Messages as JSON, written by hand: no tree in between, and each buffer is allocated once.

use base64_simd::STANDARD;

use crate::{
    messages::{Checkpoint, PayloadFormat, Plan, SnapshotsRequest, SnapshotsResponse, Update},
    types::{Hash, SnapshotSessionId},
};

/// Room for the tag, the numbers and the punctuation of any message.
const ENVELOPE: usize = 512;
/// A hash with quotes and comma, in arrays.
const HASH: usize = 67;
/// A checkpoint with its field names.
const CHECKPOINT: usize = 512;
/// A signature with its field names.
const SIGNATURE: usize = 256;

pub(super) fn request(request: &SnapshotsRequest) -> Vec<u8> {
    let mut out = Writer::message(request.tag(), request.session_id(), ENVELOPE);
    match request {
        SnapshotsRequest::Plan { wishes, .. } => {
            out.optional_number("chunk_size", wishes.chunk_size);
            out.optional_number("min_chunk_size", wishes.min_chunk_size);
            out.optional_number("max_chunk_size", wishes.max_chunk_size);
            if let Some(root) = &wishes.root {
                out.hash("root", root);
            }
            out.optional_number("height", wishes.height);
        }
        SnapshotsRequest::Chunk { chunk_index, .. } => out.number("chunk_index", *chunk_index),
        SnapshotsRequest::LightClientUpdate { update_index, .. } => out.number("update_index", *update_index),
        SnapshotsRequest::Resume { plan_id, chunk_index, update_index, .. } => {
            out.hash("plan_id", plan_id);
            out.number("chunk_index", *chunk_index);
            out.number("update_index", *update_index);
        }
        SnapshotsRequest::Ack { kind, index, .. } => {
            out.word("kind", kind.as_str());
            out.number("index", *index);
        }
        SnapshotsRequest::Error { message, .. } => out.text("message", message),
    }
    out.finish()
}

pub(super) fn response(response: &SnapshotsResponse) -> Vec<u8> {
    let mut out = Writer::message(response.tag(), response.session_id(), ENVELOPE + extra(response));
    match response {
        SnapshotsResponse::Plan { plan: offered, min_chunk_size, max_chunk_size, .. } => {
            out.key("plan");
            plan(&mut out, offered);
            out.number("min_chunk_size", *min_chunk_size);
            out.number("max_chunk_size", *max_chunk_size);
        }
        SnapshotsResponse::Chunk { chunk_index, chunk, proof, .. } => {
            out.number("chunk_index", *chunk_index);
            out.base64("chunk", chunk);
            out.hashes("proof", proof);
        }
        SnapshotsResponse::LightClientUpdate { update_index, update: step, .. } => {
            out.number("update_index", *update_index);
            out.key("update");
            update(&mut out, step);
        }
        SnapshotsResponse::Resume { plan_id, chunk_index, update_index, chunk_size, .. } => {
            out.hash("plan_id", plan_id);
            out.number("chunk_index", *chunk_index);
            out.number("update_index", *update_index);
            out.number("chunk_size", *chunk_size);
        }
        SnapshotsResponse::Ack { kind, index, .. } => {
            out.word("kind", kind.as_str());
            out.number("index", *index);
        }
        SnapshotsResponse::Error { code, message, .. } => {
            out.word("code", code.as_str());
            out.text("message", message);
        }
    }
    out.finish()
}

pub(super) fn chunk_head(session: SnapshotSessionId, chunk_index: u64) -> Vec<u8> {
    let mut out = Writer::message("chunk", session, ENVELOPE);
    out.number("chunk_index", chunk_index);
    out.key("chunk");
    out.raw(b"\"");
    out.out
}

/// What a response needs beyond its envelope.
fn extra(response: &SnapshotsResponse) -> usize {
    match response {
        SnapshotsResponse::Plan { plan, .. } => 2 * CHECKPOINT + plan.genesis.publishers.len() * HASH,
        SnapshotsResponse::Chunk { chunk, proof, .. } => base64_len(chunk.len()) + proof.len() * HASH,
        SnapshotsResponse::LightClientUpdate { update, .. } => {
            let proof = update.recursive_proof.as_ref().map_or(0, |proof| base64_len(proof.len()));
            CHECKPOINT + HASH + proof + update.signatures.len() * SIGNATURE
        }
        SnapshotsResponse::Error { message, .. } => message.len(),
        SnapshotsResponse::Resume { .. } | SnapshotsResponse::Ack { .. } => 0,
    }
}

fn base64_len(bytes: usize) -> usize {
    bytes.div_ceil(3) * 4
}

fn plan(out: &mut Writer, plan: &Plan) {
    out.open(b'{');
    out.hash("plan_id", &plan.plan_id);
    out.text("proof", &plan.proof);
    out.key("genesis");
    out.open(b'{');
    out.text("chain_id", &plan.genesis.chain_id);
    out.hashes("publishers", &plan.genesis.publishers);
    out.number("threshold", plan.genesis.threshold);
    out.close(b'}');
    out.key("snapshot");
    out.open(b'{');
    checkpoint(out, &plan.snapshot.checkpoint);
    out.word(
        "format",
        match plan.snapshot.format {
            PayloadFormat::Raw => "raw",
            PayloadFormat::Tar => "tar",
        },
    );
    out.close(b'}');
    out.key("tip");
    out.open(b'{');
    checkpoint(out, &plan.tip);
    out.close(b'}');
    out.number("chunk_size", plan.chunk_size);
    out.number("total_chunks", plan.total_chunks);
    out.number("total_updates", plan.total_updates);
    out.close(b'}');
}

fn checkpoint(out: &mut Writer, checkpoint: &Checkpoint) {
    out.number("step", checkpoint.step);
    out.number("height", checkpoint.height);
    out.hash("block_hash", &checkpoint.block_hash);
    out.hash("state_root", &checkpoint.state_root);
    out.number("payload_bytes", checkpoint.payload_bytes);
    out.hash("commitment", &checkpoint.commitment);
}

fn update(out: &mut Writer, update: &Update) {
    out.open(b'{');
    checkpoint(out, &update.checkpoint);
    out.hash("previous_commitment", &update.previous_commitment);
    match &update.recursive_proof {
        Some(proof) => out.base64("recursive_proof", proof),
        None => {
            out.key("recursive_proof");
            out.raw(b"null");
        }
    }
    out.key("signatures");
    out.open(b'[');
    for signature in &update.signatures {
        out.separate();
        out.open(b'{');
        out.hash("publisher", &signature.publisher);
        out.base64("signature", &signature.signature);
        out.close(b'}');
    }
    out.close(b']');
    out.close(b'}');
}

/// Appends members; knows only whether a comma is due.
struct Writer {
    out: Vec<u8>,
    first: bool,
}

impl Writer {
    fn message(tag: &str, session: SnapshotSessionId, capacity: usize) -> Self {
        let mut writer = Self { out: Vec::with_capacity(capacity), first: true };
        writer.open(b'{');
        writer.word("type", tag);
        writer.number("session_id", session.get());
        writer
    }

    fn finish(mut self) -> Vec<u8> {
        self.close(b'}');
        self.out
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    fn open(&mut self, bracket: u8) {
        self.out.push(bracket);
        self.first = true;
    }

    fn close(&mut self, bracket: u8) {
        self.out.push(bracket);
        self.first = false;
    }

    fn separate(&mut self) {
        if !self.first {
            self.out.push(b',');
        }
        self.first = false;
    }

    /// Keys are ours: they need no escapes.
    fn key(&mut self, key: &'static str) {
        self.separate();
        self.quoted(key);
        self.out.push(b':');
    }

    fn quoted(&mut self, plain: &str) {
        self.out.push(b'"');
        self.raw(plain.as_bytes());
        self.out.push(b'"');
    }

    fn word(&mut self, key: &'static str, word: &str) {
        self.key(key);
        self.quoted(word);
    }

    fn number(&mut self, key: &'static str, number: u64) {
        self.key(key);
        self.raw(number.to_string().as_bytes());
    }

    fn optional_number(&mut self, key: &'static str, number: Option<u64>) {
        if let Some(number) = number {
            self.number(key, number);
        }
    }

    fn text(&mut self, key: &'static str, text: &str) {
        self.key(key);
        self.out.push(b'"');
        for c in text.chars() {
            match c {
                '"' | '\\' => self.raw(&[b'\\', c as u8]),
                '\0'..='\x1f' => self.raw(format!("\\u{:04x}", u32::from(c)).as_bytes()),
                _ => self.raw(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        self.out.push(b'"');
    }

    fn hex(&mut self, hash: &Hash) {
        let mut digits = [0; 64];
        // The lengths agree.
        let _ = hex::encode_to_slice(hash.0, &mut digits);
        self.out.push(b'"');
        self.raw(&digits);
        self.out.push(b'"');
    }

    fn hash(&mut self, key: &'static str, hash: &Hash) {
        self.key(key);
        self.hex(hash);
    }

    fn hashes(&mut self, key: &'static str, hashes: &[Hash]) {
        self.key(key);
        self.open(b'[');
        for hash in hashes {
            self.separate();
            self.hex(hash);
        }
        self.close(b']');
    }

    fn base64(&mut self, key: &'static str, bytes: &[u8]) {
        self.key(key);
        self.out.push(b'"');
        STANDARD.encode_append(bytes, &mut self.out);
        self.out.push(b'"');
    }
}
