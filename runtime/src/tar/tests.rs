use std::{
    fs,
    io::Read as _,
    os::unix::{
        fs::{PermissionsExt as _, symlink},
        net::UnixListener,
    },
    time::{Duration, SystemTime},
};

use super::*;

/// The tree of the committed test vector. It covers every case of the format.
fn vector_tree(root: &Path) {
    let write = |name: &str, content: &[u8], mode: u32| {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    };
    write("zero", b"", 0o600);
    write("a/inside", &[7; 513], 0o640);
    write("a/deep/er", b"deeper\n", 0o444);
    write("a-b", b"sorted before a/", 0o664);
    write("a.txt", &[b'x'; 512], 0o644);
    write("run.sh", b"#!/bin/sh\n", 0o711);
    write("b\u{e4}r", "\u{fc}".as_bytes(), 0o644);
    write(&format!("{}/{}", "p".repeat(90), "n".repeat(60)), b"split", 0o644);
    write(&format!("{}/{}", "q".repeat(200), "m".repeat(120)), b"pax", 0o755);
    fs::create_dir(root.join("empty")).unwrap();
    symlink("a/inside", root.join("link")).unwrap();
    symlink("nowhere", root.join("a/dangling")).unwrap();
    symlink("t".repeat(150), root.join("long-link")).unwrap();
    fs::hard_link(root.join("a.txt"), root.join("hard")).unwrap();
}

fn packed(root: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    pack(root, &mut bytes).unwrap();
    bytes
}

/// The root that this tree has on every machine; an independent program computes the same. If this changes, the format
/// has changed, and every published folder gets another root.
const VECTOR: &str = "984afcdc6e041edd27f72438c2f1ddce6b86f5d12475949b8e9bec5df1cbd7dc";

#[test]
fn the_committed_vector_holds() {
    let temp = tempfile::tempdir().unwrap();
    vector_tree(temp.path());
    assert_eq!(blake3::hash(&packed(temp.path())).to_hex().as_str(), VECTOR);
}

#[test]
fn times_order_of_creation_and_odd_modes_do_not_matter() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for (root, names, mode) in [(one.path(), ["x", "y", "z"], 0o600), (other.path(), ["z", "y", "x"], 0o4666)] {
        for name in names {
            fs::write(root.join(name), name).unwrap();
            fs::set_permissions(root.join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
    }
    let file = fs::File::options().write(true).open(one.path().join("y")).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000)).unwrap();
    assert_eq!(packed(one.path()), packed(other.path()));
}

/// Packs a folder, and checks by another reader that all of it is there, in order. Returns the number of entries.
fn read_by_another(root: &Path) -> usize {
    let bytes = packed(root);
    assert_eq!(bytes.len() as u64, survey(root).unwrap().bytes);
    assert!(bytes.ends_with(&[0; 2 * BLOCK]) && !bytes.ends_with(&[0; 3 * BLOCK]));
    let mut archive = ::tar::Archive::new(bytes.as_slice());
    let mut paths = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let header = entry.header().clone();
        assert_eq!((header.mtime().unwrap(), header.uid().unwrap(), header.gid().unwrap()), (0, 0, 0));
        let path = entry.path().unwrap().into_owned();
        let real = root.join(&path);
        match header.entry_type() {
            ::tar::EntryType::Regular => {
                let mut content = Vec::new();
                entry.read_to_end(&mut content).unwrap();
                assert!(content == fs::read(&real).unwrap(), "{real:?}");
                let executable = fs::metadata(&real).unwrap().permissions().mode() & 0o100 != 0;
                assert_eq!(header.mode().unwrap(), if executable { 0o755 } else { 0o644 });
            }
            ::tar::EntryType::Symlink => assert_eq!(entry.link_name().unwrap().unwrap(), fs::read_link(&real).unwrap()),
            ::tar::EntryType::Directory => assert!(real.is_dir() && header.mode().unwrap() == 0o755),
            other => panic!("{other:?}"),
        }
        paths.push(entry.path_bytes().into_owned());
    }
    assert!(paths.is_sorted());
    paths.len()
}

#[test]
fn another_reader_finds_what_was_packed_in_order() {
    let temp = tempfile::tempdir().unwrap();
    vector_tree(temp.path());
    assert_eq!(read_by_another(temp.path()), 18);
}

/// Many small files beside everything that is not read ahead.
fn crowded_tree(root: &Path) {
    for index in 0..300_usize {
        let content: Vec<u8> = (0..index * 131).map(|at| (at * 7 + index) as u8).collect();
        fs::write(root.join(format!("f{index:03}")), content).unwrap();
    }
    for index in (0..300).step_by(50) {
        symlink("f001", root.join(format!("f{index:03}-link"))).unwrap();
        let folder = root.join(format!("f{index:03}-folder"));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("inside"), index.to_string()).unwrap();
    }
    let sparse = fs::File::create(root.join("f100-sparse")).unwrap();
    sparse.set_len(20_000).unwrap();
    fs::write(root.join("f200-large"), vec![3; 700_000]).unwrap();
}

#[test]
fn many_small_files_are_packed_as_one_by_one() {
    let temp = tempfile::tempdir().unwrap();
    crowded_tree(temp.path());
    assert_eq!(read_by_another(temp.path()), 300 + 3 * 6 + 2);
}

#[test]
fn among_many_small_files_the_first_in_order_that_fails_is_named() {
    let temp = tempfile::tempdir().unwrap();
    crowded_tree(temp.path());
    for name in ["f250-fifo", "f120-fifo"] {
        rustix::fs::mknodat(rustix::fs::CWD, temp.path().join(name), FileType::Fifo, Mode::RWXU, 0).unwrap();
    }
    for error in [pack(temp.path(), &mut io::sink()).unwrap_err(), survey(temp.path()).unwrap_err()] {
        let expected = temp.path().join("f120-fifo");
        assert!(matches!(&error, TarError::Unsupported { path, kind: "FIFO" } if *path == expected), "{error}");
    }
}

#[test]
fn a_folder_of_many_small_files_must_not_change_either() {
    type Change = fn(&Path);
    let changes: [Change; 3] = [
        |root| fs::remove_file(root.join("f299")).unwrap(),
        |root| fs::write(root.join("f299-new"), "new").unwrap(),
        |root| fs::rename(root.join("f298"), root.join("f297")).unwrap(),
    ];
    for change in changes {
        let temp = tempfile::tempdir().unwrap();
        crowded_tree(temp.path());
        fs::write(temp.path().join("a-first"), "!").unwrap();
        let error = pack(temp.path(), &mut Meddler { act: Some(|| change(temp.path())) }).unwrap_err();
        // Whether the packer misses a file or finds another folder at the end depends on how far ahead it has read.
        let path = match &error {
            TarError::Changed { path } | TarError::Read { path, .. } => path,
            other => panic!("{other}"),
        };
        assert!(path.starts_with(temp.path()), "{error}");
    }
}

#[test]
fn an_empty_folder_is_two_zero_blocks() {
    let temp = tempfile::tempdir().unwrap();
    assert_eq!(packed(temp.path()), [0; 1024]);
}

#[test]
fn a_size_beyond_octal_gets_a_pax_header() {
    let mut out = Vec::new();
    let entry = header::HeaderFields { kind: HeaderKind::File, path: b"big", link: b"", size: 1 << 33, mode: 0o644 };
    header::write(&mut out, &entry).unwrap();
    assert_eq!(out.len(), 3 * BLOCK);
    assert!(out[BLOCK..].starts_with(b"19 size=8589934592\n"));
    out.clear();
    header::write(&mut out, &header::HeaderFields { size: (1 << 33) - 1, ..entry }).unwrap();
    assert_eq!(out.len(), BLOCK);
    assert_eq!(&out[124..136], b"77777777777\0");
}

#[test]
fn sockets_and_fifos_are_errors_naming_the_path() {
    let temp = tempfile::tempdir().unwrap();
    fs::create_dir(temp.path().join("sub")).unwrap();
    let socket = temp.path().join("sub/socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    let error = pack(temp.path(), &mut Vec::new()).unwrap_err();
    assert!(matches!(&error, TarError::Unsupported { path, kind: "socket" } if *path == socket), "{error}");
    fs::remove_file(&socket).unwrap();
    let fifo = temp.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, FileType::Fifo, Mode::RWXU, 0).unwrap();
    let error = pack(temp.path(), &mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains(fifo.to_str().unwrap()), "{error}");
}

/// Runs an action once, when content arrives.
struct Meddler<F: FnMut()> {
    act: Option<F>,
}

impl<F: FnMut()> Write for Meddler<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.first() == Some(&b'!')
            && let Some(mut act) = self.act.take()
        {
            act();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_changes_while_it_is_read_is_an_error() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 5] = [
        ("victim", |root| fs::write(root.join("victim"), "short").unwrap()),
        ("victim", |root| fs::write(root.join("victim"), vec![b'!'; 600_000]).unwrap()),
        ("victim", |root| {
            let file = fs::File::options().write(true).open(root.join("victim")).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&file, b"?", 599_000).unwrap();
        }),
        ("", |root| fs::write(root.join("new"), "").unwrap()),
        ("", |root| fs::remove_file(root.join("other")).unwrap()),
    ];
    for (named, change) in changes {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join("victim"), vec![b'!'; 599_999]).unwrap();
        fs::write(temp.path().join("a-other"), "").unwrap();
        fs::write(temp.path().join("other"), "").unwrap();
        let error = pack(temp.path(), &mut Meddler { act: Some(|| change(temp.path())) }).unwrap_err();
        let expected = temp.path().join(named);
        assert!(matches!(&error, TarError::Changed { path } if *path == expected), "{error}");
    }
}

#[test]
fn a_file_that_has_bytes_and_no_size_is_refused() {
    let error = pack(Path::new("/proc/sys/kernel/random"), &mut io::sink()).unwrap_err();
    assert!(matches!(&error, TarError::Sizeless { path } if path.starts_with("/proc/sys/kernel/random")), "{error}");
}

#[test]
fn a_folder_nested_too_deeply_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let mut path = temp.path().to_owned();
    for _ in 0..=MAX_DEPTH {
        path.push("d");
    }
    fs::create_dir_all(&path).unwrap();
    assert!(matches!(pack(temp.path(), &mut Vec::new()), Err(TarError::TooDeep { .. })));
}

#[test]
fn holes_are_packed_as_the_zeros_they_are() {
    use std::os::unix::fs::FileExt as _;
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let sparse = fs::File::create(one.path().join("f")).unwrap();
    sparse.set_len(3_000_000).unwrap();
    sparse.write_all_at(b"data", 1_000_000).unwrap();
    fs::write(other.path().join("f"), fs::read(one.path().join("f")).unwrap()).unwrap();
    assert!(packed(one.path()) == packed(other.path()));
    let (sparse, full) = (survey(one.path()).unwrap(), survey(other.path()).unwrap());
    assert_eq!(sparse.bytes, full.bytes);
    assert_eq!(full.data_bytes, full.bytes);
    assert!(sparse.data_bytes < 64 * 1024, "{}", sparse.data_bytes);
}

#[test]
fn a_survey_names_links_that_leave_and_what_is_private() {
    let temp = tempfile::tempdir().unwrap();
    let at = |path: &str| temp.path().join(path);
    fs::create_dir_all(at("bin")).unwrap();
    fs::create_dir(at("secret")).unwrap();
    fs::set_permissions(at("secret"), fs::Permissions::from_mode(0o700)).unwrap();
    for (name, mode) in [("bin/key", 0o600), ("bin/open", 0o644), ("bin/group", 0o640)] {
        fs::write(at(name), "x").unwrap();
        fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::set_permissions(at("bin"), fs::Permissions::from_mode(0o755)).unwrap();
    for (link, target) in [
        ("bin/fine", "../bin/../secret"),
        ("bin/leaves", "../bin/../../x"),
        ("current", "/var/lib/example"),
        ("ok", "bin/open"),
    ] {
        symlink(target, at(link)).unwrap();
    }
    let found = survey(temp.path()).unwrap();
    let paths = |findings: &Findings| findings.first.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>();
    assert_eq!(paths(&found.links), ["bin/leaves", "current"]);
    assert_eq!(paths(&found.private), ["bin/group", "bin/key", "secret/"]);
    assert_eq!(found.private.first[1].1, "mode 0600");
    for i in 0..30 {
        symlink("/x", at(&format!("l{i}"))).unwrap();
    }
    let found = survey(temp.path()).unwrap();
    assert_eq!((found.links.total, found.links.first.len()), (32, crate::limits::MAX_NAMED));
}
