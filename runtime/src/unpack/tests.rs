use std::{fs, os::unix::fs::PermissionsExt as _};

use proptest::prelude::*;

use super::*;
use crate::tar::{BLOCK, pack};

/// One entry as raw bytes; nothing is checked, so that everything can be hostile.
struct Raw {
    name: Vec<u8>,
    flag: u8,
    link: Vec<u8>,
    mode: u32,
    size: u64,
    content: Vec<u8>,
}

impl Raw {
    fn new(flag: u8, name: &str) -> Self {
        Self { name: name.into(), flag, link: Vec::new(), mode: 0o644, size: 0, content: Vec::new() }
    }

    fn file(name: &str, content: &str) -> Self {
        Self { size: content.len() as u64, content: content.into(), ..Self::new(b'0', name) }
    }

    fn link(name: &str, target: &str) -> Self {
        Self { link: target.into(), ..Self::new(b'2', name) }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut block = vec![0; BLOCK];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &self.name);
        put(100, format!("{:07o}", self.mode).as_bytes());
        put(124, format!("{:011o}", self.size).as_bytes());
        put(148, b"        ");
        put(156, &[self.flag]);
        put(157, &self.link);
        put(257, b"ustar\x0000");
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block.extend_from_slice(&self.content);
        block.resize(block.len().next_multiple_of(BLOCK), 0);
        block
    }
}

fn tar(entries: &[Raw]) -> Vec<u8> {
    let mut bytes: Vec<u8> = entries.iter().flat_map(Raw::bytes).collect();
    bytes.extend_from_slice(&[0; 2 * BLOCK]);
    bytes
}

struct Place {
    temp: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir(temp.path().join("parent")).unwrap();
        fs::write(temp.path().join("parent/neighbour"), "untouched").unwrap();
        Self { temp }
    }

    fn dest(&self) -> PathBuf {
        self.temp.path().join("parent/dest")
    }

    fn unpack(&self, bytes: &[u8]) -> Result<Unpacked, UnpackError> {
        self.unpack_limited(bytes, &Limits::default())
    }

    fn unpack_limited(&self, bytes: &[u8], limits: &Limits) -> Result<Unpacked, UnpackError> {
        let payload = self.temp.path().join("payload");
        fs::write(&payload, bytes).unwrap();
        unpack(&payload, &self.dest(), limits)
    }

    /// Nothing was left behind, and nothing else was touched.
    fn is_clean(&self) -> bool {
        let names = |path: &Path| {
            let mut names: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        names(self.temp.path()) == ["parent", "payload"]
            && names(&self.temp.path().join("parent")) == ["neighbour"]
            && fs::read(self.temp.path().join("parent/neighbour")).unwrap() == b"untouched"
    }
}

fn dir(name: &str) -> Raw {
    Raw { mode: 0o755, ..Raw::new(b'5', name) }
}

#[test]
fn what_is_packed_unpacks_to_the_same() {
    let temp = tempfile::tempdir().unwrap();
    let source = temp.path().join("source");
    for folder in ["", "a", "a/b", &"q".repeat(180)] {
        fs::create_dir_all(source.join(folder)).unwrap();
    }
    fs::write(source.join("a/b/file"), vec![3; 100_000]).unwrap();
    fs::write(source.join("run"), "x").unwrap();
    fs::set_permissions(source.join("run"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(source.join("q".repeat(180)).join("m".repeat(130)), "long").unwrap();
    std::os::unix::fs::symlink("../../run", source.join("a/b/up")).unwrap();
    std::os::unix::fs::symlink("missing", source.join("dangling")).unwrap();
    let mut packed = Vec::new();
    pack(&source, &mut packed).unwrap();

    let place = Place::new();
    let unpacked = place.unpack(&packed).unwrap();
    assert_eq!(unpacked, Unpacked { entries: 8, bytes: 100_005 });
    let mut again = Vec::new();
    pack(&place.dest(), &mut again).unwrap();
    assert_eq!(packed, again);
    assert_eq!(fs::metadata(place.dest().join("run")).unwrap().permissions().mode() & 0o7100, 0o100);
}

#[test]
fn other_programs_long_names_and_dots_are_understood() {
    let long = "n".repeat(200);
    let mut name = Raw::file("././@LongLink", &format!("{long}\0"));
    name.flag = b'L';
    let entries = [dir("./"), dir("./d/"), name, Raw::file("cut", "long"), Raw::file("./d/plain", "p")];
    let place = Place::new();
    assert_eq!(place.unpack(&tar(&entries)).unwrap().entries, 3);
    assert_eq!(fs::read(place.dest().join(&long)).unwrap(), b"long");
    assert_eq!(fs::read(place.dest().join("d/plain")).unwrap(), b"p");
}

#[test]
fn hostile_entries_are_refused_and_leave_nothing() {
    let pax = |record: &str| Raw { flag: b'x', ..Raw::file("pax", record) };
    let cases: Vec<(&str, Vec<Raw>)> = vec![
        ("absolute", vec![Raw::file("/tmp/absolute-path-of-a-tar", "x")]),
        ("'..'", vec![Raw::file("../outside", "x")]),
        ("'..'", vec![dir("a"), Raw::file("a/../../outside", "x")]),
        ("'..'", vec![dir("a"), dir("a/..")]),
        ("absolute", vec![Raw::link("l", "/etc/passwd")]),
        ("leads outside", vec![Raw::link("l", "../neighbour")]),
        ("leads outside", vec![dir("a"), Raw::link("a/l", "../../neighbour")]),
        ("'..' after a name", vec![dir("a"), Raw::link("a/up", ".."), Raw::link("a/l", "up/../neighbour")]),
        ("empty", vec![Raw::link("l", "")]),
        ("not a folder", vec![dir("real"), Raw::link("l", "real"), Raw::file("l/x", "through a link")]),
        ("not a folder", vec![Raw::link("l", "."), dir("l/sub")]),
        ("not a folder", vec![Raw::file("f", "x"), Raw::file("f/x", "y")]),
        ("already", vec![Raw::file("f", "x"), Raw::file("f", "y")]),
        ("already", vec![Raw::file("f", "x"), Raw::file("./f", "y")]),
        ("already", vec![dir("d"), dir("d/")]),
        ("already", vec![Raw::link("f", "elsewhere"), Raw::file("f", "written through a link")]),
        ("already", vec![Raw::file("f", "x"), Raw::link("f", "g")]),
        ("hard link", vec![Raw::file("f", "x"), Raw { link: b"f".to_vec(), ..Raw::new(b'1', "h") }]),
        ("hard link", vec![Raw { link: b"/etc/passwd".to_vec(), ..Raw::new(b'1', "h") }]),
        ("device", vec![Raw::new(b'3', "null")]),
        ("device", vec![Raw::new(b'4', "disk")]),
        ("FIFO", vec![Raw::new(b'6', "fifo")]),
        ("neither", vec![Raw::new(b'S', "sparse")]),
        ("set-user-id", vec![Raw { mode: 0o4755, ..Raw::file("s", "x") }]),
        ("set-user-id", vec![Raw { mode: 0o2755, ..dir("s") }]),
        ("no entry before", vec![Raw::file("missing/x", "x")]),
        ("content", vec![Raw { size: 3, content: b"abc".to_vec(), ..dir("d") }]),
        ("no name", vec![Raw::file(".", "x")]),
        ("no name", vec![Raw::link("./", "x")]),
        ("no name", vec![Raw::file("", "x")]),
        ("'..'", vec![pax("17 path=../../x\n"), Raw::file("innocent", "x")]),
        ("absolute", vec![pax("15 path=/tmp/x\n"), Raw::file("innocent", "x")]),
        ("absolute", vec![pax("17 linkpath=/etc\n"), Raw::link("innocent", "f")]),
        ("zero byte", vec![pax("13 path=a\0bc\n"), Raw::file("innocent", "x")]),
    ];
    for (reason, entries) in cases {
        let place = Place::new();
        let error = place.unpack(&tar(&entries)).unwrap_err();
        assert!(error.to_string().contains(reason), "expected {reason:?}: {error}");
        assert!(place.is_clean(), "{reason}: {error}");
    }
}

#[test]
fn damaged_archives_are_refused_and_leave_nothing() {
    let good = tar(&[dir("d"), Raw::file("d/f", "content")]);
    let mut single_zero = tar(&[Raw::file("f", "x")]);
    single_zero.extend(tar(&[Raw::file("g", "x")]));
    let mut one_block = Raw::file("f", "x").bytes();
    one_block.extend([0; BLOCK]);
    one_block.extend(Raw::file("g", "x").bytes());
    let mut bad_sum = good.clone();
    bad_sum[0] ^= 1;
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("two zero blocks", Vec::new()),
        ("two zero blocks", good[..good.len() - 2 * BLOCK].to_vec()),
        ("two zero blocks", good[..good.len() - BLOCK].to_vec()),
        ("follows the end", single_zero),
        ("single zero block", one_block),
        ("checksum", bad_sum),
        ("checksum", vec![b'a'; 4096]),
        ("beyond the end", tar(&[Raw { size: 1 << 32, ..Raw::new(b'0', "huge") }])),
        ("beyond the end", tar(&[Raw { size: 2000, content: vec![1; 20], ..Raw::new(b'0', "f") }])),
        (
            "beyond the end",
            tar(&[Raw { flag: b'x', ..Raw::file("p", "30 size=18446744073709551615\n") }, Raw::file("f", "x")]),
        ),
        ("pax", tar(&[Raw { flag: b'x', ..Raw::file("p", "999 path=a\n") }, Raw::file("f", "x")])),
        ("pax size", tar(&[Raw { flag: b'x', ..Raw::file("p", "11 size=-1\n") }, Raw::file("f", "x")])),
        ("1 MiB", tar(&[Raw { flag: b'x', size: 2 << 20, content: vec![b'x'; 2 << 20], ..Raw::new(b'0', "p") }])),
        ("1 MiB", tar(&[Raw { flag: b'L', size: 2 << 20, content: vec![b'x'; 2 << 20], ..Raw::new(b'0', "p") }])),
        ("sparse", tar(&[Raw { flag: b'x', ..Raw::file("p", "22 GNU.sparse.major=1\n") }, Raw::file("f", "x")])),
        ("global", tar(&[Raw { flag: b'g', ..Raw::file("p", "10 path=x\n") }, Raw::file("f", "x")])),
    ];
    for (reason, bytes) in cases {
        let place = Place::new();
        let error = place.unpack(&bytes).unwrap_err();
        assert!(matches!(error, UnpackError::Malformed { .. }), "{error}");
        assert!(error.to_string().contains(reason), "expected {reason:?}: {error}");
        assert!(place.is_clean(), "{reason}");
    }
}

#[test]
fn too_many_entries_and_too_deep_paths_are_refused() {
    let place = Place::new();
    let entries: Vec<Raw> = (0..5).map(|i| Raw::file(&format!("f{i}"), "")).collect();
    let error = place.unpack_limited(&tar(&entries), &Limits { max_entries: 4 }).unwrap_err();
    assert!(matches!(error, UnpackError::TooManyEntries { max: 4 }));
    assert!(place.is_clean());
    let record = format!(" path={}x\n", "d/".repeat(300));
    let record = format!("{}{record}", record.len() + 3);
    let error = place.unpack(&tar(&[Raw { flag: b'x', ..Raw::file("p", &record) }, Raw::file("f", "x")])).unwrap_err();
    assert!(error.to_string().contains("nested"), "{error}");
    assert!(place.is_clean());
}

#[test]
fn a_destination_that_exists_is_left_alone() {
    let place = Place::new();
    for make in [|path: &Path| fs::create_dir(path), |path: &Path| std::os::unix::fs::symlink("nowhere", path)] {
        make(&place.dest()).unwrap();
        let error = place.unpack(&tar(&[])).unwrap_err();
        assert!(matches!(error, UnpackError::Exists { .. }), "{error}");
        fs::remove_dir(place.dest()).or_else(|_| fs::remove_file(place.dest())).unwrap();
    }
    let missing = place.temp.path().join("no/such/parent");
    fs::write(place.temp.path().join("payload"), tar(&[])).unwrap();
    let error = unpack(&place.temp.path().join("payload"), &missing, &Limits::default()).unwrap_err();
    assert!(matches!(error, UnpackError::Destination { .. }), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_tar_with_any_bytes_changed_never_writes_outside(
        changes in proptest::collection::vec((0usize..6144, any::<u8>()), 1..6),
        fix_sums in any::<bool>(),
    ) {
        let mut bytes = tar(&[dir("d"), Raw::file("d/f", "content"), Raw::link("d/l", "f"), Raw::file("e", "x")]);
        for (at, value) in changes {
            let length = bytes.len();
            bytes[at % length] = value;
        }
        if fix_sums {
            // So that the changes get beyond the checksum.
            for block in bytes.chunks_mut(BLOCK).filter(|block| block[257..262] == *b"ustar") {
                block[148..156].copy_from_slice(b"        ");
                let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
                block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            }
        }
        let place = Place::new();
        if place.unpack(&bytes).is_ok() {
            fs::remove_dir_all(place.dest()).unwrap();
        }
        prop_assert!(place.is_clean());
    }
}
