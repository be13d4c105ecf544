//! Runs the examples unchanged, with a real proof.

#[path = "../examples/embed.rs"]
mod embed;
#[path = "../examples/many_sources.rs"]
mod many_sources;
#[path = "../examples/resume.rs"]
mod resume;

use resume::provider_on_disk;

fn payload() -> Vec<u8> {
    (0..700_001_u32).map(|i| (i * 7 + (i >> 9)) as u8).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_streams_from_memory_and_verifies() {
    let (received, head) = embed::run(payload()).await.unwrap();
    assert!(received == payload());
    assert_eq!((head.step, head.height), (1, 1200));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_provides_from_disk_across_its_restart() {
    assert_eq!(provider_on_disk::run(payload()).await.unwrap(), (5, 6));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_is_killed_and_fetches_only_the_rest() {
    let (before, after) = resume::run(payload()).await.unwrap();
    let (before, after, all) = (before as usize, after as usize, payload().len());
    assert!(before >= all / 3 && before + after < all + all / 3, "{before} and {after} bytes of {all}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_has_many_sources_of_which_one_lies() {
    let outcome = many_sources::run(payload()).await.unwrap();
    assert_eq!((outcome.honest + outcome.mirror, outcome.liar), (payload().len() as u64, 0));
    let liar = outcome.liar_peer.to_string();
    assert!(outcome.blamed.iter().all(|blamed| blamed.contains(&liar)), "{:?}", outcome.blamed);
}
