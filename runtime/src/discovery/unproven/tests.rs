use libp2p::core::{Endpoint, transport::PortUse};

use super::*;

fn address(host: u8, port: u16) -> Multiaddr {
    format!("/ip4/192.0.2.{host}/tcp/{port}").parse().unwrap()
}

fn claims(host: u8, count: u16) -> Vec<Multiaddr> {
    (1..=count).map(|port| address(host, port)).collect()
}

/// The dials of so many peers who do not exist, each at one port of a host, all in vain. Returns how many were made.
fn in_vain(unproven: &mut UnprovenDials, peers: u16, host: impl Fn(u16) -> u8, wish: Wish, now: Instant) -> u32 {
    let dial = |number: u16| {
        let (peer, connection) = (PeerId::random(), ConnectionId::new_unchecked(number.into()));
        let admitted = unproven.admit(peer, vec![address(host(number), 1000 + number)], Vec::new(), wish, now);
        assert_eq!(admitted.addresses.len() + admitted.withheld, 1);
        let made = u32::try_from(admitted.taken.len()).unwrap();
        if made > 0 {
            unproven.on_dial(connection, admitted.taken);
            unproven.on_failed(connection, Some(peer), &DialError::Transport(Vec::new()), now);
        }
        made
    };
    (0..peers).map(dial).sum()
}

fn dialler(address: &Multiaddr, peer: PeerId) -> ConnectedPoint {
    ConnectedPoint::Dialer {
        address: address.clone().with_p2p(peer).unwrap(),
        role_override: Endpoint::Dialer,
        port_use: PortUse::Reuse,
    }
}

#[test]
fn a_host_gets_a_fixed_number_of_dials_however_many_addresses_are_claimed() {
    let (mut unproven, now) = (UnprovenDials::default(), Instant::now());
    assert_eq!(in_vain(&mut unproven, 10_000, |_| 7, Wish::Walk, now), UNPROVEN_DIALS_PER_HOST / 2);
    assert_eq!(in_vain(&mut unproven, 10_000, |_| 7, Wish::Own, now), UNPROVEN_DIALS_PER_HOST / 2, "the other half");
    assert_eq!(in_vain(&mut unproven, 1, |_| 8, Wish::Walk, now), 1, "another host");
    // One more comes back after each period, and none sooner.
    let almost = now + UNPROVEN_HOST_AGAIN - Duration::from_millis(1);
    assert_eq!(in_vain(&mut unproven, 100, |_| 7, Wish::Own, almost), 0);
    assert_eq!(in_vain(&mut unproven, 100, |_| 7, Wish::Own, now + UNPROVEN_HOST_AGAIN), 1);
    assert_eq!(in_vain(&mut unproven, 100, |_| 7, Wish::Own, now + UNPROVEN_HOST_AGAIN * 3), 2);
    let later = now + UNPROVEN_HOST_AGAIN * 100;
    assert_eq!(in_vain(&mut unproven, 100, |_| 7, Wish::Own, later), UNPROVEN_DIALS_PER_HOST);
    assert!(unproven.dials.is_empty() && unproven.hosts.len() == 1, "nothing is kept of what came back");
}

#[test]
fn all_hosts_together_get_a_fixed_number() {
    let (mut unproven, now) = (UnprovenDials::default(), Instant::now());
    let spread = |number: u16| u8::try_from(number % 250).unwrap();
    assert_eq!(in_vain(&mut unproven, 10_000, spread, Wish::Walk, now), UNPROVEN_DIALS / 2);
    assert_eq!(in_vain(&mut unproven, 10_000, spread, Wish::Own, now), UNPROVEN_DIALS / 2);
    assert_eq!(in_vain(&mut unproven, 10_000, spread, Wish::Own, now + UNPROVEN_AGAIN * 5), 5);
}

#[test]
fn of_one_peer_only_a_few_addresses_are_dialled_and_each_once() {
    let (mut unproven, now, peer) = (UnprovenDials::default(), Instant::now(), PeerId::random());
    let mut named = claims(7, 1000);
    named.insert(1, named[0].clone().with_p2p(peer).unwrap());
    named.insert(0, "/ip4/192.0.2.7/udp/1".parse().unwrap());
    let first = unproven.admit(peer, named.clone(), Vec::new(), Wish::Own, now);
    assert_eq!(first.addresses, claims(7, u16::try_from(MAX_ADDRESSES).unwrap()));
    // What behaviours add to the same dial has no bound of its own.
    let more = unproven.admit(peer, claims(8, 1000), first.taken.clone(), Wish::Own, now);
    assert_eq!((more.addresses.len(), more.taken), (0, first.taken));
}

#[test]
fn names_are_one_host() {
    let (mut unproven, now) = (UnprovenDials::default(), Instant::now());
    let admitted = (0..1000).filter(|number| {
        let named = vec![format!("/dns4/n{number}.example.org/tcp/4001").parse().unwrap()];
        !unproven.admit(PeerId::random(), named, Vec::new(), Wish::Own, now).addresses.is_empty()
    });
    assert_eq!(admitted.count(), UNPROVEN_DIALS_PER_HOST as usize);
}

#[test]
fn one_answer_does_not_use_up_a_host() {
    let (mut unproven, now) = (UnprovenDials::default(), Instant::now());
    for _ in 0..3 {
        unproven.next_answer();
        assert_eq!(in_vain(&mut unproven, 1000, |_| 7, Wish::Answer, now), UNPROVEN_DIALS_PER_ANSWER);
    }
}

#[test]
fn peers_that_are_where_they_are_said_to_be_cost_nothing() {
    let (mut unproven, now) = (UnprovenDials::default(), Instant::now());
    for number in 0..2000_u16 {
        let (peer, connection) = (PeerId::random(), ConnectionId::new_unchecked(number.into()));
        let named = vec![address(7, 1000 + number)];
        let admitted = unproven.admit(peer, named.clone(), Vec::new(), Wish::Walk, now);
        assert_eq!(admitted.addresses, named);
        unproven.on_dial(connection, admitted.taken);
        unproven.on_connected(connection, peer, &dialler(&named[0], peer), now);
        // From now on the address is free.
        assert!(unproven.admit(peer, named, Vec::new(), Wish::Walk, now).taken.is_empty());
    }
    assert!(unproven.dials.is_empty());
    assert_eq!(in_vain(&mut unproven, 1000, |_| 7, Wish::Own, now), UNPROVEN_DIALS_PER_HOST);
}

#[test]
fn a_reached_peer_pays_for_its_other_addresses() {
    let (mut unproven, now) = (UnprovenDials::default(), Instant::now());
    let mut dialled = 0;
    for number in 0..1000 {
        let (peer, connection) = (PeerId::random(), ConnectionId::new_unchecked(number));
        let real = address(8, 4001);
        let named = [vec![real.clone()], claims(7, 100)].concat();
        let admitted = unproven.admit(peer, named, Vec::new(), Wish::Own, now);
        assert_eq!(admitted.addresses[0], real);
        dialled += admitted.addresses.len() - 1;
        unproven.on_dial(connection, admitted.taken);
        unproven.on_connected(connection, peer, &dialler(&real, peer), now);
    }
    assert_eq!(dialled, UNPROVEN_DIALS_PER_HOST as usize);
}

#[test]
fn an_address_where_the_peer_is_no_more_is_unproven_and_who_answers_there_is_known() {
    let (mut unproven, now) = (UnprovenDials::default(), Instant::now());
    let (gone, here, at) = (PeerId::random(), PeerId::random(), address(7, 4001));
    unproven.on_connected(ConnectionId::new_unchecked(1), gone, &dialler(&at, gone), now);
    assert!(unproven.admit(gone, vec![at.clone()], Vec::new(), Wish::Own, now).taken.is_empty());
    let wrong = DialError::WrongPeerId { obtained: here, address: at.clone().with_p2p(gone).unwrap() };
    unproven.on_failed(ConnectionId::new_unchecked(2), Some(gone), &wrong, now);
    assert_eq!(unproven.admit(gone, vec![at.clone()], Vec::new(), Wish::Own, now).taken, std::slice::from_ref(&at));
    in_vain(&mut unproven, 1000, |_| 7, Wish::Own, now);
    assert_eq!(unproven.admit(here, vec![at.clone()], Vec::new(), Wish::Walk, now).addresses, [at]);
}

/// While dials are under way nothing comes back, however long they take.
#[test]
fn dials_under_way_count() {
    let (mut unproven, now) = (UnprovenDials::default(), Instant::now());
    for number in 0..usize::try_from(UNPROVEN_DIALS_PER_HOST).unwrap() {
        let admitted = unproven.admit(PeerId::random(), claims(7, 1), Vec::new(), Wish::Own, now);
        unproven.on_dial(ConnectionId::new_unchecked(number), admitted.taken);
    }
    let later = now + UNPROVEN_HOST_AGAIN * 100;
    assert_eq!(in_vain(&mut unproven, 100, |_| 7, Wish::Own, later), 0);
}

#[test]
fn a_dial_that_was_not_made_costs_nothing() {
    let (mut unproven, now, connection) = (UnprovenDials::default(), Instant::now(), ConnectionId::new_unchecked(1));
    for _ in 0..100 {
        let admitted = unproven.admit(PeerId::random(), claims(7, 1), Vec::new(), Wish::Own, now);
        assert_eq!(admitted.withheld, 0);
        unproven.on_dial(connection, admitted.taken);
        unproven.on_failed(connection, None, &DialError::NoAddresses, now);
    }
}

#[test]
fn one_line_a_minute_says_how_many_addresses_were_not_dialled() {
    let (mut unproven, now) = (UnprovenDials::default(), Instant::now());
    assert_eq!(unproven.poll_report(now), None);
    in_vain(&mut unproven, 116, |_| 7, Wish::Own, now);
    let line = unproven.poll_report(now).unwrap().to_string();
    assert!(line.contains("100 addresses") && line.contains("100 of them at 192.0.2.7"), "{line}");
    in_vain(&mut unproven, 1000, |_| 7, Wish::Own, now);
    assert_eq!(unproven.poll_report(now + Duration::from_secs(59)), None);
    assert!(unproven.poll_report(now + Duration::from_secs(60)).is_some());
}
