//! `/rpp/offers/1.0.0` between real swarms: who answers, who lies, who is silent.

use std::{sync::Arc, time::Instant};

use rpp_p2p::{
    Hash, PlanBounds,
    json::{encode_offers_request, encode_offers_response},
    limits::{MAX_OFFERS, MAX_REQUEST_BYTES},
    negotiation::Plain,
    offers::{Judge, Offer, OffersBehaviour, OffersEvent, OffersRequest, OffersResponse, PROTOCOL, PeerSaid},
};

use crate::support::{Fixture, Node, Raw, raw_peer, raw_peer_speaking, within};

type Peer = Node<Plain<OffersBehaviour>>;

fn offer(fixture: &Fixture) -> Offer {
    fixture.offer(0)
}

async fn consumer(fixture: &Fixture) -> Peer {
    let judge = Judge { trust: fixture.trust(), bounds: PlanBounds::default() };
    Node::start_lazy(Plain::new(OffersBehaviour::new(Some(judge)))).await
}

async fn provider(offers: Vec<(Hash, Offer)>, free_slots: u64) -> Peer {
    let mut behaviour = OffersBehaviour::new(None);
    behaviour.set_offers(offers.into());
    behaviour.set_free_slots(free_slots);
    Node::start_lazy(Plain::new(behaviour)).await
}

async fn said(consumer: &mut Peer) -> PeerSaid {
    let OffersEvent::Said { said, .. } = consumer.event().await else { panic!("another event") };
    said
}

async fn known(consumer: &Peer) -> usize {
    consumer.call(|swarm| swarm.behaviour().book().len()).await
}

/// A peer that answers the consumer's one question with this.
async fn answering(fixture: &Fixture, answer: Vec<u8>) -> (PeerSaid, usize) {
    let (mut consumer, mut rogue) = (consumer(fixture).await, raw_peer_speaking(PROTOCOL).await);
    consumer.connect(&rogue).await;
    let asked = rogue.asked().await;
    let question = OffersRequest::Offers { genesis: fixture.trust().genesis };
    assert_eq!(asked.text.as_bytes(), encode_offers_request(&question));
    rogue.answer(asked, answer).await;
    (said(&mut consumer).await, known(&consumer).await)
}

#[tokio::test]
async fn a_peer_is_asked_when_it_connects_and_what_it_offers_is_known() {
    let fixture = Fixture::new(100_000);
    let genesis = fixture.trust().genesis;
    let provider = provider(vec![(genesis, offer(&fixture)), (Hash([1; 32]), offer(&fixture))], 61).await;
    let mut consumer = consumer(&fixture).await;
    consumer.connect(&provider).await;
    assert_eq!(said(&mut consumer).await, PeerSaid::Offers { found: 1, refused: 0, reason: None });
    let book =
        consumer.call(|swarm| swarm.behaviour().book().newest_first().into_iter().cloned().collect::<Vec<_>>()).await;
    let [known] = &book[..] else { panic!("{book:?}") };
    assert_eq!((known.snapshot, known.is_signed), (fixture.plan.snapshot, false));
    assert_eq!((known.peers[0].peer, known.peers[0].free_slots), (provider.peer, 61));
    // Something newer is heard of when somebody wants to know.
    provider.call(move |swarm| swarm.behaviour_mut().set_offers(Arc::from([]))).await;
    consumer.call(|swarm| swarm.behaviour_mut().want(Instant::now())).await;
    assert_eq!(said(&mut consumer).await, PeerSaid::Offers { found: 0, refused: 0, reason: None });
    assert_eq!(self::known(&consumer).await, 0);
}

#[tokio::test]
async fn a_peer_without_the_protocol_is_no_fault() {
    let fixture = Fixture::new(1000);
    let (mut consumer, other) = (consumer(&fixture).await, raw_peer().await);
    consumer.connect(&other).await;
    assert_eq!(said(&mut consumer).await, PeerSaid::Unsupported);
    consumer.connected_to(other.peer, true).await;
}

#[tokio::test]
async fn an_offer_that_is_not_signed_does_not_count() {
    let fixture = Fixture::new(1000);
    let mut unsigned = offer(&fixture);
    unsigned.signatures.clear();
    let offers = [vec![offer(&fixture)], vec![unsigned; MAX_OFFERS - 1]].concat();
    let (said, known) = answering(&fixture, encode_offers_response(&OffersResponse::Offers { offers })).await;
    let PeerSaid::Offers { found: 1, refused: 63, reason: Some(reason) } = said else { panic!("{said}") };
    assert!(reason.contains("not signed"), "{reason}");
    assert_eq!(known, 1);
}

#[tokio::test]
async fn a_million_offers_are_not_read() {
    let fixture = Fixture::new(1000);
    let one = serde_json::to_string(&offer(&fixture)).unwrap();
    // Reading ends at the bound on bytes, however many would follow.
    let above = 8_388_608 / one.len() + 1;
    let body = format!(r#"{{"type":"offers","offers":[{}]}}"#, vec![one.as_str(); above].join(","));
    let (said, known) = answering(&fixture, body.into_bytes()).await;
    let PeerSaid::Unreadable { reason } = said else { panic!("{said}") };
    assert!(reason.contains("8388608 bytes"), "{reason}");
    assert_eq!(known, 0);
    // A few more than allowed fit the bound on bytes, and so do a million of the smallest; they are refused as a whole.
    for (offer, count) in [(one.as_str(), MAX_OFFERS + 1), ("{}", 1_000_000)] {
        let body = format!(r#"{{"type":"offers","offers":[{}]}}"#, vec![offer; count].join(","));
        let (said, known) = answering(&fixture, body.into_bytes()).await;
        assert!(matches!(&said, PeerSaid::Unreadable { reason } if reason.contains("at most 64 offers")), "{said}");
        assert_eq!(known, 0);
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_said_and_a_refusal_is_shown_escaped() {
    let fixture = Fixture::new(1000);
    for (body, word) in [("", "ends inside"), ("[]", "not JSON"), (r#"{"type":"offers"}"#, "offers")] {
        let (said, _) = answering(&fixture, body.as_bytes().to_vec()).await;
        assert!(said.to_string().contains(word), "{said}");
    }
    let refusal = r#"{"type":"error","code":"busy","message":"no\u001b[31m"}"#;
    let (said, _) = answering(&fixture, refusal.as_bytes().to_vec()).await;
    assert_eq!(said.to_string(), r"refused to say what it offers: no\u{1b}[31m (busy)");
}

#[tokio::test]
async fn a_provider_answers_whatever_it_is_asked() {
    let fixture = Fixture::new(1000);
    let provider = provider(vec![(fixture.trust().genesis, offer(&fixture))], 7).await;
    let mut asking: Node<Raw> = raw_peer_speaking(PROTOCOL).await;
    asking.connect(&provider).await;
    let question = OffersRequest::Offers { genesis: fixture.trust().genesis };
    let question = String::from_utf8(encode_offers_request(&question)).unwrap();
    let answer = within(asking.ask(provider.peer, question.clone())).await;
    let offers = vec![Offer { free_slots: 7, ..offer(&fixture) }];
    assert_eq!(answer.as_bytes(), encode_offers_response(&OffersResponse::Offers { offers }));
    let large = " ".repeat(MAX_REQUEST_BYTES + 1);
    for (body, word) in [("{}", "type"), (r#"{"type":"plan"}"#, "plan"), (large.as_str(), "65537 bytes")] {
        let answer = within(asking.ask(provider.peer, body)).await;
        assert!(answer.contains(r#""code":"invalid""#) && answer.contains(word), "{answer}");
    }
    // Whoever asks too often is told to wait, and stays connected.
    let mut answer = String::new();
    for _ in 0..8 {
        answer = within(asking.ask(provider.peer, question.clone())).await;
    }
    assert!(answer.contains(r#""code":"busy""#), "{answer}");
    asking.connected_to(provider.peer, true).await;
}
