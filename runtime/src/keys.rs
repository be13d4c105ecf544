//! The node's secrets on disk: its identity, a publisher's key, bearer tokens.
//!
//! Every file is created with mode 0600. It is refused when group or others have any right on it, with two exceptions
//! for how orchestrators mount secrets (see `may_be_read`). A key file appears complete or not at all, and an existing
//! one is never replaced.
//!
//! | file | content |
//! |---|---|
//! | identity | the libp2p protobuf encoding of an Ed25519 key pair, 68 bytes |
//! | publisher's key | the 32-byte Ed25519 seed as 64 lower-case hex digits and a line feed |
//! | token | at least 16 visible ASCII characters; white space around them is ignored |

use std::{
    fs::{File, Metadata},
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use libp2p::identity::Keypair;
use rpp_proofs::Signer;
use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::limits::{MAX_SECRET_BYTES, MIN_TOKEN_BYTES};

/// Why a key or a token cannot be used. The operator can repair all of these.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The file cannot be read.
    #[error("cannot read {what} {}: {source}", path.display())]
    Read {
        /// Which secret.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file cannot be created.
    #[error("cannot create {what} {}: {source}", path.display())]
    Create {
        /// Which secret.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Others may read the file.
    #[error(
        "{what} {path} can be read by others (mode {mode:04o}): run `chmod 600 {path}`; a mounted secret may be 0440 or 0640 \
         when root owns it and its group is one of this process",
        path = path.display()
    )]
    Exposed {
        /// Which secret.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The content of the file is not valid.
    #[error("{what} {} is not usable: expected {expected}", path.display())]
    Malformed {
        /// Which secret.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What it should contain.
        expected: &'static str,
    },
    /// The token is too short, or has characters other than visible ASCII.
    #[error("the token in {place} is not usable: at least {MIN_TOKEN_BYTES} visible ASCII characters are needed")]
    WeakToken {
        /// The variable or file.
        place: String,
    },
    /// Neither the variable nor the file exists.
    #[error("no token: set {variable} or write one to {} (mode 0600); `rpp-node init` makes one", path.display())]
    NoToken {
        /// The variable.
        variable: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// The system returned no random bytes.
    #[error("the system gave no random bytes")]
    NoRandomness,
}

const IDENTITY: &str = "the identity key";
const PUBLISHER: &str = "the publisher's key";
const TOKEN: &str = "the token file";

/// Loads the node's identity, or creates one and logs that. Does not follow a symlink.
///
/// # Errors
/// See [`KeyError`].
pub fn load_or_create_identity(path: &Path) -> Result<Keypair, KeyError> {
    let malformed =
        || KeyError::Malformed { what: IDENTITY, path: path.to_owned(), expected: "a libp2p Ed25519 key pair" };
    let bytes = load_or_create(IDENTITY, path, Links::Refused, || {
        Keypair::generate_ed25519().to_protobuf_encoding().map(Zeroizing::new).map_err(|_| malformed())
    })?;
    Keypair::from_protobuf_encoding(&bytes).map_err(|_| malformed())
}

/// Loads the publisher's key, or creates one and logs that.
///
/// # Errors
/// See [`KeyError`].
pub fn load_or_create_publisher(path: &Path) -> Result<Signer, KeyError> {
    let bytes = load_or_create(PUBLISHER, path, Links::Followed, || Ok(hex_line(&*random_bytes()?)))?;
    let mut seed = Zeroizing::new([0_u8; 32]);
    hex::decode_to_slice(bytes.trim_ascii_end(), seed.as_mut_slice()).map_err(|_| KeyError::Malformed {
        what: PUBLISHER,
        path: path.to_owned(),
        expected: "an Ed25519 seed of 64 hex digits",
    })?;
    Ok(Signer::from_seed(*seed))
}

/// The control plane's token: from `RPP_RPC_TOKEN` (given as `variable`; empty counts as unset), else from the file.
///
/// # Errors
/// See [`KeyError`].
pub fn load_token(variable: Option<&str>, file: &Path) -> Result<SecretString, KeyError> {
    named_token("RPP_RPC_TOKEN", variable, file)
}

/// The read-only token of introspection. `None` if neither `RPP_INTROSPECTION_TOKEN` (given as `variable`) nor a file
/// is configured.
///
/// # Errors
/// See [`KeyError`].
pub fn load_introspection_token(variable: Option<&str>, file: Option<&Path>) -> Result<Option<SecretString>, KeyError> {
    const NAME: &str = "RPP_INTROSPECTION_TOKEN";
    match (variable.filter(|text| !text.is_empty()), file) {
        (None, None) => Ok(None),
        (Some(text), _) => checked_token(text, || NAME.to_owned()).map(Some),
        (None, Some(file)) => named_token(NAME, None, file).map(Some),
    }
}

/// Writes a fresh random token to a file that does not exist yet.
///
/// # Errors
/// See [`KeyError`]; a file that exists is one.
pub fn create_token(path: &Path) -> Result<(), KeyError> {
    create(path, &hex_line(&*random_bytes()?)).map_err(|source| KeyError::Create {
        what: TOKEN,
        path: path.to_owned(),
        source,
    })
}

fn named_token(name: &'static str, variable: Option<&str>, file: &Path) -> Result<SecretString, KeyError> {
    if let Some(text) = variable.filter(|text| !text.is_empty()) {
        return checked_token(text, || name.to_owned());
    }
    let bytes = match read_private(TOKEN, file, Links::Followed) {
        Err(KeyError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Err(KeyError::NoToken { variable: name, path: file.to_owned() });
        }
        bytes => bytes?,
    };
    checked_token(std::str::from_utf8(&bytes).unwrap_or_default(), || file.display().to_string())
}

fn checked_token(text: &str, place: impl Fn() -> String) -> Result<SecretString, KeyError> {
    let token = text.trim();
    let usable = token.len() >= MIN_TOKEN_BYTES
        && token.len() <= MAX_SECRET_BYTES
        && token.bytes().all(|byte| byte.is_ascii_graphic());
    if usable { Ok(SecretString::from(token)) } else { Err(KeyError::WeakToken { place: place() }) }
}

/// Whether a symlink at the end of a path is followed.
#[derive(Clone, Copy)]
enum Links {
    Followed,
    Refused,
}

type Secret = Zeroizing<Vec<u8>>;

fn load_or_create(
    what: &'static str,
    path: &Path,
    links: Links,
    generate: impl Fn() -> Result<Secret, KeyError>,
) -> Result<Secret, KeyError> {
    match read_private(what, path, links) {
        Err(KeyError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
        found => return found,
    }
    match create(path, &generate()?) {
        Ok(()) => tracing::info!(path = %path.display(), "created {what}"),
        // Another process was faster, and its key is used.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(source) => return Err(KeyError::Create { what, path: path.to_owned(), source }),
    }
    read_private(what, path, links)
}

fn read_private(what: &'static str, path: &Path, links: Links) -> Result<Secret, KeyError> {
    let read = |source| KeyError::Read { what, path: path.to_owned(), source };
    let flags = match links {
        Links::Followed => rustix::fs::OFlags::NONBLOCK,
        Links::Refused => rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOFOLLOW,
    };
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    let file = File::options().read(true).custom_flags(flags).open(path).map_err(read)?;
    let metadata = file.metadata().map_err(read)?;
    if !metadata.is_file() {
        return Err(KeyError::Malformed { what, path: path.to_owned(), expected: "a regular file" });
    }
    if !may_be_read(&metadata, path) {
        return Err(KeyError::Exposed { what, path: path.to_owned(), mode: metadata.mode() & 0o7777 });
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_SECRET_BYTES + 1));
    file.take(MAX_SECRET_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(read)?;
    if bytes.len() > MAX_SECRET_BYTES {
        return Err(KeyError::Malformed { what, path: path.to_owned(), expected: "at most 4096 bytes" });
    }
    Ok(bytes)
}

/// Whether a secret is private enough. Either nobody but its owner has a right on it; or its group may read it and
/// nothing more, and one of these holds:
///
/// - root owns it and this process is in its group: Kubernetes and Docker mount secrets this way (0440, 0640);
/// - it lies below `$CREDENTIALS_DIRECTORY`, and root or this process owns it: systemd makes credentials 0440 with an
///   access list that names this process's user, and the group bits show what that list allows.
fn may_be_read(file: &Metadata, path: &Path) -> bool {
    let mode = file.mode();
    if mode & 0o077 == 0 {
        return true;
    }
    let group_reads = mode & 0o077 == 0o040;
    let of_root = file.uid() == 0;
    let of_process = file.uid() == rustix::process::geteuid().as_raw();
    group_reads && ((of_root && is_own_group(file.gid())) || ((of_root || of_process) && is_credential(path)))
}

fn is_own_group(group: u32) -> bool {
    rustix::process::getegid().as_raw() == group
        || rustix::process::getgroups().is_ok_and(|groups| groups.iter().any(|own| own.as_raw() == group))
}

fn is_credential(path: &Path) -> bool {
    let folder = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from).filter(|folder| folder.is_absolute());
    let (Some(folder), Ok(path)) = (folder, path.canonicalize()) else { return false };
    folder.canonicalize().is_ok_and(|folder| path.starts_with(folder))
}

/// Creates a private file that appears complete or not at all; an existing one is left unchanged.
fn create(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // The error would name the temporary file, which is of no use to anybody.
    let made = tempfile::Builder::new().prefix(".new-").tempfile_in(folder);
    let mut file = made.map_err(|error| io::Error::from(error.kind()))?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}

fn random_bytes() -> Result<Zeroizing<[u8; 32]>, KeyError> {
    use rand::TryRngCore as _;
    let mut bytes = Zeroizing::new([0_u8; 32]);
    rand::rngs::OsRng.try_fill_bytes(bytes.as_mut_slice()).map_err(|_| KeyError::NoRandomness)?;
    Ok(bytes)
}

fn hex_line(bytes: &[u8; 32]) -> Secret {
    let mut line = Zeroizing::new(vec![0_u8; 65]);
    // 64 digits fit exactly; the last byte is the line feed.
    let _ = hex::encode_to_slice(bytes, &mut line[..64]);
    line[64] = b'\n';
    line
}
