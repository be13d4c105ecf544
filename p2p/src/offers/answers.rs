//! This node's answers to requests for its offers. Pure; time is an argument.

use std::{collections::HashMap, sync::Arc, time::Instant};

use libp2p::PeerId;

use super::messages::{Offer, OffersRequest, OffersResponse};
use crate::{
    json::DecodeError,
    limits::{ASK_INTERVAL, MAX_OFFER_ANSWERS, MAX_OFFERS},
    messages::ErrorCode,
    types::Hash,
};

/// The offers of this node.
#[derive(Debug, Default)]
pub struct Answers {
    /// Newest first, with the commitment of each one's genesis.
    offers: Arc<[(Hash, Offer)]>,
    free_slots: u64,
    asked: HashMap<PeerId, (Instant, u32)>,
}

impl Answers {
    /// Sets what is offered, newest first, each with its genesis commitment.
    pub fn set_offers(&mut self, offers: Arc<[(Hash, Offer)]>) {
        self.offers = offers;
    }

    /// Sets how many further sessions can be served now.
    pub fn set_free_slots(&mut self, free: u64) {
        self.free_slots = free;
    }

    /// The last connection to a peer is gone.
    pub fn handle_disconnected(&mut self, peer: &PeerId) {
        self.asked.remove(peer);
    }

    /// The answer to a request. A peer that asks too often is answered `busy`.
    pub fn answer(
        &mut self,
        peer: PeerId,
        request: &Result<OffersRequest, DecodeError>,
        now: Instant,
    ) -> OffersResponse {
        let (since, count) = self.asked.entry(peer).or_insert((now, 0));
        if now.saturating_duration_since(*since) >= ASK_INTERVAL {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        if *count > MAX_OFFER_ANSWERS {
            let message = format!(
                "asked more than {MAX_OFFER_ANSWERS} times within {} s: ask again later",
                ASK_INTERVAL.as_secs()
            );
            return OffersResponse::Error { code: ErrorCode::Busy, message };
        }
        let genesis = match request {
            Ok(OffersRequest::Offers { genesis }) => genesis,
            Err(error) => return OffersResponse::Error { code: ErrorCode::Invalid, message: error.to_string() },
        };
        let of_chain = self.offers.iter().filter(|(of, _)| of == genesis).take(MAX_OFFERS);
        let offers = of_chain.map(|(_, offer)| Offer { free_slots: self.free_slots, ..offer.clone() }).collect();
        OffersResponse::Offers { offers }
    }
}
