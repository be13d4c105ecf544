//! The embedder's example runs as it stands, with a real proof.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "../examples/embed.rs"]
mod embed;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_streams_and_verifies() {
    let payload: Vec<u8> = (0..700_001_u32).map(|i| (i * 7 + (i >> 9)) as u8).collect();
    let (received, head) = embed::run(payload.clone()).await.unwrap();
    assert!(received == payload);
    assert_eq!((head.step, head.height), (1, 1200));
}
