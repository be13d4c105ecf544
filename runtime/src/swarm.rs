//! The libp2p swarm of a node: its transports and its combined behaviours.

use std::{path::Path, sync::Arc};

use libp2p::{
    Multiaddr, PeerId, Swarm, SwarmBuilder, Transport as _, allow_block_list, connection_limits,
    core::{transport::timeout::TransportTimeout, upgrade::Version},
    identify,
    identity::Keypair,
    mdns, memory_connection_limits, noise,
    swarm::{
        self, DialError, NetworkBehaviour,
        behaviour::toggle::Toggle,
        dial_opts::{DialOpts, PeerCondition},
    },
    tcp,
};
use rpp_p2p::{
    error::Cause,
    negotiation::Plain,
    offers, snapshots,
    transport::{Tls, Yamux},
};

use crate::{
    config::Config,
    discovery::{
        self, Wish,
        dht::{self, Kad},
        gate::Gate,
        scoped::Scoped,
    },
    doors::{self, ConnectionRules},
    hooks::TransportBuilder,
    limits::MAX_PENDING_CONNECTIONS,
    ping,
    resolver::{self, RESOLV_CONF, Resolver},
    serve::Provider,
};

/// The protocol version in identify.
const IDENTIFY_PROTOCOL: &str = "/rpp/1.0.0";
/// The beginning of the agent version in identify.
pub(crate) const AGENT: &str = "rpp-node/";
/// The share of the machine's memory that this process may use before it refuses connections.
const MAX_MEMORY_SHARE: f64 = 0.9;

/// The combined behaviour. The addresses that its parts name are bounded.
pub(crate) type NodeBehaviour = Gate<Parts>;
/// What the parts report.
pub(crate) type NodeBehaviourEvent = PartsEvent;

/// The parts of the combined behaviour.
#[derive(NetworkBehaviour)]
pub(crate) struct Parts {
    pub(crate) blocked: allow_block_list::Behaviour<allow_block_list::BlockedPeers>,
    pub(crate) limits: connection_limits::Behaviour,
    pub(crate) memory: memory_connection_limits::Behaviour,
    /// Must come after all other behaviours that may refuse a connection.
    pub(crate) doors: doors::Doorkeeper,
    /// Tells private addresses only to private peers.
    pub(crate) identify: Plain<Scoped<identify::Behaviour>>,
    pub(crate) ping: Plain<ping::Behaviour>,
    pub(crate) snapshots: snapshots::Behaviour<Provider>,
    pub(crate) offers: Plain<offers::OffersBehaviour>,
    pub(crate) kad: Plain<Kad>,
    pub(crate) mdns: Toggle<mdns::tokio::Behaviour>,
}

/// Why the swarm could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SwarmError {
    /// Noise or TLS refused the identity.
    #[error("the transport could not be set up: {0}")]
    Transport(#[source] Cause),
}

/// Builds the swarm; it does not listen yet.
pub(crate) fn build(
    keypair: Keypair,
    config: &Config,
    provider: Arc<Provider>,
    protocol: snapshots::Config,
    rules: ConnectionRules,
    transport: Option<TransportBuilder>,
) -> Result<Swarm<NodeBehaviour>, SwarmError> {
    let limits =
        connection_limits::ConnectionLimits::default().with_max_pending_outgoing(Some(MAX_PENDING_CONNECTIONS));
    let me = keypair.public().to_peer_id();
    let behaviour = Gate::new(Parts {
        blocked: allow_block_list::Behaviour::default(),
        limits: connection_limits::Behaviour::new(limits),
        memory: memory_limits(),
        doors: doors::Doorkeeper::new(rules, config.p2p.max_connections, config.p2p.max_connections_per_peer),
        identify: Plain::new(Scoped::new(|| {
            identify::Behaviour::new(
                identify::Config::new(IDENTIFY_PROTOCOL.to_owned(), keypair.public())
                    .with_agent_version(format!("{AGENT}{}", env!("CARGO_PKG_VERSION"))),
            )
        })),
        ping: Plain::new(ping::Behaviour::new(rules.ping)),
        snapshots: snapshots::Behaviour::new(provider, protocol),
        offers: Plain::new(offers::OffersBehaviour::new(discovery::judge(
            config,
            crate::sessions::plan_bounds(config),
        ))),
        kad: Plain::new(dht::behaviour(config.discovery.kad, me)),
        mdns: discovery::neighbours::behaviour(config.discovery.mdns, me).into(),
    });
    // Negotiation is lazy only with peers that are known to support it; see `negotiation`. The idle time is longer than
    // libp2p's default, because a session has no open stream between two requests (during a check or a flush).
    let tuned = |swarm: swarm::Config| {
        swarm.with_idle_connection_timeout(rules.idle).with_substream_upgrade_protocol_override(Version::V1Lazy)
    };
    let Resolver { config: names, options, warning } = resolver::of_system(Path::new(RESOLV_CONF));
    if let Some(warning) = warning {
        tracing::warn!("{warning}");
    }
    let builder = SwarmBuilder::with_existing_identity(keypair).with_tokio();
    Ok(match transport {
        None => builder
            .with_tcp(tcp::Config::new(), (Tls::new, noise::Config::new), Yamux::default)
            .map_err(no_transport)?
            .with_quic()
            .with_dns_config(names, options)
            .with_behaviour(|_| behaviour)
            .map_err(no_transport)?
            .with_swarm_config(tuned)
            .with_connection_timeout(rules.handshake_time)
            .build(),
        Some(transport) => builder
            .with_other_transport(|keypair| {
                Ok(TransportTimeout::with_ingoing_timeout(transport(keypair)?, rules.handshake_time).boxed())
            })
            .map_err(no_transport)?
            .with_dns_config(names, options)
            .with_behaviour(|_| behaviour)
            .map_err(no_transport)?
            .with_swarm_config(tuned)
            .build(),
    })
}

/// If `/proc/meminfo` is hidden (by systemd's `ProcSubset=pid`), the machine seems to have no memory, and every
/// connection would be refused. So there is no such limit in that case.
fn memory_limits() -> memory_connection_limits::Behaviour {
    let limits = memory_connection_limits::Behaviour::with_max_percentage(MAX_MEMORY_SHARE);
    if limits.max_allowed_bytes() > 0 {
        return limits;
    }
    tracing::info!("the machine's memory is not known here: connections are limited by their number alone");
    memory_connection_limits::Behaviour::with_max_bytes(usize::MAX)
}

/// Dials a peer unless it is connected or is already being dialled. `operators`: addresses that the operator named.
///
/// # Errors
/// No dial can even be tried.
pub(crate) fn dial(
    swarm: &mut Swarm<NodeBehaviour>,
    peer: PeerId,
    operators: Vec<Multiaddr>,
) -> Result<(), CannotDial> {
    dial_told(swarm, peer, operators, Vec::new(), Wish::Own)
}

/// The same, also at addresses that others told, as far as the bounds on such dials allow.
///
/// # Errors
/// No dial can even be tried.
pub(crate) fn dial_told(
    swarm: &mut Swarm<NodeBehaviour>,
    peer: PeerId,
    operators: Vec<Multiaddr>,
    told: Vec<Multiaddr>,
    wish: Wish,
) -> Result<(), CannotDial> {
    let (addresses, withheld) = swarm.behaviour_mut().admit(peer, operators, told, wish);
    let options = DialOpts::peer_id(peer)
        .condition(PeerCondition::DisconnectedAndNotDialing)
        .addresses(addresses)
        .extend_addresses_through_behaviour()
        .build();
    match swarm.dial(options) {
        Ok(()) | Err(DialError::DialPeerConditionFalse(_)) => Ok(()),
        Err(DialError::NoAddresses) if withheld > 0 => Err(CannotDial::Withheld),
        Err(error) => Err(CannotDial::Failed(error)),
    }
}

fn no_transport(error: impl std::error::Error + Send + Sync + 'static) -> SwarmError {
    SwarmError::Transport(Cause::new(error))
}

/// Why a peer cannot be dialled, in words for an operator.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CannotDial {
    #[error("{}", explain_dial_error(.0))]
    Failed(DialError),
    #[error("too many dials at the addresses that it is said to have reached nobody; it is dialled there again later")]
    Withheld,
}

/// A dial error for an operator: one sentence of at most 512 bytes; text of the peer is escaped.
pub(crate) fn explain_dial_error(error: &DialError) -> String {
    let text = match error {
        DialError::NoAddresses => "no address is known for it".to_owned(),
        DialError::WrongPeerId { obtained, .. } => format!("another peer answers at that address: {obtained}"),
        DialError::LocalPeerId { .. } => "that is this node itself".to_owned(),
        DialError::Transport(tried) => tried
            .iter()
            .map(|(address, error)| format!("{address}: {}", innermost(error)))
            .collect::<Vec<_>>()
            .join("; "),
        other => other.to_string(),
    };
    rpp_p2p::text::escape(&text)
}

/// The last cause in a chain of errors. It says what happened ("Connection refused"); the outer ones only say where.
pub(crate) fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    crate::resolver::words(cause).unwrap_or_else(|| cause.to_string())
}
