//! iroh-blobs in its usual form: a file store at each end, its defaults, a known address (no relay, no lookup).

use std::{net::IpAddr, path::Path, time::Instant};

use anyhow::{Context as _, Result};
use iroh::{Endpoint, EndpointAddr, EndpointId, RelayMode, endpoint::presets, protocol::Router};
use iroh_blobs::{BlobsProtocol, Hash, store::fs::FsStore};

use crate::tls::{go, report};

/// Prints the peer, its address and the hash, and serves until it is killed.
pub(crate) async fn provide(store: &Path, payload: &Path, address: IpAddr) -> Result<()> {
    let store = FsStore::load(store).await?;
    let tag = store.blobs().add_path(payload).await?;
    let endpoint = endpoint(address).await?;
    let port = endpoint.bound_sockets().into_iter().find(|socket| socket.ip() == address).context("not bound")?.port();
    println!("{} {address}:{port} {}", endpoint.id(), tag.hash);
    let _router = Router::builder(endpoint).accept(iroh_blobs::ALPN, BlobsProtocol::new(&store, None)).spawn();
    std::future::pending().await
}

/// Waits for one line with the output of [`provide`], and reports how long it took to fetch the blob.
pub(crate) async fn consume(store: &Path) -> Result<()> {
    let store = FsStore::load(store).await?;
    let line = go().await?;
    let mut words = line.split(' ');
    let mut word = || words.next().context("a word is missing");
    let (id, address, hash): (EndpointId, std::net::SocketAddr, Hash) =
        (word()?.parse()?, word()?.parse()?, word()?.parse()?);
    // Local to the link that it is reached by.
    let unspecified: IpAddr = if address.is_ipv4() { [0, 0, 0, 0].into() } else { [0_u16; 8].into() };
    let endpoint = endpoint(unspecified).await?;
    let begun = Instant::now();
    let connection = endpoint.connect(EndpointAddr::new(id).with_ip_addr(address), iroh_blobs::ALPN).await?;
    let connected = Instant::now();
    store.remote().fetch(connection, hash).await.map_err(|error| anyhow::anyhow!("{error}"))?;
    report(begun.elapsed(), connected.elapsed()).await
}

async fn endpoint(address: IpAddr) -> Result<Endpoint> {
    let builder = Endpoint::builder(presets::Minimal).relay_mode(RelayMode::Disabled).clear_ip_transports();
    Ok(builder.bind_addr((address, 0))?.bind().await?)
}
