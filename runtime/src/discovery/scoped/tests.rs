use libp2p::{
    core::{ConnectedPoint, transport::ListenerId},
    swarm::{
        behaviour::{ExpiredListenAddr, NewListenAddr},
        dummy,
    },
};

use super::*;

/// Records what it hears, and names the addresses that it was given to name.
#[derive(Default)]
struct Probe {
    heard: Vec<String>,
    names: Vec<Multiaddr>,
}

impl NetworkBehaviour for Probe {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = String;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.heard.push(format!("in {remote}"));
        Ok(dummy::ConnectionHandler)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: Option<PeerId>,
        _: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        Ok(self.names.clone())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        address: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.heard.push(format!("out {address}"));
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        self.heard.push(match event {
            FromSwarm::ConnectionEstablished(made) => format!("made, {} others", made.other_established),
            FromSwarm::ConnectionClosed(closed) => format!("closed, {} remain", closed.remaining_established),
            FromSwarm::NewListenAddr(new) => format!("listens on {}", new.addr),
            FromSwarm::ExpiredListenAddr(expired) => format!("no more on {}", expired.addr),
            FromSwarm::ExternalAddrConfirmed(own) => format!("is at {}", own.addr),
            FromSwarm::ExternalAddrExpired(own) => format!("is no more at {}", own.addr),
            _ => "another event".to_owned(),
        });
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.heard.pop().map_or(Poll::Pending, |heard| Poll::Ready(ToSwarm::GenerateEvent(heard)))
    }
}

const PUBLIC: &str = "/ip4/8.8.8.8/tcp/4001";
const PRIVATE: &str = "/ip4/192.168.1.7/tcp/4001";

fn address(text: &str) -> Multiaddr {
    text.parse().unwrap()
}

fn scoped() -> Scoped<Probe> {
    Scoped::new(Probe::default)
}

fn heard(scoped: &mut Scoped<Probe>) -> [Vec<String>; 2] {
    [Scope::Public, Scope::Private].map(|scope| std::mem::take(&mut scoped.of(scope).heard))
}

#[test]
fn an_own_address_is_heard_of_by_its_scope_alone() {
    let mut scoped = scoped();
    let listener_id = ListenerId::next();
    for text in [PUBLIC, PRIVATE] {
        let addr = address(text);
        scoped.on_swarm_event(FromSwarm::NewListenAddr(NewListenAddr { listener_id, addr: &addr }));
    }
    let expected = |text: &str| vec![format!("listens on {text}"), format!("is at {text}")];
    assert_eq!(heard(&mut scoped), [expected(PUBLIC), expected(PRIVATE)]);
    let addr = address(PRIVATE);
    scoped.on_swarm_event(FromSwarm::ExpiredListenAddr(ExpiredListenAddr { listener_id, addr: &addr }));
    let gone = vec![format!("no more on {PRIVATE}"), format!("is no more at {PRIVATE}")];
    assert_eq!(heard(&mut scoped), [Vec::new(), gone]);
}

#[test]
fn an_address_that_is_named_in_the_other_scope_is_not_dialled() {
    let mut scoped = scoped();
    for scope in Scope::BOTH {
        // A public peer told of a private address, and a private one of a public address.
        scoped.of(scope).names = vec![address(PUBLIC), address(PRIVATE)];
    }
    let connection = ConnectionId::new_unchecked(1);
    let dialled = scoped.handle_pending_outbound_connection(connection, None, &[], Endpoint::Dialer).unwrap();
    assert_eq!(dialled, [address(PRIVATE), address(PUBLIC)], "each from its own scope, once");
    scoped.of(Scope::Public).names = vec![address(PRIVATE)];
    scoped.of(Scope::Private).names.clear();
    let dialled = scoped.handle_pending_outbound_connection(connection, None, &[], Endpoint::Dialer).unwrap();
    assert!(dialled.is_empty(), "{dialled:?}");
}

#[test]
fn a_connection_belongs_to_the_scope_of_its_remote_address_and_is_counted_there() {
    let (mut scoped, peer) = (scoped(), PeerId::random());
    let at = |text: &str| ConnectedPoint::Listener { local_addr: address(PRIVATE), send_back_addr: address(text) };
    let connections = [(1, PUBLIC), (2, PRIVATE), (3, PRIVATE)];
    for (number, remote) in connections {
        let (connection_id, remote) = (ConnectionId::new_unchecked(number), address(remote));
        scoped.handle_established_inbound_connection(connection_id, peer, &address(PRIVATE), &remote).unwrap();
        let endpoint = ConnectedPoint::Listener { local_addr: address(PRIVATE), send_back_addr: remote };
        scoped.on_swarm_event(FromSwarm::ConnectionEstablished(ConnectionEstablished {
            peer_id: peer,
            connection_id,
            endpoint: &endpoint,
            failed_addresses: &[],
            other_established: number - 1,
        }));
    }
    let [public, private] = heard(&mut scoped);
    assert_eq!(public, [format!("in {PUBLIC}"), "made, 0 others".to_owned()]);
    assert_eq!(private[1], "made, 0 others", "the public one is none of its");
    assert_eq!(private[3], "made, 1 others");
    for (number, remote) in connections {
        let endpoint = at(remote);
        scoped.on_swarm_event(FromSwarm::ConnectionClosed(ConnectionClosed {
            peer_id: peer,
            connection_id: ConnectionId::new_unchecked(number),
            endpoint: &endpoint,
            cause: None,
            remaining_established: 3 - number,
        }));
    }
    let closed = |remain: usize| format!("closed, {remain} remain");
    assert_eq!(heard(&mut scoped), [vec![closed(0)], vec![closed(1), closed(0)]]);
    assert!(scoped.connections.is_empty());
}

#[test]
fn what_a_scope_says_carries_its_name() {
    let mut scoped = scoped();
    let mut said = Vec::new();
    scoped.of(Scope::Public).heard.push("a".to_owned());
    scoped.of(Scope::Private).heard.push("b".to_owned());
    let mut cx = Context::from_waker(std::task::Waker::noop());
    while let Poll::Ready(ToSwarm::GenerateEvent(event)) = scoped.poll(&mut cx) {
        said.push(event);
    }
    assert_eq!(said, [(Scope::Private, "b".to_owned()), (Scope::Public, "a".to_owned())]);
}
