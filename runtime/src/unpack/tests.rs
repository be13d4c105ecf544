use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
};

use proptest::prelude::*;

use super::*;
use crate::tar::{BLOCK, pack};

/// One entry as raw bytes. Nothing is checked, so a test can make any field hostile.
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

/// A pax header with one record.
fn pax(record: &str) -> Raw {
    let rest = record.len() + 2;
    let length = (rest + 1..rest + 8).find(|length| rest + length.to_string().len() == *length).unwrap();
    Raw { flag: b'x', ..Raw::file("pax", &format!("{length} {record}\n")) }
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
        self.unpack_with(bytes, &Options::default())
    }

    fn unpack_with(&self, bytes: &[u8], options: &Options) -> Result<Unpacked, UnpackError> {
        let payload = self.temp.path().join("payload");
        fs::write(&payload, bytes).unwrap();
        unpack(&payload, Some(&blake3::hash(bytes).into()), &self.dest(), options, &mut |_, _| {})
    }

    /// The unpacked tree: kind, mode, path, and content or target of each entry.
    fn tree(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![self.dest()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let shown = path.strip_prefix(self.dest()).unwrap().display().to_string();
                let meta = path.symlink_metadata().unwrap();
                let mode = meta.permissions().mode() & 0o7777;
                if meta.is_symlink() {
                    found.push(format!("{shown} -> {}", fs::read_link(&path).unwrap().display()));
                } else if meta.is_dir() {
                    found.push(format!("{shown}/ {mode:o}"));
                    folders.push(path);
                } else {
                    found.push(format!("{shown} {mode:o} {}", fs::read_to_string(&path).unwrap().trim_end()));
                }
            }
        }
        found.sort();
        found
    }

    /// Checks that nothing was left behind and nothing else was changed.
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

fn hard(name: &str, original: &str) -> Raw {
    Raw { link: original.into(), ..Raw::new(b'1', name) }
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
    assert_eq!(unpacked, Unpacked { entries: 8, bytes: 100_005, ..Unpacked::default() });
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
    let cases: Vec<(&str, Vec<Raw>)> = vec![
        ("absolute", vec![Raw::file("/tmp/absolute-path-of-a-tar", "x")]),
        ("'..'", vec![Raw::file("../outside", "x")]),
        ("'..'", vec![dir("a"), Raw::file("a/../../outside", "x")]),
        ("'..'", vec![dir("a"), dir("a/..")]),
        ("absolute", vec![Raw::link("l", "/etc/passwd")]),
        ("leads outside", vec![Raw::link("l", "../neighbour")]),
        ("leads outside", vec![dir("a"), Raw::link("a/l", "../../neighbour")]),
        ("leads outside", vec![dir("a"), Raw::link("a/up", ".."), Raw::link("a/l", "up/../neighbour")]),
        ("empty", vec![Raw::link("l", "")]),
        ("not a folder", vec![dir("real"), Raw::link("l", "real"), Raw::file("l/x", "through a link")]),
        ("not a folder", vec![Raw::link("l", "."), dir("l/sub")]),
        ("not a folder", vec![Raw::file("f", "x"), Raw::file("f/x", "y")]),
        ("holds something", vec![dir("d"), Raw::file("d/f", "x"), Raw::file("d", "y")]),
        ("hard link", vec![hard("h", "/etc/passwd")]),
        ("hard link", vec![hard("h", "../neighbour")]),
        ("hard link", vec![hard("h", "f"), Raw::file("f", "comes too late")]),
        ("hard link", vec![Raw::link("l", "."), Raw::file("f", "x"), hard("h", "l/f")]),
        ("to a folder", vec![dir("d"), hard("h", "d")]),
        // A hard link to a symlink is judged by its own place.
        ("leads outside", vec![dir("d"), Raw::link("d/l", "../x"), hard("h", "d/l")]),
        ("device", vec![Raw::new(b'3', "null")]),
        ("device", vec![Raw::new(b'4', "disk")]),
        ("FIFO", vec![Raw::new(b'6', "fifo")]),
        ("sparse", vec![Raw::new(b'S', "sparse")]),
        ("neither", vec![Raw::new(b'N', "odd")]),
        (
            "\"real\" is refused: it is a sparse file",
            vec![pax("GNU.sparse.name=real"), Raw::file("GNUSparseFile.0/real", "x")],
        ),
        ("set-user-id", vec![Raw { mode: 0o4755, ..Raw::file("s", "x") }]),
        ("set-user-id", vec![Raw { mode: 0o2755, ..dir("s") }]),
        // The link is replaced after it was made, and then its new target counts.
        ("leads outside", vec![dir("a"), Raw::link("l", "a/../x"), Raw::link("a", "."), Raw::link("m", "l/../../x")]),
        ("no name", vec![Raw::file(".", "x")]),
        ("no name", vec![Raw::link("./", "x")]),
        ("no name", vec![Raw::file("", "x")]),
        ("'..'", vec![pax("path=../../x"), Raw::file("innocent", "x")]),
        ("absolute", vec![pax("path=/tmp/x"), Raw::file("innocent", "x")]),
        ("absolute", vec![pax("linkpath=/etc"), Raw::link("innocent", "f")]),
        ("zero byte", vec![pax("path=a\0bc"), Raw::file("innocent", "x")]),
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
        ("empty", Vec::new()),
        ("middle of a block", good[..BLOCK + 100].to_vec()),
        ("beyond the end", good[..good.len() - 2 * BLOCK - 100].to_vec()),
        ("belongs to an entry", pax("path=x").bytes()),
        ("follows the end", single_zero),
        ("follows the end", one_block),
        // Content after a folder's header is read as the next header, as by GNU tar.
        ("checksum", tar(&[Raw { size: 3, content: b"abc".to_vec(), ..dir("d") }])),
        ("checksum", bad_sum),
        ("checksum", vec![b'a'; 4096]),
        ("beyond the end", tar(&[Raw { size: 1 << 32, ..Raw::new(b'0', "huge") }])),
        ("beyond the end", tar(&[Raw { size: 2000, content: vec![1; 20], ..Raw::new(b'0', "f") }])),
        ("beyond the end", tar(&[pax("size=999999999999999999"), Raw::file("f", "x")])),
        ("pax", tar(&[Raw { flag: b'x', ..Raw::file("p", "999 path=a\n") }, Raw::file("f", "x")])),
        ("pax size", tar(&[pax("size=-1"), Raw::file("f", "x")])),
        ("1 MiB", tar(&[Raw { flag: b'x', size: 2 << 20, content: vec![b'x'; 2 << 20], ..Raw::new(b'0', "p") }])),
        ("1 MiB", tar(&[Raw { flag: b'L', size: 2 << 20, content: vec![b'x'; 2 << 20], ..Raw::new(b'0', "p") }])),
        ("global", tar(&[Raw { flag: b'g', ..pax("path=x") }, Raw::file("f", "x")])),
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
    let error = place.unpack_with(&tar(&entries), &Options { max_entries: 4, ..Options::default() }).unwrap_err();
    assert!(matches!(error, UnpackError::TooManyEntries { max: 4 }));
    assert!(place.is_clean());
    // Folders without an entry of their own count as well.
    let entries = [Raw::file("a/b/c/d/f", "")];
    let error = place.unpack_with(&tar(&entries), &Options { max_entries: 4, ..Options::default() }).unwrap_err();
    assert!(matches!(error, UnpackError::TooManyEntries { max: 4 }));
    place.unpack_with(&tar(&entries), &Options { max_entries: 5, ..Options::default() }).unwrap();
    fs::remove_dir_all(place.dest()).unwrap();
    let record = format!("path={}x", "d/".repeat(300));
    let error = place.unpack(&tar(&[pax(&record), Raw::file("f", "x")])).unwrap_err();
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
    let payload = place.temp.path().join("payload");
    let error = unpack(&payload, None, &missing, &Options::default(), &mut |_, _| {}).unwrap_err();
    assert!(matches!(error, UnpackError::Destination { .. }), "{error}");
}

/// One of `tests/fixtures/tar/`.
fn fixture(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/tar").join(name)).unwrap()
}

#[test]
fn tars_from_elsewhere_are_taken_as_gnu_tar_takes_them() {
    for (name, expected) in [
        ("no-folder-entries.tar", vec!["a/ 755", "a/b/ 755", "a/b/f 644 hi"]),
        ("appended-twice.tar", vec!["a/ 755", "a/b/ 755", "a/b/f 644 new"]),
        ("hard-link.tar", vec!["f 644 hi", "g 644 hi"]),
        ("inner-dotdot-link.tar", vec!["bin/ 755", "bin/tool -> ../bin/../lib/tool", "lib/ 755", "lib/tool 644 hi"]),
        ("private-modes.tar", vec!["pg/ 700", "pg/key 600 hi"]),
    ] {
        let place = Place::new();
        place.unpack(&fixture(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(place.tree(), expected, "{name}");
    }
    let place = Place::new();
    place.unpack(&fixture("inner-dotdot-link.tar")).unwrap();
    assert_eq!(fs::read(place.dest().join("bin/tool")).unwrap(), fs::read(place.dest().join("lib/tool")).unwrap());
}

#[test]
fn a_compressed_tar_is_called_what_it_is() {
    let place = Place::new();
    let error = place.unpack(&fixture("gzipped.tar.gz")).unwrap_err();
    assert!(matches!(error, UnpackError::Compressed { with: "gzip" }) && error.to_string().contains("gzip"), "{error}");
    assert!(place.is_clean());
}

#[test]
fn odd_sizes_sums_and_ends_are_taken_as_gnu_tar_takes_them() {
    let sized = |raw: Raw| Raw { size: 10, ..raw };
    let mut signed = Raw { name: "b\u{e4}r".into(), ..Raw::file("", "x") }.bytes();
    let sum: i32 = signed[..148].iter().chain(&signed[156..512]).map(|&byte| i32::from(byte.cast_signed())).sum();
    signed[148..156].copy_from_slice(format!("{:06o}\0 ", sum + 256).as_bytes());
    let file = Raw::file("f", "x").bytes();
    let header = |raw: Raw| raw.bytes()[..BLOCK].to_vec();
    let zeros = |blocks: usize| vec![0; blocks * BLOCK];
    for (bytes, expected) in [
        ([header(sized(dir("d/"))), file.clone(), zeros(2)].concat(), vec!["d/ 755", "f 644 x"]),
        ([header(sized(Raw::link("l", "f"))), file.clone(), zeros(2)].concat(), vec!["f 644 x", "l -> f"]),
        ([file.clone(), header(sized(hard("g", "./f"))), zeros(2)].concat(), vec!["f 644 x", "g 644 x"]),
        ([signed, zeros(2)].concat(), vec!["b\u{e4}r 644 x"]),
        ([file.clone(), zeros(1)].concat(), vec!["f 644 x"]),
        (file.clone(), vec!["f 644 x"]),
        ([file.clone(), zeros(20)].concat(), vec!["f 644 x"]),
        ([Raw::new(b'V', "label").bytes(), file, zeros(2)].concat(), vec!["f 644 x"]),
    ] {
        let place = Place::new();
        place.unpack(&bytes).unwrap_or_else(|error| panic!("{expected:?}: {error}"));
        assert_eq!(place.tree(), expected);
    }
}

#[test]
fn of_two_entries_of_one_path_the_last_one_wins() {
    for (entries, expected, count) in [
        (vec![Raw::file("f", "old"), Raw::file("./f", "new")], vec!["f 644 new"], (1, 3)),
        (vec![Raw::file("f", "old"), Raw::link("f", "g")], vec!["f -> g"], (1, 0)),
        (vec![Raw::file("g", "g"), Raw::link("f", "g"), Raw::file("f", "x")], vec!["f 644 x", "g 644 g"], (2, 2)),
        (vec![dir("d"), Raw::file("d", "x")], vec!["d 644 x"], (1, 1)),
        (vec![Raw::file("d", "x"), dir("d"), Raw::file("d/f", "y")], vec!["d/ 755", "d/f 644 y"], (2, 1)),
        (vec![Raw::link("d", "e"), dir("d"), Raw::file("d/f", "y")], vec!["d/ 755", "d/f 644 y"], (2, 1)),
        (vec![dir("d"), Raw::file("d/f", "y"), Raw { mode: 0o700, ..dir("d") }], vec!["d/ 700", "d/f 644 y"], (3, 1)),
        (vec![Raw::file("d/f", "y"), Raw { mode: 0o750, ..dir("d") }], vec!["d/ 750", "d/f 644 y"], (2, 1)),
        // Writing a file again does not change a hard link to the old one.
        (vec![Raw::file("f", "old"), hard("g", "f"), Raw::file("f", "n")], vec!["f 644 n", "g 644 old"], (2, 4)),
        (vec![Raw::file("f", "x"), hard("f", "f")], vec!["f 644 x"], (2, 1)),
        (vec![Raw::file("f", "x"), Raw::file("g", "old"), hard("g", "f")], vec!["f 644 x", "g 644 x"], (2, 1)),
    ] {
        let place = Place::new();
        let unpacked = place.unpack(&tar(&entries)).unwrap_or_else(|error| panic!("{expected:?}: {error}"));
        assert_eq!(place.tree(), expected);
        assert_eq!((unpacked.entries, unpacked.bytes), count, "{expected:?}");
    }
}

#[test]
fn files_of_every_size_arrive_whole() {
    let sizes = [0, 1, 511, 4096, 65_535, 65_536, 65_537, 200_000];
    let content = |index: usize| char::from(b'a' + (index % 26) as u8).to_string().repeat(sizes[index % sizes.len()]);
    let entries: Vec<_> =
        (0..400).map(|index| Raw::file(&format!("d{}/f{index}", index % 7), &content(index))).collect();
    let place = Place::new();
    let unpacked = place.unpack(&tar(&entries)).unwrap();
    let bytes: usize = (0..400).map(|index| content(index).len()).sum();
    assert_eq!((unpacked.entries, unpacked.bytes), (400, bytes as u64));
    for index in 0..400 {
        let path = place.dest().join(format!("d{}/f{index}", index % 7));
        assert!(fs::read_to_string(path).unwrap() == content(index), "{index}");
    }
}

#[test]
fn links_that_stay_inside_are_unpacked_however_they_are_spelled() {
    let entries = [
        dir("bin"),
        dir("deep"),
        dir("deep/er"),
        Raw::link("down", "deep/er"),
        // The target leads through a link that is two folders down, so two steps up stay inside. Its text alone would
        // look as if it led outside.
        Raw::link("far", "down/../../bin"),
        Raw::link("bin/self", "../bin/../bin/../deep"),
        Raw::link("missing", "no/such/../thing"),
    ];
    let place = Place::new();
    assert_eq!(place.unpack(&tar(&entries)).unwrap().entries, 7);
    assert_eq!(fs::canonicalize(place.dest().join("far")).unwrap(), place.dest().join("bin").canonicalize().unwrap());
    // These are the same texts without the link that makes them harmless.
    let place = Place::new();
    let error = place.unpack(&tar(&[dir("down"), Raw::link("far", "down/../../bin")])).unwrap_err();
    assert!(error.to_string().contains("leads outside"), "{error}");
    assert!(place.is_clean());
}

#[test]
fn what_is_refused_is_left_out_and_listed_when_asked() {
    let entries = [
        Raw::file("a", "a"),
        Raw::link("current", "/var/lib/example"),
        Raw { mode: 0o2755, ..dir("s/") },
        Raw::file("s/in", "its folder is made without the bit"),
        Raw { size: 600, content: vec![1; 600], ..Raw::new(b'S', "sparse") },
        Raw::link("up", "s/../.."),
        Raw::new(b'6', "fifo"),
        Raw::file("../out", "x"),
        Raw::file("z", "z"),
    ];
    let place = Place::new();
    let options = Options { skip_refused: true, ..Options::default() };
    let unpacked = place.unpack_with(&tar(&entries), &options).unwrap();
    assert_eq!(place.tree(), ["a 644 a", "s/ 755", "s/in 644 its folder is made without the bit", "z 644 z"]);
    let mut paths: Vec<_> = unpacked.refused.iter().map(|refusal| refusal.path.as_str()).collect();
    paths.sort_unstable();
    assert_eq!(paths, ["../out", "current", "fifo", "s/", "sparse", "up"]);
    assert_eq!((unpacked.entries, unpacked.refused_total), (3, 6));
    // The list is limited, the count is not.
    let place = Place::new();
    let many: Vec<Raw> = (0..=MAX_LISTED).map(|i| Raw::link(&format!("l{i}"), "/x")).collect();
    let unpacked = place.unpack_with(&tar(&many), &options).unwrap();
    assert_eq!((unpacked.refused.len(), unpacked.refused_total), (MAX_LISTED, MAX_LISTED as u64 + 1));
    // A damaged tar is never extracted in part.
    let place = Place::new();
    let mut damaged = tar(&entries);
    damaged[3 * BLOCK] ^= 1;
    assert!(matches!(place.unpack_with(&damaged, &options), Err(UnpackError::Malformed { .. })));
    assert!(place.is_clean());
}

#[test]
fn modes_are_never_wider_than_the_archive_says_nor_than_asked() {
    let entries = |mode: u32| {
        [
            Raw { mode, ..dir("./") },
            Raw { mode, ..dir("d") },
            Raw { mode, ..Raw::file("d/f", "x") },
            Raw::file("i/f", "y"),
        ]
    };
    for (mode, private, expected) in [
        (0o777, false, (0o755, 0o755, 0o755, 0o755)),
        (0o755, false, (0o755, 0o755, 0o755, 0o755)),
        (0o700, false, (0o700, 0o700, 0o700, 0o755)),
        (0o750, false, (0o750, 0o750, 0o750, 0o755)),
        (0o644, false, (0o744, 0o744, 0o644, 0o755)),
        (0o640, false, (0o740, 0o740, 0o640, 0o755)),
        (0o000, false, (0o700, 0o700, 0o600, 0o755)),
        (0o755, true, (0o700, 0o700, 0o700, 0o700)),
        (0o644, true, (0o700, 0o700, 0o600, 0o700)),
    ] {
        let place = Place::new();
        place.unpack_with(&tar(&entries(mode)), &Options { private, ..Options::default() }).unwrap();
        let found = |path: &str| place.dest().join(path).metadata().unwrap().mode() & 0o7777;
        assert_eq!((found(""), found("d"), found("d/f"), found("i")), expected, "{mode:o}");
    }
}

#[test]
fn bytes_that_changed_on_the_disk_are_found_and_nothing_appears() {
    let bytes = tar(&[dir("d"), Raw::file("d/f", &"content".repeat(100_000))]);
    let root = Hash::from(blake3::hash(&bytes));
    // A changed bit in content, in a header, or in unused bytes is always damage, and not the publisher's fault.
    for at in [2 * BLOCK + 5, BLOCK + 1, bytes.len() - 1, BLOCK + 130] {
        let place = Place::new();
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        let payload = place.temp.path().join("payload");
        fs::write(&payload, &changed).unwrap();
        let error = unpack(&payload, Some(&root), &place.dest(), &Options::default(), &mut |_, _| {}).unwrap_err();
        assert!(matches!(error, UnpackError::Damaged { .. }), "{at}: {error}");
        assert!(place.is_clean());
    }
}

#[test]
fn zeros_take_no_room_and_progress_reaches_the_end() {
    let mut content = vec![0; 64 << 20];
    content[10_000] = 1;
    content[40_000_000..40_004_000].fill(2);
    let mut header = Raw::new(b'0', "sparse");
    header.size = content.len() as u64;
    let place = Place::new();
    let payload = place.temp.path().join("payload");
    let file = fs::File::create(&payload).unwrap();
    let mut bytes = header.bytes()[..BLOCK].to_vec();
    bytes.extend_from_slice(&content);
    bytes.extend_from_slice(&[0; 2 * BLOCK]);
    crate::files::sparse::write_at(&file, &bytes, 0).unwrap();
    assert!(file.metadata().unwrap().blocks() * 512 < 128 * 1024);
    let mut last = (0, 0);
    let root = Hash::from(blake3::hash(&bytes));
    let progress = &mut |done, total| last = (done, total);
    unpack(&payload, Some(&root), &place.dest(), &Options::default(), progress).unwrap();
    assert_eq!(last, (bytes.len() as u64, bytes.len() as u64));
    let meta = place.dest().join("sparse").metadata().unwrap();
    assert!(fs::read(place.dest().join("sparse")).unwrap() == content);
    assert!(meta.blocks() * 512 < 128 * 1024, "{} bytes of {}", meta.blocks() * 512, meta.len());
}

#[test]
fn what_a_killed_extraction_left_is_removed_and_what_another_fills_is_not() {
    let place = Place::new();
    let parent = place.temp.path().join("parent");
    // The process id of the killed process may equal this one's, as in containers.
    let left = parent.join(format!(".dest.unpacking-{}", std::process::id()));
    fs::create_dir_all(left.join("half/way")).unwrap();
    let used = parent.join(".dest.unpacking-00000000000000ff");
    fs::create_dir(&used).unwrap();
    let lock = fs::File::open(&used).unwrap();
    lock.lock().unwrap();
    let others = [".other.unpacking-1", ".dest.unpacking-mine"].map(|name| parent.join(name));
    others.iter().for_each(|path| fs::create_dir(path).unwrap());
    place.unpack(&tar(&[Raw::file("f", "x")])).unwrap();
    assert_eq!(place.tree(), ["f 644 x"]);
    assert!(!left.exists());
    assert!(used.exists() && others.iter().all(|path| path.exists()));
}

#[test]
fn a_file_that_is_a_tar_is_inspected_by_its_headers() {
    let named = |bytes: &[u8]| {
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, bytes).unwrap();
        inspect(&file, bytes.len() as u64).unwrap().first
    };
    let absolute = named(&fixture("absolute-link.tar"));
    assert_eq!(absolute, [("current".to_owned(), crate::tar::links::ABSOLUTE.to_owned())]);
    for harmless in ["hard-link.tar", "inner-dotdot-link.tar", "gzipped.tar.gz"] {
        assert_eq!(named(&fixture(harmless)), [], "{harmless}");
    }
    let mut cut = fixture("absolute-link.tar");
    cut.truncate(700);
    assert_eq!(named(&cut).len(), 1);
    assert_eq!(named(&[b'a'; 4096]), []);
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
            // The checksums are corrected, so that the changes get past them.
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
