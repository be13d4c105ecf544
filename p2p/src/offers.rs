//! `/rpp/offers/1.0.0`: which snapshots peers offer.
//!
//! A consumer asks each peer when it connects, and again every minute while something needs offers. An offer counts
//! only if its tip's signatures are valid under the trust anchor. No stranger can make memory grow: an answer has at
//! most 64 offers, after four invalid ones the rest is ignored, and the [`Book`] holds 1,024 snapshots with 64 peers
//! each. An offer that does not count is not an offence; its peer is asked less and less often. A peer without the
//! protocol is not at fault.
//!
//! | part | what | I/O |
//! |---|---|---|
//! | [`OffersRequest`], [`OffersResponse`], [`Offer`] | the messages | none |
//! | [`check()`] | whether an offer counts | none; it blocks for a signature's time |
//! | [`Book`] | what is offered, and by whom | none |
//! | [`Asker`] | whom to ask, and when | none |
//! | [`Answers`] | what this node answers | none |
//! | [`OffersBehaviour`] | the substreams | libp2p, tokio's blocking threads |
//!
//! This module does not know how peers are found, and starts no download.

mod answers;
mod asker;
mod behaviour;
mod book;
mod check;
mod codec;
mod messages;

pub use self::{
    answers::Answers,
    asker::{Asker, PeerSaid},
    behaviour::{Judge, OffersBehaviour, OffersEvent},
    book::{Book, BookLimits, Holder, Known},
    check::{Found, OfferError, check},
    messages::{Offer, OffersRequest, OffersResponse},
};

/// The protocol's name.
pub const PROTOCOL: &str = "/rpp/offers/1.0.0";
