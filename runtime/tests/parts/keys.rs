//! Key and token files: they are created private, never replaced, and refused if others can read them.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::Path,
};

use rpp_runtime::keys::{
    KeyError, create_token, load_introspection_token, load_or_create_identity, load_or_create_publisher, load_token,
};
use secrecy::ExposeSecret as _;

fn write_private(path: &Path, content: &[u8]) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn an_identity_is_made_once_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("identity.key");
    let first = load_or_create_identity(&path).unwrap().public().to_peer_id();
    assert_eq!(mode(&path), 0o600);
    assert_eq!(load_or_create_identity(&path).unwrap().public().to_peer_id(), first);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
}

#[test]
fn a_publishers_key_is_the_seed_in_hex() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("publisher.key");
    let made = load_or_create_publisher(&path).unwrap().public();
    assert_eq!(mode(&path), 0o600);
    assert_eq!(fs::metadata(&path).unwrap().len(), 65);
    assert_eq!(load_or_create_publisher(&path).unwrap().public(), made);
    // RFC 8032, section 7.1, test 1.
    write_private(&path, b"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60\n");
    let public = load_or_create_publisher(&path).unwrap().public();
    assert_eq!(hex::encode(public), "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
}

#[test]
fn files_that_others_can_read_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    for mode in [0o644, 0o604, 0o620, 0o601, 0o660, 0o650, 0o444] {
        write_private(&path, b"0123456789abcdef0123456789abcdef");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert!(matches!(load_token(None, &path), Err(KeyError::Exposed { .. })), "{mode:o}");
        assert!(matches!(load_or_create_identity(&path), Err(KeyError::Exposed { .. })), "{mode:o}");
        let error = load_or_create_publisher(&path).err().unwrap().to_string();
        assert!(error.contains("chmod 600"), "{error}");
    }
}

/// A secret as orchestrators mount it: owned by root, and readable for a group. Only root can create such a file.
#[test]
fn a_file_of_root_that_a_group_of_this_process_may_read_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mounted");
    write_private(&path, b"0123456789abcdef0123456789abcdef");
    let given = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    if !rustix::process::geteuid().is_root() {
        given(0o440);
        assert!(matches!(load_token(None, &path), Err(KeyError::Exposed { .. })), "not root's");
        eprintln!("the rest needs root");
        return;
    }
    let own = rustix::process::getegid().as_raw();
    let foreign = (54_000..).find(|group| *group != own).unwrap();
    for mode in [0o440, 0o640] {
        std::os::unix::fs::chown(&path, Some(0), Some(own)).unwrap();
        given(mode);
        load_token(None, &path).unwrap();
        std::os::unix::fs::chown(&path, Some(0), Some(foreign)).unwrap();
        assert!(matches!(load_token(None, &path), Err(KeyError::Exposed { .. })), "{mode:o} of another group");
        std::os::unix::fs::chown(&path, Some(54_001), Some(own)).unwrap();
        assert!(matches!(load_token(None, &path), Err(KeyError::Exposed { .. })), "{mode:o} of another user");
    }
}

#[test]
fn damaged_keys_are_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    for content in [&b""[..], b"short", &[0; 68], &[b'z'; 64], &[b'0'; 66], &[0; 5000]] {
        write_private(&path, content);
        assert!(matches!(load_or_create_identity(&path), Err(KeyError::Malformed { .. })));
        assert!(matches!(load_or_create_publisher(&path), Err(KeyError::Malformed { .. })));
        assert_eq!(fs::read(&path).unwrap(), content);
    }
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    assert!(load_or_create_identity(&path).is_err());
    assert!(load_or_create_publisher(&path).is_err());
}

#[test]
fn an_identity_is_not_read_through_a_symlink() {
    let folder = tempfile::tempdir().unwrap();
    let (real, link) = (folder.path().join("real"), folder.path().join("link"));
    load_or_create_identity(&real).unwrap();
    symlink(&real, &link).unwrap();
    assert!(matches!(load_or_create_identity(&link), Err(KeyError::Read { .. })));
}

#[test]
fn the_variable_goes_before_the_file_and_an_empty_one_is_unset() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rpc.token");
    assert!(matches!(load_token(None, &path), Err(KeyError::NoToken { .. })));
    assert!(matches!(load_token(Some(""), &path), Err(KeyError::NoToken { .. })));
    create_token(&path).unwrap();
    assert_eq!(mode(&path), 0o600);
    assert!(create_token(&path).is_err(), "an existing token is never replaced");
    let token = load_token(Some(""), &path).unwrap();
    assert_eq!(token.expose_secret().len(), 64);
    let token = load_token(Some("exactly-16-bytes"), &path).unwrap();
    assert_eq!(token.expose_secret(), "exactly-16-bytes");
}

#[test]
fn weak_tokens_are_refused_and_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rpc.token");
    for weak in ["only-15-bytes!!", "with a space inside it", "with-ü-umlaut-in-it"] {
        let error = load_token(Some(weak), &path).unwrap_err();
        assert!(matches!(error, KeyError::WeakToken { .. }));
        assert!(!error.to_string().contains(weak));
        write_private(&path, weak.as_bytes());
        assert!(matches!(load_token(None, &path), Err(KeyError::WeakToken { .. })));
    }
}

#[test]
fn introspection_has_a_token_only_when_one_is_configured() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ui.token");
    assert!(load_introspection_token(None, None).unwrap().is_none());
    assert!(load_introspection_token(Some(""), None).unwrap().is_none());
    assert!(load_introspection_token(Some("short"), None).is_err());
    assert!(load_introspection_token(None, Some(&path)).is_err());
    create_token(&path).unwrap();
    assert!(load_introspection_token(None, Some(&path)).unwrap().is_some());
    let given = load_introspection_token(Some("a-read-only-token"), Some(&path)).unwrap().unwrap();
    assert_eq!(given.expose_secret(), "a-read-only-token");
}
