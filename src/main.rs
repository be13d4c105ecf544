//! The command line of rpp-node. See `rpp-node --help`.

mod cli;
mod limits;
mod wiring;

/// Hands pages back late, which large messages need; see `docs/dependencies.md`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::main()
}
