//! Connects introspection and fleet cuts to the running node. The node knows neither; both are informed through
//! [`Hooks`].

mod awake;
mod fleet;
mod introspection;

use std::{collections::HashMap, sync::Arc, time::Duration};

use libp2p::PeerId;
use rpp_fleet::Reporter;
use rpp_introspection::{Registry, transport};
use rpp_rpc::Traffic;
use rpp_runtime::{Config, Hooks, NodeHandle, Watcher};

use self::{awake::Awake, fleet::Fleet, introspection::Introspection};

/// The name in a cut of a node without a configured name; the end of its peer id follows.
const PROCESS: &str = "rpp-node";
/// Characters of the peer id that distinguish the nodes of a fleet, because their process ids may all be 1.
const PEER_CHARS: usize = 6;
/// Time between two readings of the fill of the node's queues, for cuts.
const QUEUES_INTERVAL: Duration = Duration::from_secs(1);

/// Everything that watches the node. Dropping this ends reporting to the fleet's dashboard.
pub(crate) struct Wiring {
    introspection: Option<Registry>,
    fleet: Option<(Reporter, Arc<Fleet>)>,
    awake: Option<Arc<Awake>>,
}

impl Wiring {
    /// As configured. `dashboard` is `PEEPS_DASHBOARD`, which overrides the file's value.
    pub(crate) fn new(config: &Config, peer: PeerId, dashboard: Option<&str>) -> Self {
        let introspection = config.introspection.enabled.then(|| Registry::new(&peer, env!("CARGO_PKG_VERSION")));
        let dashboard = dashboard.unwrap_or(&config.fleet.dashboard);
        let reporter = Reporter::to(Some(dashboard), &name_in_cuts(&config.fleet.name, &peer));
        let fleet = reporter.registry().is_on().then(|| {
            let watcher = Fleet::new(reporter.registry().clone(), peer, config.snapshots.max_active_sessions);
            (reporter, Arc::new(watcher))
        });
        let awake = Awake::new();
        if let Some(awake) = awake.clone() {
            tokio::spawn(awake.stay());
        }
        Self { introspection, fleet, awake }
    }

    /// The hooks for the node's start. Parts that are off get none.
    pub(crate) fn hooks(&self) -> Hooks {
        let mut hooks = Hooks::default();
        if let Some(registry) = self.introspection.clone() {
            hooks.watchers.push(Arc::new(Introspection::new(registry.clone())));
            hooks.transport = Some(Box::new(move |keypair| transport::transport(keypair, &registry)));
        }
        if let Some((_, watcher)) = &self.fleet {
            hooks.watchers.push(Arc::clone(watcher) as Arc<dyn Watcher>);
        }
        if let Some(awake) = &self.awake {
            hooks.watchers.push(Arc::clone(awake) as Arc<dyn Watcher>);
        }
        hooks
    }

    /// The registry that the introspection port shows; `None` if it is off.
    pub(crate) fn introspection(&self) -> Option<&Registry> {
        self.introspection.as_ref()
    }

    /// Keeps the fill of the node's queues up to date for cuts until the node ends. Returns at once if cuts are off.
    pub(crate) async fn follow_queues(&self, handle: &NodeHandle) {
        let Some((reporter, watcher)) = &self.fleet else { return };
        let mut status = reporter.status();
        let mut tick = tokio::time::interval(QUEUES_INTERVAL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            if status.wait_for(|status| status.connected).await.is_err() {
                return;
            }
            match handle.queues().await {
                Ok(queues) => watcher.queues(&queues),
                Err(_) => return,
            }
        }
    }
}

/// The bytes that the introspection registry counted, in the control plane's form.
pub(crate) fn traffic(registry: &Registry) -> HashMap<String, Traffic> {
    let traffic = |(bytes_received, bytes_sent)| Traffic { bytes_received, bytes_sent };
    registry.traffic().into_iter().map(|(peer, both)| (peer, traffic(both))).collect()
}

/// The configured name, or one that is unique across hosts.
fn name_in_cuts(configured: &str, peer: &PeerId) -> String {
    if !configured.is_empty() {
        return configured.to_owned();
    }
    let peer = peer.to_base58();
    // Base58 is ASCII.
    format!("{PROCESS}-{}", &peer[peer.len().saturating_sub(PEER_CHARS)..])
}
