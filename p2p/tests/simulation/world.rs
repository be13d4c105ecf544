//! A small chain with payloads, made once: what an honest publisher would offer.

use std::{collections::HashMap, sync::Arc, sync::LazyLock};

use bytes::Bytes;
use rpp_p2p::{
    Checkpoint, Hash, PayloadFormat, Plan, Signature, SnapshotHeader, TrustAnchor, Update,
    outboard::{self, GROUP, Layout},
    plan,
    tree::{chunk_range, total_chunks},
};
use rpp_proofs::{Genesis, Signer, next_commitment};

/// Payload lengths, by step from 1 on.
const SIZES: [u64; 10] = [0, 1, 16_383, 16_384, 16_385, 50_000, 65_536, 81_000, 130_000, 200_000];

pub struct World {
    pub genesis: Genesis,
    pub trust: Arc<TrustAnchor>,
    checkpoints: Vec<Checkpoint>,
    signatures: Vec<Vec<Signature>>,
    payloads: HashMap<Hash, Payload>,
}

pub struct Payload {
    pub bytes: Bytes,
    layout: Layout,
    outboard: HashMap<u64, Hash>,
}

pub static WORLD: LazyLock<World> = LazyLock::new(World::build);

impl World {
    fn build() -> Self {
        let signers: Vec<Signer> = [1, 2, 3].map(|seed| Signer::from_seed([seed; 32])).into();
        let mut publishers: Vec<_> = signers.iter().map(Signer::public).collect();
        publishers.sort_unstable();
        let genesis = Genesis::new("simulation".to_owned(), publishers, 2).unwrap();
        let c0 = genesis.commitment();
        let trust = TrustAnchor::new(Hash(c0.to_bytes()));
        let mut world = Self {
            genesis,
            trust: Arc::new(trust),
            checkpoints: Vec::new(),
            signatures: Vec::new(),
            payloads: HashMap::new(),
        };
        let mut previous = c0;
        for (step, size) in (1..).zip(SIZES) {
            let payload = Payload::new(size, step);
            let state_root = Hash::from(blake3::hash(&payload.bytes));
            let mut checkpoint = Checkpoint {
                step,
                height: step * 10,
                block_hash: blake3::hash(&step.to_le_bytes()).into(),
                state_root,
                payload_bytes: size,
                commitment: Hash::default(),
            };
            previous = next_commitment(&previous, &(&checkpoint).into());
            checkpoint.commitment = Hash(previous.to_bytes());
            let sign = |signer: &Signer| Signature::from(&signer.sign(&c0, &previous, checkpoint.height, step));
            world.signatures.push(signers[..2].iter().map(sign).collect());
            world.checkpoints.push(checkpoint);
            world.payloads.insert(state_root, payload);
        }
        world
    }

    pub fn steps(&self) -> u64 {
        self.checkpoints.len() as u64
    }

    pub fn checkpoint(&self, step: u64) -> Checkpoint {
        self.checkpoints[step as usize - 1]
    }

    pub fn payload(&self, root: &Hash) -> &Payload {
        &self.payloads[root]
    }

    pub fn proof_of(&self, step: u64) -> Bytes {
        Bytes::from(format!("proof of step {step}").into_bytes())
    }

    pub fn plan(&self, snapshot: u64, tip: u64, chunk_size: u64) -> Plan {
        let checkpoint = self.checkpoint(snapshot);
        let mut made = Plan {
            plan_id: Hash::default(),
            proof: rpp_proofs::PROOF_SYSTEM.to_owned(),
            genesis: plan::descriptor(&self.genesis),
            snapshot: SnapshotHeader { checkpoint, format: PayloadFormat::Raw },
            tip: self.checkpoint(tip),
            chunk_size,
            total_chunks: total_chunks(checkpoint.payload_bytes, chunk_size),
            total_updates: tip - snapshot + 1,
        };
        made.plan_id = plan::plan_id(&made).unwrap();
        made
    }

    /// Update `index` of a plan.
    pub fn update(&self, plan: &Plan, index: u64) -> Update {
        let step = plan.snapshot.checkpoint.step + index;
        let is_last = step == plan.tip.step;
        Update {
            checkpoint: self.checkpoint(step),
            previous_commitment: if step == 1 { self.trust.genesis } else { self.checkpoint(step - 1).commitment },
            recursive_proof: is_last.then(|| self.proof_of(step)),
            signatures: self.signatures[step as usize - 1].clone(),
        }
    }
}

impl Payload {
    fn new(size: u64, seed: u64) -> Self {
        let bytes: Vec<u8> =
            (0..size).map(|i| (i.wrapping_mul(i) ^ (i >> 7) ^ seed.wrapping_mul(0x9d)) as u8).collect();
        let layout = Layout::new(size);
        let mut file = HashMap::new();
        for index in 0..total_chunks(size, GROUP) {
            let range = chunk_range(size, GROUP, index);
            let group = &bytes[range.start as usize..range.end as usize];
            file.extend(outboard::chunk_nodes(&layout, GROUP, index, group));
        }
        let cell = std::cell::RefCell::new(file);
        outboard::parents(
            &layout,
            GROUP,
            |offset| Ok(cell.borrow()[&offset]),
            |offset, hash| {
                cell.borrow_mut().insert(offset, hash);
                Ok(())
            },
        )
        .unwrap();
        Self { bytes: bytes.into(), layout, outboard: cell.into_inner() }
    }

    pub fn chunk(&self, chunk_size: u64, index: u64) -> (Bytes, Vec<Hash>) {
        let range = chunk_range(self.bytes.len() as u64, chunk_size, index);
        let nodes = outboard::proof_nodes(&self.layout, chunk_size, index);
        let proof = nodes.iter().map(|offset| self.outboard[offset]).collect();
        (self.bytes.slice(range.start as usize..range.end as usize), proof)
    }
}
