//! The command line of rpp-node. See `rpp-node --help`.

mod cli;
mod limits;
mod wiring;

/// This allocator returns pages to the system late, which suits large messages; see `docs/dependencies.md`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::main()
}
