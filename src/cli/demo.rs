//! `demo`: real nodes on this machine, as child processes of this binary.

mod files;
mod liar;
mod many;
mod node;
mod story;

use std::{path::PathBuf, time::Instant};

use anyhow::Context as _;

use super::{human, output, signals::Signals};

#[derive(clap::Args)]
#[command(after_help = "Examples:
  rpp-node demo
  rpp-node demo --input ~/pictures            publish a directory of yours
  rpp-node demo --dir /tmp/demo               keep everything there: the nodes' folders and logs

Needs free space of about six times the size of what is published.")]
pub(crate) struct DemoArgs {
    /// Publish this directory instead of a generated one.
    #[arg(long, value_name = "DIR", conflicts_with = "size")]
    input: Option<PathBuf>,
    /// Size of the generated directory in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 128, value_parser = clap::value_parser!(u64).range(16..=65536))]
    size: u64,
    /// Work in this folder, which must not exist, and keep it.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn run(args: &DemoArgs) -> anyhow::Result<()> {
    let begun = Instant::now();
    let folder = Folder::make(args.dir.clone())?;
    output::line(&format!("Nodes on this machine, at work in {}\n", folder.path().display()))?;
    let mut signals = Signals::new()?;
    let told = tokio::select! {
        told = story::tell(folder.path(), args.input.as_deref(), args.size << 20) => told,
        () = signals.stop() => Err(anyhow::anyhow!("interrupted")),
    };
    // Dropping the story's future killed everything that was still running.
    if let Err(error) = told {
        let place = folder.keep();
        return Err(error.context(format!("the demo failed; logs and data are kept in {}", place.display())));
    }
    output::line(&format!("\nDone in {}.", human::duration(begun.elapsed())))
}

/// The demo's folder. It is removed at the end unless it was asked for or something failed.
enum Folder {
    Temporary(tempfile::TempDir),
    Kept(PathBuf),
}

impl Folder {
    fn make(asked: Option<PathBuf>) -> anyhow::Result<Self> {
        let Some(path) = asked else {
            let folder = tempfile::Builder::new().prefix("rpp-demo-").tempdir();
            return Ok(Self::Temporary(folder.context("cannot make a temporary folder")?));
        };
        std::fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self::Kept(std::path::absolute(path)?))
    }

    fn path(&self) -> &std::path::Path {
        match self {
            Self::Temporary(folder) => folder.path(),
            Self::Kept(path) => path,
        }
    }

    fn keep(self) -> PathBuf {
        match self {
            Self::Temporary(folder) => folder.keep(),
            Self::Kept(path) => path,
        }
    }
}
