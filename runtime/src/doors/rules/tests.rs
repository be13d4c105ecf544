use std::net::Ipv4Addr;

use super::*;

/// The `host`th address of a network.
fn source(host: u32) -> Source {
    Source::of_ip(Ipv4Addr::from_bits(0x0a00_0000 + host).into())
}

/// Ids for connections.
struct Ids(usize);

impl Ids {
    fn next(&mut self) -> ConnectionId {
        self.0 += 1;
        ConnectionId::new_unchecked(self.0)
    }
}

fn doors(max: usize) -> (Doors, Ids) {
    let rules = ConnectionRules { burst: 1000, ..ConnectionRules::default() };
    (Doors::new(rules, max, 4), Ids(0))
}

/// Connections of strangers from one source, made one after the other; those that were not refused.
fn make(doors: &mut Doors, ids: &mut Ids, now: Instant, from: Source, count: usize) -> Vec<(ConnectionId, PeerId)> {
    let mut made = Vec::new();
    for _ in 0..count {
        let (id, peer) = (ids.next(), PeerId::random());
        if doors.arrive(now, id, from, Wire::Tcp).is_ok() && doors.establish(now, id, from, peer).is_ok() {
            made.push((id, peer));
        }
    }
    made
}

fn closing(doors: &mut Doors) -> Vec<ConnectionId> {
    std::iter::from_fn(|| doors.poll_close()).map(|(_, id)| id).collect()
}

fn nobody() -> HashSet<PeerId> {
    HashSet::new()
}

#[test]
fn silent_sockets_of_one_address_leave_places_for_all_others() {
    let now = Instant::now();
    let (mut doors, mut ids) = doors(256);
    let mut knock = |doors: &mut Doors, from, wire, count: usize| {
        (0..count).filter(|_| doors.arrive(now, ids.next(), from, wire).is_ok()).count()
    };
    assert_eq!(knock(&mut doors, source(1), Wire::Tcp, 300), ConnectionRules::default().handshakes_per_source);
    assert_eq!(doors.counts().refused[&ConnectionRefusal::HandshakesOfSource], 284);
    assert_eq!(knock(&mut doors, source(2), Wire::Tcp, 1), 1);
    // However many addresses connect, the next one finds a place until no place is left.
    for host in 3..15 {
        assert!(knock(&mut doors, source(host), Wire::Tcp, 300) > 0, "{host}");
    }
    let newcomers = (1000..).take_while(|host| knock(&mut doors, source(*host), Wire::Tcp, 1) > 0).count();
    assert!(newcomers < ConnectionRules::default().handshakes);
    assert_eq!(doors.counts().being_made, ConnectionRules::default().handshakes);
    assert!(doors.counts().refused[&ConnectionRefusal::Handshakes] > 0);
    // A forged sender of datagrams takes no place from TCP, and TCP has taken none from QUIC.
    assert_eq!(knock(&mut doors, source(1), Wire::Quic, 300), ConnectionRules::default().handshakes_per_source);
}

#[test]
fn a_place_is_free_again_when_its_handshake_ended() {
    let now = Instant::now();
    let (mut doors, mut ids) = doors(256);
    let begun: Vec<_> = (0..16).map(|_| ids.next()).collect();
    for id in &begun {
        doors.arrive(now, *id, source(1), Wire::Tcp).unwrap();
    }
    assert_eq!(doors.arrive(now, ids.next(), source(1), Wire::Tcp), Err(ConnectionRefusal::HandshakesOfSource));
    doors.close(begun[0]);
    doors.establish(now, begun[1], source(1), PeerId::random()).unwrap();
    for _ in 0..2 {
        doors.arrive(now, ids.next(), source(1), Wire::Tcp).unwrap();
    }
    assert_eq!(doors.arrive(now, ids.next(), source(1), Wire::Tcp), Err(ConnectionRefusal::HandshakesOfSource));
}

#[test]
fn one_address_begins_no_more_than_its_rate() {
    let now = Instant::now();
    let mut doors = Doors::new(ConnectionRules::default(), 256, 4);
    let mut ids = Ids(0);
    let mut knock = |doors: &mut Doors, now, from| {
        let id = ids.next();
        let verdict = doors.arrive(now, id, from, Wire::Tcp);
        doors.close(id);
        verdict
    };
    let ConnectionRules { burst, per_second, .. } = ConnectionRules::default();
    for _ in 0..burst {
        knock(&mut doors, now, source(1)).unwrap();
    }
    assert_eq!(knock(&mut doors, now, source(1)), Err(ConnectionRefusal::Rate));
    knock(&mut doors, now, source(2)).unwrap();
    let later = now + Duration::from_secs(1);
    let more = (0..1000).filter(|_| knock(&mut doors, later, source(1)).is_ok()).count();
    assert_eq!(more, per_second as usize);
    // The number of tracked addresses is bounded; the oldest are forgotten first.
    for host in 10..20_000 {
        knock(&mut doors, later, source(host)).unwrap();
    }
    assert_eq!(doors.rates.len(), MAX_RATES);
    knock(&mut doors, later + Duration::from_secs(60), source(20_001)).unwrap();
    assert_eq!(doors.rates.len(), 1);
}

#[test]
fn held_connections_of_one_address_make_room_among_themselves() {
    let now = Instant::now();
    let (mut doors, mut ids) = doors(256);
    let held = make(&mut doors, &mut ids, now, source(1), 64);
    assert_eq!((held.len(), doors.is_crowded()), (64, false));
    let (one, _) = make(&mut doors, &mut ids, now, source(1), 1)[0];
    assert!(doors.is_crowded());
    doors.settle(now, nobody());
    assert_eq!(closing(&mut doors), [held[0].0], "the oldest");
    assert_eq!((doors.counts().made, doors.counts().closing, doors.is_crowded()), (64, 1, false));
    doors.close(held[0].0);
    assert_eq!(doors.counts().closing, 0);
    assert!(doors.made.contains_key(&one));
    // Another address is not affected.
    make(&mut doors, &mut ids, now, source(2), 1);
    assert!(!doors.is_crowded());
}

#[test]
fn when_all_is_full_a_quiet_one_of_the_most_crowded_address_goes() {
    let now = Instant::now();
    let (mut doors, mut ids) = doors(16);
    let sole = make(&mut doors, &mut ids, now, source(1), 1);
    let crowd = make(&mut doors, &mut ids, now + Duration::from_secs(1), source(2), 4);
    for host in 3..14 {
        make(&mut doors, &mut ids, now + Duration::from_secs(2), source(host), 1);
    }
    assert_eq!((doors.counts().made, doors.is_crowded()), (16, false));
    // The first of the crowd has a session and the second is configured, so the third is closed, not the older one
    // elsewhere.
    let in_use = HashSet::from([crowd[0].1, crowd[1].1]);
    let later = now + Duration::from_secs(3);
    make(&mut doors, &mut ids, later, source(20), 1);
    doors.settle(later, in_use.clone());
    assert_eq!(closing(&mut doors), [crowd[2].0]);
    // The crowds are equal now, so the oldest is closed.
    make(&mut doors, &mut ids, later, source(21), 1);
    doors.settle(later, in_use);
    assert_eq!(closing(&mut doors), [sole[0].0]);
    assert_eq!(doors.counts().closed[&Closed::GaveWay], 2);
}

#[test]
fn who_comes_when_all_are_in_use_goes_unless_it_is_configured() {
    let now = Instant::now();
    let (mut doors, mut ids) = doors(8);
    let mut in_use = HashSet::new();
    for host in 0..8 {
        in_use.extend(make(&mut doors, &mut ids, now, source(host), 1).into_iter().map(|(_, peer)| peer));
    }
    let (late, _) = make(&mut doors, &mut ids, now, source(9), 1)[0];
    doors.settle(now, in_use.clone());
    assert_eq!(closing(&mut doors), [late]);
    let (configured, peer) = make(&mut doors, &mut ids, now, source(9), 1)[0];
    in_use.insert(peer);
    doors.settle(now, in_use);
    assert!(closing(&mut doors).is_empty() && doors.made.contains_key(&configured));
    // This node's own connections are never refused, and count.
    doors.established_ours(now, ids.next(), source(10), PeerId::random());
    assert!(doors.is_crowded());
}

#[test]
fn connections_that_do_not_let_themselves_be_closed_are_bounded_too() {
    let now = Instant::now();
    let (mut doors, mut ids) = doors(8);
    let mut made = 0;
    for host in 0..1000 {
        made += make(&mut doors, &mut ids, now, source(host), 1).len();
        doors.settle(now, nobody());
    }
    assert_eq!((made, doors.made.len()), (8 + MAX_OVER, 8 + MAX_OVER));
    assert_eq!(doors.counts().refused[&ConnectionRefusal::Total], 1000 - made as u64);
    // A peer that was in use at the last check is admitted nevertheless.
    let peer = PeerId::random();
    doors.settle(now, HashSet::from([peer]));
    doors.establish(now, ids.next(), source(1), peer).unwrap();
}

#[test]
fn a_peer_has_a_few_connections() {
    let now = Instant::now();
    let (mut doors, mut ids) = doors(8);
    let peer = PeerId::random();
    let made: Vec<_> = (0..4).map(|_| ids.next()).collect();
    for id in &made {
        doors.establish(now, *id, source(1), peer).unwrap();
    }
    assert_eq!(doors.establish(now, ids.next(), source(2), peer), Err(ConnectionRefusal::Peer));
    doors.close(made[0]);
    doors.establish(now, ids.next(), source(2), peer).unwrap();
}

#[test]
fn a_connection_without_a_session_closes_after_its_time() {
    let now = Instant::now();
    let (mut doors, mut ids) = doors(8);
    let idle = ConnectionRules::default().quiet;
    let made = make(&mut doors, &mut ids, now, source(1), 2);
    let in_use = HashSet::from([made[1].1]);
    doors.settle(now + idle - Duration::from_millis(1), in_use.clone());
    assert!(closing(&mut doors).is_empty());
    doors.settle(now + idle, in_use);
    assert_eq!(closing(&mut doors), [made[0].0]);
    // Its session ended: the time counts from then.
    doors.settle(now + idle * 2 - Duration::from_millis(1), nobody());
    assert!(closing(&mut doors).is_empty());
    doors.settle(now + idle * 2, nobody());
    assert_eq!(closing(&mut doors), [made[1].0]);
    assert_eq!(doors.counts().closed[&Closed::Idle], 2);
    assert_eq!(doors.poll_report(now), None, "that is how it should be, and not told");
}
