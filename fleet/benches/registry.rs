//! The cost of the registry: off, on, and while a graph is taken.
//!
//! `cargo bench -p rpp-fleet --bench registry`

use std::{
    hint::black_box,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use rpp_fleet::{NodeKind, Registry};

/// The node's own allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const NODES: usize = 10_000;

fn main() {
    let off = Registry::off();
    let on = Registry::new("bench");
    println!("a node with an attribute and an edge, entered and left:");
    println!("  nothing at all   {:>9.2} ns", nanos(10_000_000, || black_box(())));
    println!("  registry off     {:>9.2} ns", nanos(10_000_000, || one(black_box(&off))));
    println!("  registry on      {:>9.2} ns", nanos(300_000, || one(black_box(&on))));

    let live: Vec<_> = (0..NODES)
        .map(|n| {
            let node = on.node(
                NodeKind::Request,
                format_args!("request:{n:032x}"),
                "chunk 312",
                |attrs: &mut rpp_fleet::Attrs| {
                    attrs.set("peer", "12D3KooWExamplePeer").set("bytes", 1_048_576u64);
                },
            );
            let edge = node.needs(format_args!("response:{n:032x}"));
            (node, edge)
        })
        .collect();
    println!("a graph of {NODES} nodes and {NODES} edges:");
    println!("  nobody else      {}", quantiles(&graphs(&on, 200)));
    let (stop, changes) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Relaxed) {
                    one(&on);
                    changes.fetch_add(1, Relaxed);
                }
            });
        }
        let start = Instant::now();
        println!("  two busy threads {}", quantiles(&graphs(&on, 200)));
        let rate = changes.load(Relaxed) as f64 / start.elapsed().as_secs_f64();
        println!("                   meanwhile {rate:.0} nodes a second entered and left");
        stop.store(true, Relaxed);
    });
    drop(live);
}

fn one(registry: &Registry) {
    let node = registry.node(NodeKind::Request, format_args!("request:{}", 7), "chunk", [("bytes", 7u64)]);
    let edge = node.needs("response:7");
    black_box((&node, &edge));
}

fn nanos(rounds: u32, mut work: impl FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..rounds {
        work();
    }
    start.elapsed().as_nanos() as f64 / f64::from(rounds)
}

fn graphs(registry: &Registry, rounds: usize) -> Vec<Duration> {
    let mut took: Vec<Duration> = (0..rounds)
        .map(|_| {
            let start = Instant::now();
            let graph = black_box(registry.graph());
            let took = start.elapsed();
            drop(graph);
            took
        })
        .collect();
    took.sort();
    took
}

fn quantiles(took: &[Duration]) -> String {
    let ms = |at: usize| took[at].as_secs_f64() * 1e3;
    format!(
        "median {:.2} ms, p99 {:.2} ms, worst {:.2} ms",
        ms(took.len() / 2),
        ms(took.len() * 99 / 100),
        ms(took.len() - 1)
    )
}
