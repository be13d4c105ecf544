//! Mirrors. Any object store or web server that has the files of `store/` can be a source. Nobody has to trust it.
//!
//! ```text
//! <base URL>/snapshots.json            which snapshots there are, the newest first
//!            <root>/manifest.json      the offers: plans and updates with their proof and signatures
//!            <root>/outboard           the interior hashes of the payload's tree
//!            <root>/payload
//! ```
//!
//! [`MirrorReader`] reads a plan with its updates, and chunks by ranges. It checks each against the root, as it would a
//! peer's. [`copy()`] writes payload and outboard, then the manifest, then the list, so a reader never sees half a
//! snapshot. The crate `object_store` speaks to the stores. The HTTP layer below it is our own, so that each way in
//! which a server can fail has a value of its own ([`MirrorTrouble`]).
//!
//! User, password and query of a URL may be secrets. They never appear in a text ([`MirrorUrl`]).

mod answer;
mod copy;
mod http;
mod leftovers;
mod list;
mod read;
#[cfg(test)]
mod tests;
mod trouble;
mod url;
mod warm;

pub use self::{
    copy::{Copied, CopyError, CopyPlan, CopyProgress, copy},
    list::{ListedSnapshot, SnapshotList, UnreadableList},
    read::MirrorReader,
    trouble::{MirrorTrouble, UnusableManifest},
    url::{MirrorUrl, MirrorUrlError},
};

use std::{fmt, sync::Arc, time::Duration};

use object_store::{
    ClientOptions, ObjectStore, RetryConfig, aws::AmazonS3Builder, azure::MicrosoftAzureBuilder,
    gcp::GoogleCloudStorageBuilder, http::HttpBuilder, local::LocalFileSystem, path::Path,
};
use rpp_p2p::{error::Cause, snapshots::PaceLimits};

use self::{http::Connector, url::Scheme};
use crate::{
    limits::{MIRROR_IDLE, WARM_CONNECTIONS},
    store::{MANIFEST, OUTBOARD, PAYLOAD, explained},
};

/// The list of snapshots.
const SNAPSHOTS: &str = "snapshots.json";

/// How slow a mirror may be: as slow as a peer.
fn pace() -> PaceLimits {
    PaceLimits::default().with_idle(MIRROR_IDLE)
}

/// A store, and the mirror's path in it.
#[derive(Clone)]
struct MirrorPlace {
    store: Arc<dyn ObjectStore>,
    base: Path,
}

/// Omits the store, because its own text may contain the URL with its query.
impl fmt::Debug for MirrorPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MirrorPlace").field("base", &self.base).finish_non_exhaustive()
    }
}

impl MirrorPlace {
    /// Sends nothing yet. A reader makes each request only once, because its download decides when to try again. A
    /// writer's requests are repeated.
    fn open(url: &MirrorUrl, is_written: bool, pace: PaceLimits) -> Result<Self, MirrorTrouble> {
        // A reader soon makes several requests at once.
        let warm = if is_written { 0 } else { WARM_CONNECTIONS };
        let connector = Connector::new(url.credentials(), pace, warm);
        let retry = match is_written {
            true => RetryConfig { max_retries: 4, retry_timeout: Duration::from_secs(60), ..RetryConfig::default() },
            false => RetryConfig { max_retries: 0, ..RetryConfig::default() },
        };
        let refused = |what: &'static str| move |_: object_store::Error| MirrorTrouble::Unusable { what };
        let base = |text: &str| Path::parse(text.trim_matches('/')).unwrap_or_default();
        let options = ClientOptions::new().with_allow_http(true);
        let (store, base): (Arc<dyn ObjectStore>, Path) = match url.scheme() {
            Scheme::File => {
                let folder = url.folder();
                if is_written {
                    std::fs::create_dir_all(&folder).map_err(|error| {
                        let reason = Cause::new(explained(error, &folder));
                        MirrorTrouble::Folder { folder: folder.clone(), reason }
                    })?;
                }
                let opened = LocalFileSystem::new_with_prefix(&folder);
                (
                    Arc::new(opened.map_err(refused("the folder cannot be opened"))?.with_automatic_cleanup(false)),
                    Path::default(),
                )
            }
            Scheme::Http | Scheme::Https => {
                let built = HttpBuilder::new()
                    .with_url(url.without_credentials())
                    .with_client_options(options)
                    .with_retry(retry)
                    .with_http_connector(connector)
                    .build();
                (Arc::new(built.map_err(refused("the URL cannot be used"))?), Path::default())
            }
            Scheme::S3 => {
                let built = AmazonS3Builder::from_env()
                    .with_bucket_name(url.bucket())
                    .with_client_options(options)
                    .with_retry(retry)
                    .with_http_connector(connector)
                    .build();
                let what = "the bucket cannot be used: check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and AWS_ENDPOINT";
                (Arc::new(built.map_err(refused(what))?), base(url.path()))
            }
            Scheme::Gs => {
                let built = GoogleCloudStorageBuilder::from_env()
                    .with_bucket_name(url.bucket())
                    .with_client_options(options)
                    .with_retry(retry)
                    .with_http_connector(connector)
                    .build();
                let what = "the bucket cannot be used: check GOOGLE_APPLICATION_CREDENTIALS";
                (Arc::new(built.map_err(refused(what))?), base(url.path()))
            }
            Scheme::Az => {
                let built = MicrosoftAzureBuilder::from_env()
                    .with_container_name(url.bucket())
                    .with_client_options(options)
                    .with_retry(retry)
                    .with_http_connector(connector)
                    .build();
                let what =
                    "the container cannot be used: check AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY";
                (Arc::new(built.map_err(refused(what))?), base(url.path()))
            }
        };
        Ok(Self { store, base })
    }

    fn snapshots(&self) -> Path {
        self.base.clone().join(SNAPSHOTS)
    }

    fn file(&self, root: &rpp_p2p::Hash, file: MirrorFile) -> Path {
        self.base.clone().join(root.to_string()).join(file.name())
    }
}

/// The files of one snapshot, in the order in which they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MirrorFile {
    Payload,
    Outboard,
    Manifest,
}

impl MirrorFile {
    fn name(self) -> &'static str {
        match self {
            Self::Payload => PAYLOAD,
            Self::Outboard => OUTBOARD,
            Self::Manifest => MANIFEST,
        }
    }
}
