//! The rules of `/rpp/offers/1.0.0`, without a network: the messages, which offers count, the book, which peers are
//! asked, and how requests are answered.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use libp2p::PeerId;
use rpp_p2p::{
    Hash, PlanBounds,
    json::{DecodeError, decode_offers_request, decode_offers_response, encode_offers_request, encode_offers_response},
    limits::{
        ASK_INTERVAL, MAX_ASK_INTERVAL, MAX_ASKS, MAX_GONE, MAX_KNOWN_OFFERS, MAX_OFFER_ANSWERS, MAX_OFFER_PEERS,
        MAX_OFFERS, MIN_ASK_INTERVAL, OFFER_LIFE,
    },
    messages::ErrorCode,
    offers::{
        Answers, Asker, Book, BookLimits, Found, Offer, OfferError, OffersRequest, OffersResponse, PeerSaid, check,
    },
};

use crate::support::Fixture;

/// An offer of the fixture's snapshot, which is two steps older than its tip.
fn offer(fixture: &Fixture) -> Offer {
    fixture.offer(61)
}

/// Like [`offer`], for the tip itself.
fn signed(fixture: &Fixture) -> Offer {
    let mut offer = offer(fixture);
    offer.snapshot.checkpoint = offer.tip;
    offer
}

/// An invented older snapshot under the real tip. The signatures cannot reveal it.
fn invented(fixture: &Fixture, seed: u64) -> Found {
    let mut offer = offer(fixture);
    let snapshot = &mut offer.snapshot.checkpoint;
    snapshot.state_root.0[..8].copy_from_slice(&seed.to_le_bytes());
    check(&offer, &fixture.trust(), &PlanBounds::default()).unwrap()
}

fn found(fixture: &Fixture) -> Found {
    check(&signed(fixture), &fixture.trust(), &PlanBounds::default()).unwrap()
}

#[test]
fn messages_are_read_as_they_were_written() {
    let fixture = Fixture::new(100_000);
    let request = OffersRequest::Offers { genesis: fixture.trust().genesis };
    let text = encode_offers_request(&request);
    assert_eq!(
        String::from_utf8(text.clone()).unwrap(),
        format!(r#"{{"type":"offers","genesis":"{}"}}"#, fixture.trust().genesis)
    );
    assert_eq!(decode_offers_request(&text), Ok(request));
    for response in [
        OffersResponse::Offers { offers: vec![offer(&fixture), signed(&fixture)] },
        OffersResponse::Offers { offers: Vec::new() },
        OffersResponse::Error { code: ErrorCode::Busy, message: "later".to_owned() },
    ] {
        assert_eq!(decode_offers_response(&encode_offers_response(&response)), Ok(response));
    }
}

#[test]
fn the_rules_of_all_messages_hold_for_these_too() {
    let fixture = Fixture::new(1000);
    let whole = encode_offers_response(&OffersResponse::Offers { offers: vec![offer(&fixture)] });
    let text = String::from_utf8(whole.clone()).unwrap();
    for cut in 0..whole.len() {
        let error = decode_offers_response(&whole[..cut]).unwrap_err();
        assert!(matches!(error, DecodeError::Incomplete { .. }), "{cut}: {error}");
    }
    let refused = [
        (text.replace("\"free_slots\":61", "\"free_slots\":6.1"), "free_slots"),
        (text.replace("\"free_slots\":61", "\"free_slots\":-1"), "free_slots"),
        (text.replace("\"free_slots\":61", "\"free_slots\":61,\"free_slots\":61"), "twice"),
        (text.replace(",\"free_slots\":61", ""), "free_slots"),
        (text.replace("\"offers\":[", "\"offers\":[7,"), "offers"),
        (text.replace("\"type\":\"offers\"", "\"type\":\"offer\""), "offer"),
        (text.clone() + "{}", "after the document"),
    ];
    for (text, word) in refused {
        let error = decode_offers_response(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
    // Unknown fields are ignored.
    assert!(decode_offers_response(text.replace("\"free_slots\"", "\"more\":[{}],\"free_slots\"").as_bytes()).is_ok());
}

#[test]
fn an_answer_has_64_offers_and_not_one_more() {
    let fixture = Fixture::new(1000);
    let of = |count| encode_offers_response(&OffersResponse::Offers { offers: vec![offer(&fixture); count] });
    assert!(decode_offers_response(&of(MAX_OFFERS)).is_ok());
    let error = decode_offers_response(&of(MAX_OFFERS + 1)).unwrap_err();
    assert_eq!(error, DecodeError::Field { field: "offers", expected: "an array of at most 64 offers" });
}

#[test]
fn an_offer_counts_only_when_its_tips_signatures_hold() {
    let fixture = Fixture::new(100_000);
    let (trust, bounds) = (fixture.trust(), PlanBounds::default());
    let judged = |change: &dyn Fn(&mut Offer)| {
        let mut offer = offer(&fixture);
        change(&mut offer);
        check(&offer, &trust, &bounds)
    };
    let found = judged(&|_| {}).unwrap();
    assert!(!found.is_signed() && found.snapshot == fixture.plan.snapshot && found.free_slots == 61);
    assert!(check(&signed(&fixture), &trust, &bounds).unwrap().is_signed());

    let unsigned = |result: Result<Found, OfferError>| matches!(result, Err(OfferError::Signatures(_)));
    assert!(unsigned(judged(&|offer| offer.signatures.clear())));
    assert!(unsigned(judged(&|offer| {
        let mut bytes = offer.signatures[0].signature.to_vec();
        bytes[7] ^= 1;
        offer.signatures[0].signature = bytes.into();
    })));
    // The signatures cover step, height and commitment of the tip.
    assert!(unsigned(judged(&|offer| offer.tip.height += 1)));
    assert!(unsigned(judged(&|offer| offer.tip.commitment = offer.snapshot.checkpoint.commitment)));
    let plan = |result: Result<Found, OfferError>| matches!(result, Err(OfferError::Plan(_)));
    assert!(plan(judged(&|offer| offer.snapshot.checkpoint.step = offer.tip.step)), "another one at the tip's step");
    assert!(plan(judged(&|offer| offer.snapshot.checkpoint.step = offer.tip.step + 1)), "above the tip");
    assert!(plan(judged(&|offer| offer.snapshot.checkpoint.height = offer.tip.height)));
    assert!(plan(judged(&|offer| offer.genesis.chain_id.push('x'))), "another chain");
    assert!(plan(judged(&|offer| offer.tip.commitment = Hash([0xff; 32]))), "not a field element");
    assert!(matches!(judged(&|offer| offer.max_chunk_size = 1), Err(OfferError::ChunkSize(_))));

    let mut revoking = trust.clone();
    revoking.revoked = fixture.plan.genesis.publishers.clone();
    assert!(unsigned(check(&offer(&fixture), &revoking, &bounds)));
    let mut small = bounds;
    small.max_payload_bytes = 99_999;
    let error = check(&offer(&fixture), &trust, &small).unwrap_err().to_string();
    assert!(error.contains("max_payload_bytes"), "{error}");
}

#[test]
fn the_newest_is_chosen_from_the_peer_with_most_free_slots() {
    let fixture = Fixture::new(1000);
    let (newest, older) = (found(&fixture), invented(&fixture, 1));
    let (now, mut book) = (Instant::now(), Book::default());
    let [busy, free, freer] = [(); 3].map(|()| PeerId::random());
    let with = |mut found: Found, free_slots| {
        found.free_slots = free_slots;
        found
    };
    assert!(book.record(busy, &[with(newest, 0)], now));
    assert!(!book.record(busy, &[with(newest, 0)], now), "the same again is no change");
    assert!(book.record(free, &[with(newest, 1), older], now));
    assert!(book.record(freer, &[with(newest, 2)], now));
    let choose = |book: &Book, root, height, not: &[PeerId]| {
        let usable = |_: &_, holder: &rpp_p2p::offers::Holder| !not.contains(&holder.peer);
        book.choose(root, height, usable).map(|(snapshot, holder)| (snapshot.checkpoint.height, holder.peer))
    };
    let top = newest.snapshot.checkpoint;
    assert_eq!(choose(&book, None, None, &[]), Some((top.height, freer)));
    assert_eq!(choose(&book, None, None, &[freer]), Some((top.height, free)));
    assert_eq!(choose(&book, None, None, &[freer, free]), Some((top.height, busy)), "without free slots, at last");
    let below = older.snapshot.checkpoint;
    assert_eq!(choose(&book, Some(below.state_root), None, &[]), Some((below.height, free)));
    assert_eq!(choose(&book, None, Some(below.height), &[]), Some((below.height, free)));
    assert_eq!(choose(&book, None, Some(below.height), &[free]), None);
    assert_eq!(choose(&book, Some(below.state_root), Some(top.height), &[]), None);
    let listed: Vec<_> = book.newest_first().iter().map(|known| known.snapshot.checkpoint.height).collect();
    assert_eq!(listed, [top.height, below.height]);

    // An answer replaces the previous one. A peer that disconnects is forgotten.
    assert!(book.record(free, &[with(newest, 1)], now));
    assert_eq!(book.len(), 1);
    assert!(book.strike(&free, &newest.snapshot) && !book.strike(&free, &newest.snapshot));
    assert!(book.forget(&freer) && book.forget(&busy));
    assert!(book.is_empty());
}

#[test]
fn of_one_height_what_is_signed_itself_comes_first() {
    let fixture = Fixture::new(1000);
    let mut lie = found(&fixture);
    let mut book = Book::default();
    let (liar, honest, now) = (PeerId::random(), PeerId::random(), Instant::now());
    // `check` would refuse an invented snapshot at the tip's height, so it is made here directly.
    lie.snapshot.checkpoint.state_root = Hash([0; 32]);
    lie.snapshot.checkpoint.step += 9;
    book.record(liar, &[lie], now);
    book.record(honest, &[found(&fixture)], now);
    assert_eq!(book.choose(None, None, |_, _| true).unwrap().1.peer, honest);
}

#[test]
fn the_book_has_1024_offers_of_64_peers_and_the_oldest_go() {
    let fixture = Fixture::new(1000);
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let mut book = Book::default();
    let honest = PeerId::random();
    book.record(honest, &[found(&fixture)], start);
    // Each stranger offers as many snapshots as fit into an answer.
    let lies: Vec<_> = (0..2 * MAX_KNOWN_OFFERS as u64).map(|seed| invented(&fixture, seed)).collect();
    for (round, lies) in lies.chunks(MAX_OFFERS).enumerate() {
        book.record(PeerId::random(), lies, at(1 + round as u64));
        assert!(book.len() <= MAX_KNOWN_OFFERS);
    }
    assert_eq!(book.len(), MAX_KNOWN_OFFERS);
    let roots: Vec<_> = book.newest_first().iter().map(|known| known.snapshot).collect();
    assert!(roots.contains(&found(&fixture).snapshot), "what is signed itself does not give way to inventions");
    assert!(!roots.contains(&lies[0].snapshot) && roots.contains(&lies.last().unwrap().snapshot));

    let peers: Vec<_> = (0..MAX_OFFER_PEERS + 1).map(|_| PeerId::random()).collect();
    for (second, peer) in peers.iter().enumerate() {
        book.record(*peer, &[found(&fixture)], at(100 + second as u64));
    }
    let known = book.newest_first()[0].clone();
    assert_eq!(known.peers.len(), MAX_OFFER_PEERS);
    let holds = |peer: &PeerId| known.peers.iter().any(|holder| holder.peer == *peer);
    assert!(!holds(&honest) && !holds(&peers[0]) && holds(&peers[1]) && holds(&peers[MAX_OFFER_PEERS]));
}

#[test]
fn an_offer_that_nobody_confirms_is_forgotten() {
    let fixture = Fixture::new(1000);
    let (start, mut book) = (Instant::now(), Book::new(BookLimits::default()));
    let (one, other) = (PeerId::random(), PeerId::random());
    book.record(one, &[found(&fixture)], start);
    book.record(other, &[found(&fixture)], start + ASK_INTERVAL);
    assert_eq!(book.poll_timeout(), Some(start + OFFER_LIFE));
    assert!(!book.expire(start + OFFER_LIFE - Duration::from_millis(1)));
    assert!(book.expire(start + OFFER_LIFE));
    assert_eq!(book.newest_first()[0].peers.iter().map(|holder| holder.peer).collect::<Vec<_>>(), [other]);
    assert!(book.expire(start + OFFER_LIFE + ASK_INTERVAL));
    assert_eq!((book.len(), book.poll_timeout()), (0, None));
}

fn nothing() -> PeerSaid {
    PeerSaid::Offers { found: 0, refused: 0, reason: None }
}

/// Whether a pause lies between three quarters of `interval` and `interval`.
fn is_about(pause: Duration, interval: Duration) -> bool {
    (interval * 3 / 4..=interval).contains(&pause)
}

fn foreign() -> PeerSaid {
    PeerSaid::Offers { found: 0, refused: 3, reason: Some("its tip is not signed".to_owned()) }
}

#[test]
fn a_peer_is_asked_when_it_connects_and_every_minute_while_somebody_wants_to_know() {
    let (start, peer, mut asker) = (Instant::now(), PeerId::random(), Asker::default());
    asker.handle_connected(peer, start);
    assert_eq!(asker.poll_timeout(false), Some(start));
    assert_eq!((asker.poll_ask(start, false), asker.poll_ask(start, false)), (Some(peer), None), "one at a time");
    assert!(asker.handle_said(&peer, nothing(), start));
    assert_eq!(asker.poll_timeout(false), None, "nobody wants to know");
    let next = asker.poll_timeout(true).unwrap();
    assert!(is_about(next - start, ASK_INTERVAL), "{:?}", next - start);
    assert_eq!(asker.poll_ask(next - Duration::from_millis(1), true), None);
    assert_eq!(asker.poll_ask(start + ASK_INTERVAL, true), Some(peer));
    assert!(!asker.handle_said(&peer, nothing(), start + ASK_INTERVAL), "no news");
    // An operator's request need not wait a minute, but cannot cause a flood.
    let now = start + ASK_INTERVAL;
    asker.ask_now(now);
    assert_eq!(asker.poll_ask(now, true), None);
    assert_eq!(asker.poll_ask(now + MIN_ASK_INTERVAL, true), Some(peer));
}

#[test]
fn a_peer_without_the_protocol_is_left_alone_and_one_of_no_use_is_asked_ever_more_seldom() {
    let start = Instant::now();
    let (mute, liar, mut asker) = (PeerId::random(), PeerId::random(), Asker::default());
    asker.handle_connected(mute, start);
    assert_eq!(asker.poll_ask(start, false), Some(mute));
    asker.handle_said(&mute, PeerSaid::Unsupported, start);
    asker.ask_now(start + ASK_INTERVAL);
    assert_eq!(asker.poll_timeout(true), None);
    asker.handle_connected(liar, start);
    let mut now = start;
    for minutes in [2, 4, 8, 16, 32, 60, 60] {
        assert_eq!(asker.poll_ask(now, true), Some(liar));
        asker.handle_said(&liar, foreign(), now);
        asker.ask_now(now + MIN_ASK_INTERVAL);
        let next = asker.poll_timeout(true).unwrap();
        assert!(is_about(next - now, Duration::from_secs(60 * minutes).min(MAX_ASK_INTERVAL)), "{:?}", next - now);
        now = next;
    }
    // A valid offer makes up for it.
    assert_eq!(asker.poll_ask(now, true), Some(liar));
    asker.handle_said(&liar, nothing(), now);
    assert!(is_about(asker.poll_timeout(true).unwrap() - now, ASK_INTERVAL));
}

#[test]
fn peers_that_came_together_are_not_asked_together() {
    let (now, mut asker) = (Instant::now(), Asker::new(7));
    let mut due = std::collections::BTreeSet::new();
    for _ in 0..MAX_ASKS {
        let peer = PeerId::random();
        asker.handle_connected(peer, now);
        assert_eq!(asker.poll_ask(now, false), Some(peer));
        asker.handle_said(&peer, nothing(), now);
        due.insert(asker.poll_timeout(true).unwrap());
        asker.handle_disconnected(&peer);
    }
    assert!(due.len() > MAX_ASKS / 2, "{due:?}");
}

#[test]
fn silent_peers_hold_no_others_up_and_those_that_are_gone_are_remembered_within_bounds() {
    let (now, mut asker) = (Instant::now(), Asker::default());
    let silent: Vec<_> = (0..MAX_ASKS).map(|_| PeerId::random()).collect();
    silent.iter().for_each(|peer| asker.handle_connected(*peer, now));
    let asked: Vec<_> = std::iter::from_fn(|| asker.poll_ask(now, true)).collect();
    assert_eq!(asked.len(), MAX_ASKS);
    let other = PeerId::random();
    asker.handle_connected(other, now);
    assert_eq!((asker.poll_ask(now, true), asker.poll_timeout(true)), (None, None));
    asker.handle_said(&silent[0], PeerSaid::Failed { reason: "nothing within 20 s".to_owned() }, now);
    assert_eq!(asker.poll_ask(now, true), Some(other));
    // A place is also freed when its peer disconnects.
    asker.handle_disconnected(&silent[1]);
    let next = PeerId::random();
    asker.handle_connected(next, now);
    assert_eq!(asker.poll_ask(now, true), Some(next));
    assert!(!asker.handle_said(&silent[1], nothing(), now), "too late");

    let said = |asker: &Asker, peer: PeerId| {
        asker.said().find(|(known, _)| **known == peer).map(|(_, said)| said.map(ToString::to_string))
    };
    assert_eq!(said(&asker, silent[0]), Some(Some("did not answer: nothing within 20 s".to_owned())));
    assert_eq!(said(&asker, silent[1]), Some(Some("did not answer: the connection closed".to_owned())));
    assert_eq!(said(&asker, silent[2]), Some(None));
    for _ in 0..MAX_GONE {
        let peer = PeerId::random();
        asker.handle_connected(peer, now);
        asker.handle_disconnected(&peer);
    }
    assert_eq!(said(&asker, silent[1]), None, "the oldest goes");
}

#[test]
fn what_is_said_reads_as_a_sentence() {
    let some =
        |found, refused, reason: Option<&str>| PeerSaid::Offers { found, refused, reason: reason.map(str::to_owned) };
    let sentences = [
        (nothing(), "offers no snapshot of this chain"),
        (some(1, 0, None), "offers 1 snapshot"),
        (some(2, 1, Some("why")), "offers 2 snapshots (1 refused: why)"),
        (some(0, 64, Some("why")), "offers nothing that counts (64 refused: why)"),
        (PeerSaid::Unsupported, "does not say what it offers (it has no /rpp/offers/1.0.0)"),
        (PeerSaid::Refused { message: "no".to_owned() }, "refused to say what it offers: no"),
    ];
    for (said, sentence) in sentences {
        assert_eq!(said.to_string(), sentence);
        assert!(PeerSaid::WORDS.contains(&said.as_str()));
    }
}

#[test]
fn a_question_is_answered_with_the_newest_of_that_chain_and_the_slots_of_now() {
    let fixture = Fixture::new(1000);
    let (now, peer, mut answers) = (Instant::now(), PeerId::random(), Answers::default());
    let genesis = fixture.trust().genesis;
    let ask = |genesis| Ok(OffersRequest::Offers { genesis });
    assert_eq!(answers.answer(peer, &ask(genesis), now), OffersResponse::Offers { offers: Vec::new() });
    let offers: Arc<[_]> = vec![(Hash([9; 32]), signed(&fixture)), (genesis, offer(&fixture))].into();
    answers.set_offers(offers);
    answers.set_free_slots(5);
    let expected = Offer { free_slots: 5, ..offer(&fixture) };
    assert_eq!(answers.answer(peer, &ask(genesis), now), OffersResponse::Offers { offers: vec![expected] });
    let unreadable = decode_offers_request(b"{}");
    let OffersResponse::Error { code: ErrorCode::Invalid, message } = answers.answer(peer, &unreadable, now) else {
        panic!("answered")
    };
    assert!(message.contains("type"), "{message}");
    // A peer that floods is told to wait. Other peers can still ask.
    for _ in 3..MAX_OFFER_ANSWERS {
        assert!(matches!(answers.answer(peer, &ask(genesis), now), OffersResponse::Offers { .. }));
    }
    let busy = |response| matches!(response, OffersResponse::Error { code: ErrorCode::Busy, .. });
    assert!(busy(answers.answer(peer, &ask(genesis), now)));
    assert!(!busy(answers.answer(PeerId::random(), &ask(genesis), now)));
    assert!(!busy(answers.answer(peer, &ask(genesis), now + ASK_INTERVAL)));
}
