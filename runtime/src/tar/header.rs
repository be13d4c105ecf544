//! The 512-byte header of one entry, and the pax header before it if something does not fit.

use std::io::{self, Write};

/// All parts of a tar are multiples of this many bytes.
pub(crate) const BLOCK: usize = 512;
const NAME: usize = 100;
const PREFIX: usize = 155;
/// The smallest size that eleven octal digits cannot express.
const SIZE_LIMIT: u64 = 1 << 33;

/// The kind of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderKind {
    File,
    Folder,
    Symlink,
}

pub(super) struct HeaderFields<'a> {
    pub(super) kind: HeaderKind,
    /// The relative path. A folder's path ends in `/`.
    pub(super) path: &'a [u8],
    pub(super) link: &'a [u8],
    pub(super) size: u64,
    pub(super) mode: u32,
}

/// The number of zero bytes after `size` bytes of content.
pub(super) fn padding(size: u64) -> usize {
    (BLOCK - (size % BLOCK as u64) as usize) % BLOCK
}

pub(super) fn write(out: &mut dyn Write, entry: &HeaderFields<'_>) -> io::Result<()> {
    let split = split(entry.path);
    let mut pax = Vec::new();
    if split.is_none() {
        record(&mut pax, "path", entry.path);
    }
    if entry.link.len() > NAME {
        record(&mut pax, "linkpath", entry.link);
    }
    let large = entry.size >= SIZE_LIMIT;
    if large {
        record(&mut pax, "size", entry.size.to_string().as_bytes());
    }
    if !pax.is_empty() {
        out.write_all(&block(b'x', (b"", b"././@PaxHeader"), b"", pax.len() as u64, 0o644))?;
        out.write_all(&pax)?;
        out.write_all(&[0; BLOCK][..padding(pax.len() as u64)])?;
    }
    let names = split.unwrap_or((b"", cut(entry.path, NAME)));
    let size = if large { 0 } else { entry.size };
    let flag = match entry.kind {
        HeaderKind::File => b'0',
        HeaderKind::Symlink => b'2',
        HeaderKind::Folder => b'5',
    };
    out.write_all(&block(flag, names, cut(entry.link, NAME), size, entry.mode))
}

/// `(prefix, name)`, or `None` if the path does not fit them.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.len() <= NAME {
        return Some((b"", path));
    }
    // The split must not be at a folder's trailing slash, because then the name would be empty.
    let slash = path[..(PREFIX + 1).min(path.len() - 1)].iter().rposition(|&byte| byte == b'/')?;
    let (prefix, name) = (&path[..slash], &path[slash + 1..]);
    (!prefix.is_empty() && name.len() <= NAME).then_some((prefix, name))
}

fn cut(bytes: &[u8], length: usize) -> &[u8] {
    &bytes[..bytes.len().min(length)]
}

/// `"<length> <key>=<value>\n"`, where the length includes its own digits.
fn record(out: &mut Vec<u8>, key: &str, value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length += 1;
    }
    out.extend_from_slice(format!("{length} {key}=").as_bytes());
    out.extend_from_slice(value);
    out.push(b'\n');
}

fn block(flag: u8, (prefix, name): (&[u8], &[u8]), link: &[u8], size: u64, mode: u32) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name);
    put(100, format!("{mode:07o}").as_bytes());
    put(108, b"0000000");
    put(116, b"0000000");
    put(124, format!("{size:011o}").as_bytes());
    put(136, b"00000000000");
    put(148, b"        ");
    put(156, &[flag]);
    put(157, link);
    put(257, b"ustar\x0000");
    put(345, prefix);
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_counts_its_own_length() {
        for length in 0..1200 {
            let mut out = Vec::new();
            record(&mut out, "path", &vec![b'a'; length]);
            let text = String::from_utf8(out.clone()).unwrap();
            let said: usize = text.split(' ').next().unwrap().parse().unwrap();
            assert_eq!(said, out.len());
        }
    }

    #[test]
    fn a_path_is_split_only_where_both_parts_fit() {
        let path = |prefix: usize, name: usize| [vec![b'p'; prefix], vec![b'/'], vec![b'n'; name]].concat();
        assert_eq!(split(&path(50, 49)).unwrap().0, b"");
        assert_eq!(split(&path(50, 50)).unwrap().0.len(), 50);
        assert_eq!(split(&path(155, 100)).unwrap().1.len(), 100);
        assert!(split(&path(156, 100)).is_none());
        assert!(split(&path(155, 101)).is_none());
        assert!(split(&[b'n'; 101]).is_none());
        // This is a folder's path, and it must not be split at its trailing slash.
        assert!(split(&[vec![b'n'; 101], vec![b'/']].concat()).is_none());
        assert_eq!(split(&[path(120, 99), vec![b'/']].concat()).unwrap().1.len(), 100);
        // The split is at the last slash that fits, not at the first.
        let deep = [b"a/".as_slice(), &path(100, 60)].concat();
        assert_eq!(split(&deep).unwrap().1.len(), 60);
    }
}
