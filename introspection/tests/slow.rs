//! Clients that do not read cost the others nothing, and memory stays flat. These tests measure the memory of their
//! process, so no others run in it. Their readers ask for each state: on a busy machine, a reader that wants them unasked
//! may fall behind and be dropped itself.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use rpp_introspection::proto::client_command::{Command, Source};
use support::{options, registry, simulate, soon, start};

/// Resident memory in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// A state with this many is about 400 kB, so a leak of a thousand states would be visible.
const CONNECTIONS: usize = 600;

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_is_flat_while_a_thousand_states_pass_a_client_that_does_not_read() {
    let registry = registry();
    let _open = simulate(&registry, CONNECTIONS);
    let server = start(&registry, options());
    // Two clients that connect and never read. Neither sends ready; the second one has taken its greeting.
    let _mute = server.connect().await;
    let mut silent = server.connect().await;
    silent.greeting().await;
    let mut reader = server.connect().await;
    reader.greeting().await;
    reader.hello(10).await;
    let mut bytes = 0;
    let mut warm = 0;
    for generation in 0..1_000 {
        reader.ready().await;
        let part = soon(reader.connection.next()).await.unwrap();
        bytes += part.bytes.len() as u64;
        if generation == 100 {
            warm = resident();
        }
    }
    let grown = resident().saturating_sub(warm);
    assert!(bytes > 200_000_000, "the states were large enough to show: {bytes}");
    assert!(grown < 48 * 1024 * 1024, "{grown} bytes more after 900 states of {} bytes", bytes / 1_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_wants_states_and_does_not_read_is_dropped_and_the_others_go_on() {
    let registry = registry();
    let _open = simulate(&registry, CONNECTIONS);
    // The server admits two clients. The slow one's place becomes free when the server drops it.
    let server = start(&registry, options().with_max_clients(2));
    let mut slow = server.connect().await;
    slow.greeting().await;
    slow.hello(10).await;
    slow.command(Command::PushEnable, Source::State).await;
    let mut reader = server.connect().await;
    reader.greeting().await;
    reader.hello(10).await;
    soon(async {
        let token = support::TOKEN.into();
        loop {
            reader.ready().await;
            reader.state().await;
            let third = rpp_introspection::client::Connection::open(&server.url(), &token).await;
            match third {
                Ok(_) => break,
                Err(error) => assert!(error.to_string().contains("503"), "{error}"),
            }
        }
    })
    .await;
    reader.ready().await;
    reader.state().await;
    // The bytes that were written before it was dropped can still be read; then comes the end.
    let end = loop {
        if let Err(error) = slow.try_next().await {
            break error;
        }
    };
    assert!(matches!(end, rpp_introspection::client::ClientError::Transport(_)), "{end}");
}
