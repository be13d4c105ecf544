//! The node's HTTP ports. They are bound and checked before the node starts, and served while it runs.

use std::net::{SocketAddr, TcpListener};

use anyhow::Context as _;
use rpp_introspection::Registry;
use rpp_runtime::{Config, NodeHandle};
use tokio::{sync::watch, task::JoinSet};

use super::{announce::Addresses, tokens::Tokens};
use crate::wiring;

/// The bound ports, and everything that is needed to serve them.
pub(super) struct Services {
    rpc: (TcpListener, SocketAddr, rpp_rpc::Options),
    introspection: Option<(TcpListener, SocketAddr, rpp_introspection::Options)>,
}

impl Services {
    /// Binds the ports first, so that a mistake is reported before anything is opened. Whether the control plane is
    /// reachable from other machines without TLS is the operator's choice; the port itself warns.
    pub(super) fn prepare(config: &Config, tokens: &Tokens) -> anyhow::Result<Self> {
        let options = rpp_rpc::Options::shared(tokens.rpc())
            .with_allowed_hosts(config.rpc.allowed_hosts.clone())
            .with_allowed_origins(config.rpc.allowed_origins.clone());
        let (listener, address) = bind(config.rpc.listen, "rpc.listen")?;
        let introspection =
            config.introspection.enabled.then(|| Self::prepare_introspection(config, tokens)).transpose()?;
        Ok(Self { rpc: (listener, address, options), introspection })
    }

    fn prepare_introspection(
        config: &Config,
        tokens: &Tokens,
    ) -> anyhow::Result<(TcpListener, SocketAddr, rpp_introspection::Options)> {
        let options = rpp_introspection::Options::shared(tokens.introspection())
            .with_allowed_hosts(config.rpc.allowed_hosts.clone())
            .with_allowed_origins(config.introspection.allowed_origins.clone())
            .with_max_clients(config.introspection.max_clients);
        let (listener, address) = bind(config.introspection.listen, "introspection.listen")?;
        Ok((listener, address, options))
    }

    pub(super) fn addresses(&self) -> Addresses {
        Addresses { rpc: self.rpc.1, introspection: self.introspection.as_ref().map(|(_, address, _)| *address) }
    }

    /// Serves until `stopping` becomes true.
    pub(super) fn start(
        self,
        handle: &NodeHandle,
        registry: Option<&Registry>,
        stopping: &watch::Receiver<bool>,
    ) -> Running {
        let mut tasks = JoinSet::new();
        let (listener, _, mut options) = self.rpc;
        if let Some(registry) = registry.cloned() {
            options = options.with_traffic(move || wiring::traffic(&registry));
        }
        let (node, stop) = (handle.clone(), stopped(stopping.clone()));
        tasks.spawn(
            async move { rpp_rpc::serve(listener, node, options, stop).await.context("the control plane ended") },
        );
        if let (Some((listener, _, options)), Some(registry)) = (self.introspection, registry) {
            let (registry, stop) = (registry.clone(), stopped(stopping.clone()));
            tasks.spawn(async move {
                rpp_introspection::serve(listener, registry, options, stop)
                    .await
                    .context("the introspection port ended")
            });
        }
        Running(tasks)
    }
}

/// The ports being served.
pub(super) struct Running(JoinSet<anyhow::Result<()>>);

impl Running {
    /// Waits until a port stops being served although nobody asked it to.
    pub(super) async fn ended(&mut self) -> anyhow::Error {
        match self.0.join_next().await {
            Some(Ok(Ok(()))) => anyhow::anyhow!("an HTTP port closed by itself"),
            Some(Ok(Err(error))) => error,
            Some(Err(error)) => anyhow::anyhow!("an HTTP port's task failed: {error}"),
            None => std::future::pending().await,
        }
    }

    /// Waits until all have drained.
    pub(super) async fn drain(&mut self) {
        while self.0.join_next().await.is_some() {}
    }
}

async fn stopped(mut stopping: watch::Receiver<bool>) {
    // A dropped sender means the end as well.
    let _ = stopping.wait_for(|stop| *stop).await;
}

fn bind(listen: SocketAddr, key: &str) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(listen)
        .with_context(|| format!("cannot listen on {listen} (`{key}`); port 0 takes any free one"))?;
    let address = listener.local_addr().with_context(|| format!("`{key}`"))?;
    Ok((listener, address))
}
