//! `/rpp/offers/1.0.0`: which snapshots peers offer.
//!
//! A consumer asks each peer when it connects, and again every minute while somebody wants to know. It promises that an
//! offer counts only when its tip's signatures hold against the trust anchor, and that no stranger makes anything grow: an
//! answer has at most 64 offers, of which at most four may be wrong before the rest is left unread; the [`Book`] knows
//! 1,024 snapshots with 64 peers each. What does not count is no offence: its peer is asked ever more seldom. A peer
//! without the protocol is no fault.
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
//! It does not know how peers are found, and starts no download.

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
