//! The messages of `/rpp/offers/1.0.0`, with the rules of all other messages.

use super::{
    DecodeError,
    read::{Object, checkpoint, descriptor, header, signatures, unknown},
    scan,
};
use crate::{
    limits::MAX_OFFERS,
    messages::ErrorCode,
    offers::{Offer, OffersRequest, OffersResponse},
};

pub(super) fn request(text: &str) -> Result<OffersRequest, DecodeError> {
    let message = Object { members: scan::document(text)? };
    match message.text("type")?.as_ref() {
        "offers" => Ok(OffersRequest::Offers { genesis: message.hash("genesis")? }),
        other => Err(unknown(other)),
    }
}

pub(super) fn response(text: &str) -> Result<OffersResponse, DecodeError> {
    let message = Object { members: scan::document(text)? };
    Ok(match message.text("type")?.as_ref() {
        "offers" => {
            let offers = message.array("offers", MAX_OFFERS, "an array of at most 64 offers")?;
            OffersResponse::Offers { offers: offers.into_iter().map(offer).collect::<Result<_, _>>()? }
        }
        "error" => OffersResponse::Error {
            code: message
                .optional("code", |message, field| message.word(field, "one of the protocol's codes"))?
                .unwrap_or(ErrorCode::Internal),
            message: message.words("message")?,
        },
        other => return Err(unknown(other)),
    })
}

fn offer(raw: &str) -> Result<Offer, DecodeError> {
    let members = scan::object(raw).ok_or(DecodeError::Field { field: "offers", expected: "an array of objects" })?;
    let offer = Object { members };
    Ok(Offer {
        genesis: descriptor(&offer.object("genesis")?)?,
        snapshot: header(&offer.object("snapshot")?)?,
        tip: checkpoint(&offer.object("tip")?)?,
        signatures: signatures(&offer)?,
        min_chunk_size: offer.integer("min_chunk_size")?,
        max_chunk_size: offer.integer("max_chunk_size")?,
        free_slots: offer.integer("free_slots")?,
    })
}
