//! Checks the sources that an operator names before the node's task sees them. An error names the field, and repeats no
//! part of a URL that may be secret.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use libp2p::{PeerId, multiaddr::Protocol};

use super::mirror::MirrorUrl;
use crate::{
    config::{Config, Sources},
    error::{InvalidSource, SnapshotRuntimeError, StorageFault},
    handle::{PeerTarget, SourceTarget, StartStream},
    limits::{CALL_TIMEOUT, MAX_MIRRORS, MAX_PEERS, MAX_WARNED_MIRRORS},
};

/// Adds the sources of `[sources]` to a request that names none, and checks each source.
///
/// # Errors
/// The operator's fault: the field, and what is wrong with it.
pub(crate) async fn checked(
    mut request: StartStream,
    me: PeerId,
    config: &Arc<Config>,
    warned: &WarnedMirrors,
) -> Result<StartStream, SnapshotRuntimeError> {
    let section = if request.names_nobody() { "[sources] " } else { "" };
    if request.names_nobody() {
        request.peers = peers_of(&config.sources);
        if !request.without_mirrors {
            request.mirrors.clone_from(&config.sources.mirrors);
        }
        let is_discovering = config.discovery.kad || config.discovery.mdns;
        request.others_too = is_discovering && !request.names_nobody();
    }
    check_peers(&request, me, section)?;
    check_mirrors(&request.mirrors, section)?;
    let folders = request.mirrors.iter().enumerate();
    let folders = folders.filter_map(|(at, url)| Some((format!("{section}mirrors[{at}]"), url.local_folder()?)));
    check_folders(folders.collect(), config).await?;
    request.mirrors.iter().for_each(|url| warned.warn(url));
    Ok(request)
}

/// Checks one source that is added.
///
/// # Errors
/// Those of [`checked`].
pub(crate) async fn check_added(
    source: &SourceTarget,
    me: PeerId,
    config: &Arc<Config>,
    warned: &WarnedMirrors,
) -> Result<(), SnapshotRuntimeError> {
    match source {
        SourceTarget::Peer(target) if target.peer == me => Err(invalid("peer", InvalidSource::ThisNode)),
        SourceTarget::Peer(_) => Ok(()),
        SourceTarget::Mirror(url) => {
            let folder = url.local_folder().map(|folder| ("mirror".to_owned(), folder));
            check_folders(folder.into_iter().collect(), config).await?;
            warned.warn(url);
            Ok(())
        }
    }
}

fn peers_of(sources: &Sources) -> Vec<PeerTarget> {
    let target = |address: &libp2p::Multiaddr| match address.iter().last() {
        Some(Protocol::P2p(peer)) => Some(PeerTarget { peer, address: Some(address.clone()) }),
        _ => None,
    };
    sources.peers.iter().filter_map(target).collect()
}

fn check_peers(request: &StartStream, me: PeerId, section: &str) -> Result<(), SnapshotRuntimeError> {
    let count = request.peers.len() + usize::from(request.peer.is_some());
    if count > MAX_PEERS {
        let is_beside_one = request.peer.is_some();
        let reason = InvalidSource::TooManyPeers { count, is_beside_one, max: MAX_PEERS };
        return Err(invalid(format!("{section}peers"), reason));
    }
    let mut seen: BTreeMap<PeerId, String> = BTreeMap::new();
    if let Some(first) = &request.peer {
        // Whether that is this node itself is looked at later: a node without a trust anchor says that first.
        seen.insert(first.peer, "peer".to_owned());
    }
    for (at, target) in request.peers.iter().enumerate() {
        let field = format!("{section}peers[{at}]");
        if target.peer == me {
            return Err(invalid(field, InvalidSource::ThisNode));
        }
        if let Some(before) = seen.insert(target.peer, field.clone()) {
            return Err(invalid(field, InvalidSource::SamePeer { before }));
        }
    }
    Ok(())
}

fn check_mirrors(mirrors: &[MirrorUrl], section: &str) -> Result<(), SnapshotRuntimeError> {
    if mirrors.len() > MAX_MIRRORS {
        let reason = InvalidSource::TooManyMirrors { count: mirrors.len(), max: MAX_MIRRORS };
        return Err(invalid(format!("{section}mirrors"), reason));
    }
    // Two URLs that differ only in a part that is not shown could not be told apart.
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    for (at, url) in mirrors.iter().enumerate() {
        let field = format!("{section}mirrors[{at}]");
        if let Some(before) = seen.insert(url.to_string(), field.clone()) {
            return Err(invalid(field, InvalidSource::SameMirror { before }));
        }
    }
    Ok(())
}

/// Runs on a blocking thread, because a folder may be on a disk that does not answer.
async fn check_folders(folders: Vec<(String, PathBuf)>, config: &Arc<Config>) -> Result<(), SnapshotRuntimeError> {
    if folders.is_empty() {
        return Ok(());
    }
    let config = Arc::clone(config);
    let check = move || {
        folders
            .into_iter()
            .try_for_each(|(field, folder)| check_folder(&folder, &config).map_err(|reason| invalid(field, reason)))
    };
    let checked = tokio::time::timeout(CALL_TIMEOUT, tokio::task::spawn_blocking(check)).await;
    let checked = checked.map_err(|_| SnapshotRuntimeError::TimedOut { seconds: CALL_TIMEOUT.as_secs() })?;
    checked.unwrap_or_else(|error| Err(StorageFault::new(Unchecked(error)).into()))
}

/// The check of a folder panicked, which is a fault of this node.
#[derive(Debug, thiserror::Error)]
#[error("the folder of a mirror could not be checked")]
struct Unchecked(#[source] tokio::task::JoinError);

/// Checks that a folder may be, and can be, read as a mirror. Links are followed first.
///
/// # Errors
/// Why it may not or cannot be read.
pub(crate) fn check_folder(folder: &Path, config: &Config) -> Result<(), InvalidSource> {
    let roots = &config.sources.file_roots;
    let is_within = |path: &Path, roots: &[PathBuf]| roots.iter().any(|root| path.starts_with(root));
    let elsewhere = || InvalidSource::OutsideRoots { folder: folder.to_owned() };
    let unopened = |error| InvalidSource::Unopened { folder: folder.to_owned(), error: Arc::new(error) };
    let real = match fs::canonicalize(folder) {
        Ok(real) => real,
        // For a folder that may not be read, the error does not tell whether it exists.
        Err(_) if !is_within(folder, roots) => return Err(elsewhere()),
        Err(error) => return Err(unopened(error)),
    };
    let real_roots: Vec<_> = roots.iter().filter_map(|root| fs::canonicalize(root).ok()).collect();
    if !is_within(&real, &real_roots) {
        return Err(elsewhere());
    }
    let own = fs::canonicalize(&config.data_dir).unwrap_or_else(|_| config.data_dir.clone());
    if real.starts_with(own) {
        return Err(InvalidSource::OwnFolder { folder: folder.to_owned() });
    }
    match fs::read_dir(&real) {
        Ok(_) => Ok(()),
        Err(error) => Err(unopened(error)),
    }
}

fn invalid(field: impl Into<String>, reason: InvalidSource) -> SnapshotRuntimeError {
    SnapshotRuntimeError::InvalidSource { field: field.into(), reason }
}

/// Mirrors without encryption for which a warning was logged: each only once in a process.
#[derive(Debug, Default)]
pub(crate) struct WarnedMirrors(Mutex<BTreeSet<String>>);

impl WarnedMirrors {
    fn warn(&self, url: &MirrorUrl) {
        if url.is_open() && self.is_first(url.to_string()) {
            tracing::warn!(
                mirror = %url,
                "this mirror is asked over http: whoever is between sees what is fetched, and can break it; every byte is verified all the same"
            );
        }
    }

    fn is_first(&self, shown: String) -> bool {
        let mut warned = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.len() >= MAX_WARNED_MIRRORS {
            warned.clear();
        }
        warned.insert(shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(folder: &Path, roots: &[&Path]) -> Config {
        let mut config = Config::defaults_in(folder).unwrap();
        config.sources.file_roots = roots.iter().map(|root| (*root).to_owned()).collect();
        config
    }

    fn url(text: &str) -> MirrorUrl {
        text.parse().unwrap()
    }

    fn refusal(result: Result<StartStream, SnapshotRuntimeError>) -> (String, String) {
        match result {
            Err(SnapshotRuntimeError::InvalidSource { field, reason }) => (field, reason.to_string()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_folder_is_read_beneath_the_roots_alone_and_never_in_the_data_folder() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        for folder in ["data/snapshots/store", "mirrors/one", "other"] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        fs::write(at("mirrors/file"), "").unwrap();
        std::os::unix::fs::symlink(at("other"), at("mirrors/out")).unwrap();
        std::os::unix::fs::symlink(at("data/snapshots/store"), at("own")).unwrap();
        let any = config(place.path(), &[Path::new("/")]);
        let roots = at("mirrors");
        let some = config(place.path(), &[&roots]);
        let none = config(place.path(), &[]);
        for (folder, config, word) in [
            ("mirrors/one", &any, ""),
            ("other", &any, ""),
            ("mirrors/one", &some, ""),
            ("data/snapshots/store", &any, "own data folder"),
            ("own", &any, "own data folder"),
            ("mirrors/absent", &any, "cannot be opened"),
            ("mirrors/file", &any, "cannot be opened"),
            ("other", &some, "file_roots"),
            ("mirrors/out", &some, "file_roots"),
            ("mirrors/../other", &some, "file_roots"),
            ("absent", &some, "file_roots"),
            ("mirrors/one", &none, "file_roots"),
        ] {
            match (check_folder(&at(folder), config), word) {
                (Ok(()), "") => {}
                (Err(reason), word) if !word.is_empty() => {
                    assert!(reason.to_string().contains(word), "{folder}: {reason}")
                }
                (result, _) => panic!("{folder}: {result:?}"),
            }
        }
    }

    #[tokio::test]
    async fn each_bad_source_is_refused_with_its_field() {
        let place = tempfile::tempdir().unwrap();
        let (me, warned) = (PeerId::random(), WarnedMirrors::default());
        let config = Arc::new(config(place.path(), &[Path::new("/")]));
        let target = |peer| PeerTarget { peer, address: None };
        let peers: Vec<_> = (0..=MAX_PEERS).map(|_| target(PeerId::random())).collect();
        let named = |peer: Option<usize>, some: &[usize]| StartStream {
            peer: peer.map(|at| peers[at].clone()),
            peers: some.iter().map(|at| peers[*at].clone()).collect(),
            ..StartStream::from_anybody()
        };
        let all: Vec<_> = (0..MAX_PEERS).collect();
        for allowed in [named(None, &all), named(Some(MAX_PEERS), &all[1..]), named(Some(0), &[])] {
            checked(allowed, me, &config, &warned).await.unwrap();
        }
        let too_many = refusal(checked(named(Some(MAX_PEERS), &all), me, &config, &warned).await);
        assert!(too_many.0 == "peers" && too_many.1.contains("33 peers with \"peer\""), "{too_many:?}");
        let twice = refusal(checked(named(None, &[0, 1, 2, 1]), me, &config, &warned).await);
        assert_eq!(twice, ("peers[3]".to_owned(), "it is the same peer as \"peers[1]\"".to_owned()));
        let twice = refusal(checked(named(Some(1), &[0, 1]), me, &config, &warned).await);
        assert_eq!(twice, ("peers[1]".to_owned(), "it is the same peer as \"peer\"".to_owned()));
        let mine = StartStream { peers: vec![target(me)], ..StartStream::from_anybody() };
        assert_eq!(refusal(checked(mine, me, &config, &warned).await).0, "peers[0]");

        let with = |mirrors: &[&str]| StartStream {
            mirrors: mirrors.iter().map(|text| url(text)).collect(),
            ..StartStream::from_anybody()
        };
        let many: Vec<_> = (0..=MAX_MIRRORS).map(|at| format!("https://host/{at}")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        checked(with(&many[1..]), me, &config, &warned).await.unwrap();
        assert_eq!(refusal(checked(with(&many), me, &config, &warned).await).0, "mirrors");
        let same = with(&["https://user:word@host/a?key=1", "https://host/b", "https://host/a/?key=2"]);
        let same = refusal(checked(same, me, &config, &warned).await);
        assert_eq!(same, ("mirrors[2]".to_owned(), "it is the same mirror as \"mirrors[0]\"".to_owned()));
        let absent = format!("file://{}/absent", place.path().display());
        let absent = refusal(checked(with(&["https://host/a", &absent]), me, &config, &warned).await);
        assert!(absent.0 == "mirrors[1]" && absent.1.contains("cannot be opened"), "{absent:?}");
        let added = SourceTarget::Peer(target(me));
        assert!(check_added(&added, me, &config, &warned).await.is_err());
    }

    #[tokio::test]
    async fn a_request_that_names_nobody_has_the_sources_of_the_configuration() {
        let place = tempfile::tempdir().unwrap();
        let (me, warned) = (PeerId::random(), WarnedMirrors::default());
        let mut ours = config(place.path(), &[]);
        let peer = PeerId::random();
        ours.sources.peers = vec![format!("/ip4/10.0.0.7/tcp/1/p2p/{peer}").parse().unwrap()];
        ours.sources.mirrors = vec![url("https://user:word@host/a")];
        let ours = Arc::new(ours);
        let request = checked(StartStream::from_anybody(), me, &ours, &warned).await.unwrap();
        assert_eq!((request.peers[0].peer, request.peers[0].address.as_ref()), (peer, ours.sources.peers.first()));
        assert_eq!(request.mirrors, ours.sources.mirrors);
        assert!(!request.others_too, "without discovery nobody else is looked for");
        let mut discovering = (*ours).clone();
        discovering.discovery.mdns = true;
        let discovering = Arc::new(discovering);
        assert!(checked(StartStream::from_anybody(), me, &discovering, &warned).await.unwrap().others_too);
        let named = StartStream::new(PeerTarget { peer: PeerId::random(), address: None });
        let request = checked(named, me, &discovering, &warned).await.unwrap();
        assert!(request.peers.is_empty() && request.mirrors.is_empty() && !request.others_too);
        let refused = checked(StartStream::from_anybody(), peer, &ours, &warned).await;
        assert_eq!(refusal(refused).0, "[sources] peers[0]");
        let without = StartStream { without_mirrors: true, ..StartStream::from_anybody() };
        let request = checked(without.clone(), me, &ours, &warned).await.unwrap();
        assert!(request.peers[0].peer == peer && request.mirrors.is_empty(), "{request:?}");
        let mut mirrors_alone = (*ours).clone();
        mirrors_alone.sources.peers.clear();
        assert!(checked(without, me, &Arc::new(mirrors_alone), &warned).await.unwrap().names_nobody());
    }

    #[test]
    fn each_mirror_is_warned_of_once_and_the_memory_of_it_is_bounded() {
        let warned = WarnedMirrors::default();
        assert!(warned.is_first("http://a/".to_owned()) && !warned.is_first("http://a/".to_owned()));
        for number in 0..2 * MAX_WARNED_MIRRORS {
            warned.is_first(number.to_string());
            assert!(warned.0.lock().unwrap().len() <= MAX_WARNED_MIRRORS);
        }
    }
}
