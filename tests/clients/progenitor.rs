//! Uses the client of progenitor, made from the OpenAPI 3.0 copy.

use futures::StreamExt as _;

progenitor::generate_api!("openapi.json");

const PEER: &str = "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (url, token) = (std::env::var("RPP_URL")?, std::env::var("RPP_TOKEN")?);
    let mut headers = reqwest::header::HeaderMap::new();
    headers.insert(reqwest::header::AUTHORIZATION, format!("Bearer {token}").parse()?);
    let http = reqwest::Client::builder().default_headers(headers).build()?;
    let client = Client::new_with_client(&url, http);

    assert!(client.get_identity().await?.peer_id.starts_with("12D3"));
    assert!(client.list_peers().await?.is_empty());
    let Err(Error::ErrorResponse(missing)) = client.get_head().await else { panic!("a head") };
    assert_eq!((missing.status().as_u16(), missing.code.as_str()), (404, "no_head"));
    let body = serde_json::from_value(serde_json::json!({ "peer": PEER, "chunk_size": 32768 }))?;
    let started = client.start_or_resume_snapshot_stream(None, &body).await?.into_inner();
    let status = client.get_snapshot_stream(&started.session).await?;
    assert_eq!(*status.session, *started.session);
    assert!(status.waiting_on.as_ref().is_none_or(|waiting| !waiting.reason.is_empty()));
    let mut events = client.watch_snapshot_stream(&started.session).await?.into_inner();
    assert!(events.next().await.ok_or("no event")??.starts_with(b"data:{"));
    drop(events);
    let mut metrics = client.get_metrics().await?.into_inner();
    assert!(metrics.next().await.ok_or("no metrics")??.starts_with(b"# HELP"));
    client.cancel_snapshot_stream(&started.session).await?;
    assert!(client.get_snapshot_stream(&started.session).await.is_err());
    println!("the client of progenitor works");
    Ok(())
}
