//! Reads a tar entry by entry, as GNU tar does: ustar, pax headers, GNU's long names, checksums over signed bytes, and
//! archives that end with one zero block or none. It allocates at most [`MAX_EXTENSION`] bytes because of what a header
//! says.

use super::{
    UnpackError,
    source::{ByteSource, Span},
};
use crate::limits::MAX_EXTENSION;
use crate::tar::BLOCK;

/// The kind of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EntryKind {
    File,
    Folder,
    Symlink,
    /// `link` is the path of an earlier entry.
    HardLink,
    /// Never unpacked, with the reason.
    Never(&'static str),
}

pub(super) struct TarEntry {
    pub(super) kind: EntryKind,
    pub(super) path: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) mode: u32,
}

pub(super) struct Reader<I> {
    input: I,
    length: u64,
    offset: u64,
    /// Bytes of the current entry that were not read yet: its content and the zeros after it.
    content: u64,
    padding: u64,
}

/// What earlier headers said about the next entry.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    /// Whether the content begins with the map of a sparse file, as in pax's format.
    sparse: bool,
    /// The real name of a sparse file.
    sparse_name: Option<Vec<u8>>,
}

impl<I: ByteSource> Reader<I> {
    pub(super) fn new(input: I, length: u64) -> Self {
        Self { input, length, offset: 0, content: 0, padding: 0 }
    }

    pub(super) fn into_input(self) -> I {
        self.input
    }

    /// The next entry, or `None` after the end. Unread content of the previous entry is skipped.
    pub(super) fn next(&mut self) -> Result<Option<TarEntry>, UnpackError> {
        let mut extensions = Extensions::default();
        self.skip_rest()?;
        if self.length == 0 {
            return Err(self.malformed("it is empty"));
        }
        let mut announced = false;
        loop {
            let Some(block) = self.block()? else {
                if announced {
                    return Err(self.malformed("it ends after a header that belongs to an entry"));
                }
                self.end()?;
                return Ok(None);
            };
            let header = Header(&block);
            self.check_sum(&header)?;
            match header.flag() {
                b'x' => self.pax(&header, &mut extensions)?,
                b'g' => self.global(&header)?,
                b'L' => extensions.path = Some(self.long_name(&header)?),
                b'K' => extensions.link = Some(self.long_name(&header)?),
                // The label of a volume is not an entry.
                b'V' => continue,
                flag => return self.entry(&header, flag, extensions).map(Some),
            }
            announced = header.flag() != b'g';
        }
    }

    /// Bytes of the current entry's content that were not read yet.
    pub(super) fn left(&self) -> u64 {
        self.content
    }

    /// The next piece of the current entry's content. It is empty at the end.
    pub(super) fn content(&mut self) -> Result<Span<'_>, UnpackError> {
        if self.content == 0 {
            return Ok(Span::Data(&[]));
        }
        let span = self.input.next(self.content).map_err(UnpackError::Read)?;
        if span.len() == 0 {
            return Err(UnpackError::Malformed { offset: self.offset, reason: SHORT });
        }
        self.content -= span.len();
        self.offset += span.len();
        Ok(span)
    }

    fn entry(&mut self, header: &Header<'_>, flag: u8, said: Extensions) -> Result<TarEntry, UnpackError> {
        let path = said.sparse_name.or(said.path).unwrap_or_else(|| header.path());
        let kind = match flag {
            _ if path.contains(&0) => EntryKind::Never("its path has a zero byte"),
            b'5' => EntryKind::Folder,
            b'0' | b'7' | 0 if said.sparse => EntryKind::Never("it is a sparse file: pack it without `--sparse`"),
            b'0' | b'7' | 0 if path.ends_with(b"/") => EntryKind::Folder,
            b'0' | b'7' | 0 => EntryKind::File,
            b'1' => EntryKind::HardLink,
            b'2' => EntryKind::Symlink,
            b'3' | b'4' => EntryKind::Never("it is a device"),
            b'6' => EntryKind::Never("it is a FIFO"),
            b'S' => EntryKind::Never("it is a sparse file: pack it without `--sparse`"),
            _ => EntryKind::Never("it is neither file, folder nor link"),
        };
        let mode = header.number(100, 8).ok_or_else(|| self.malformed("a mode that is no number"))?;
        if flag == b'S' {
            self.sparse_map(header)?;
        }
        // Folders and links have no content, whatever size their header says: some programs write the folder's own size
        // there.
        let bare = kind == EntryKind::Folder || matches!(flag, b'1'..=b'6');
        let size = match said.size {
            _ if bare => 0,
            Some(size) => size,
            None => header.number(124, 12).ok_or_else(|| self.malformed("a size that is no number"))?,
        };
        self.begin(size)?;
        let link = said.link.unwrap_or_else(|| text(&header.0[157..257]).to_vec());
        Ok(TarEntry { kind, path, link, mode: (mode & 0o7777) as u32 })
    }

    /// Skips the blocks that continue the map of a GNU sparse file.
    fn sparse_map(&mut self, header: &Header<'_>) -> Result<(), UnpackError> {
        let mut more = header.0[482] != 0;
        while more {
            more = self.block()?.is_some_and(|block| block[504] != 0);
        }
        Ok(())
    }

    /// Starts an entry's content, which must lie within the payload.
    fn begin(&mut self, size: u64) -> Result<(), UnpackError> {
        let padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
        let end = self.offset.checked_add(size).and_then(|end| end.checked_add(padding));
        if end.is_none_or(|end| end > self.length) {
            return Err(self.malformed("an entry goes beyond the end of the payload"));
        }
        (self.content, self.padding) = (size, padding);
        Ok(())
    }

    fn skip_rest(&mut self) -> Result<(), UnpackError> {
        let left = self.content + self.padding;
        if left == 0 {
            return Ok(());
        }
        (self.content, self.padding) = (0, 0);
        self.input.skip(left).map_err(UnpackError::Read)?;
        self.offset += left;
        Ok(())
    }

    /// The next block. `None` for a block of zeros, or if the payload ends after a complete block.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, UnpackError> {
        if self.offset == self.length {
            return Ok(None);
        }
        if self.length - self.offset < BLOCK as u64 {
            return Err(self.malformed("it ends in the middle of a block"));
        }
        let mut block = [0; BLOCK];
        self.fill(&mut block)?;
        Ok(block.iter().any(|&byte| byte != 0).then_some(block))
    }

    /// After the first zero block only zeros may come.
    fn end(&mut self) -> Result<(), UnpackError> {
        while self.offset < self.length {
            let span = self.input.next(self.length - self.offset).map_err(UnpackError::Read)?;
            let (length, zeros) = match span {
                Span::Data(bytes) => (bytes.len() as u64, bytes.iter().all(|&byte| byte == 0)),
                Span::Zeros(length) => (length, true),
            };
            if length == 0 {
                return Err(self.malformed(SHORT));
            }
            if !zeros {
                return Err(self.malformed("something follows the end"));
            }
            self.offset += length;
        }
        Ok(())
    }

    fn extension(&mut self, header: &Header<'_>) -> Result<Vec<u8>, UnpackError> {
        let size = header.number(124, 12).ok_or_else(|| self.malformed("a size that is no number"))?;
        if size > MAX_EXTENSION {
            return Err(self.malformed("an extended header of more than 1 MiB"));
        }
        self.begin(size)?;
        let mut bytes = vec![0; size as usize];
        self.fill(&mut bytes)?;
        self.content = 0;
        self.skip_rest()?;
        Ok(bytes)
    }

    fn long_name(&mut self, header: &Header<'_>) -> Result<Vec<u8>, UnpackError> {
        let bytes = self.extension(header)?;
        Ok(text(&bytes).to_vec())
    }

    fn pax(&mut self, header: &Header<'_>, said: &mut Extensions) -> Result<(), UnpackError> {
        let bytes = self.extension(header)?;
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let (key, value, after) = record(rest).ok_or_else(|| self.malformed("a damaged pax header"))?;
            match key {
                b"path" => said.path = Some(value.to_vec()),
                b"linkpath" => said.link = Some(value.to_vec()),
                b"size" => said.size = Some(decimal(value).ok_or_else(|| self.malformed("a damaged pax size"))?),
                b"GNU.sparse.name" => (said.sparse, said.sparse_name) = (true, Some(value.to_vec())),
                _ if key.starts_with(b"GNU.sparse") => said.sparse = true,
                _ => {}
            }
            rest = after;
        }
        Ok(())
    }

    /// Global headers may contain comments, but nothing that would change every later entry.
    fn global(&mut self, header: &Header<'_>) -> Result<(), UnpackError> {
        let mut said = Extensions::default();
        self.pax(header, &mut said)?;
        match said {
            Extensions { path: None, link: None, size: None, sparse: false, .. } => Ok(()),
            _ => Err(self.malformed("a global header that names paths or sizes")),
        }
    }

    /// The sum is over unsigned bytes; some old programs treated them as signed.
    fn check_sum(&self, header: &Header<'_>) -> Result<(), UnpackError> {
        let others = || header.0[..148].iter().chain(&header.0[156..]);
        let spaces = 8 * i64::from(b' ');
        let unsigned = others().map(|&byte| i64::from(byte)).sum::<i64>() + spaces;
        let signed = others().map(|&byte| i64::from(byte.cast_signed())).sum::<i64>() + spaces;
        let said = header.number(148, 8).and_then(|said| i64::try_from(said).ok());
        if said.is_some_and(|said| said == unsigned || said == signed) {
            Ok(())
        } else {
            Err(self.malformed("a header whose checksum does not match"))
        }
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), UnpackError> {
        let mut filled = 0;
        while filled < buffer.len() {
            let span = self.input.next((buffer.len() - filled) as u64).map_err(UnpackError::Read)?;
            let length = match span {
                Span::Data(bytes) => {
                    buffer[filled..filled + bytes.len()].copy_from_slice(bytes);
                    bytes.len()
                }
                Span::Zeros(length) => {
                    buffer[filled..filled + length as usize].fill(0);
                    length as usize
                }
            };
            if length == 0 {
                return Err(self.malformed(SHORT));
            }
            filled += length;
        }
        self.offset += buffer.len() as u64;
        Ok(())
    }

    fn malformed(&self, reason: &'static str) -> UnpackError {
        UnpackError::Malformed { offset: self.offset, reason }
    }
}

const SHORT: &str = "it ends too early";

struct Header<'a>(&'a [u8; BLOCK]);

impl Header<'_> {
    fn flag(&self) -> u8 {
        self.0[156]
    }

    fn path(&self) -> Vec<u8> {
        let name = text(&self.0[..100]);
        let prefix = text(&self.0[345..500]);
        // Only POSIX's magic number means that there is a prefix; GNU's format has other data there.
        if prefix.is_empty() || &self.0[257..263] != b"ustar\0" {
            return name.to_vec();
        }
        [prefix, b"/", name].concat()
    }

    /// Octal digits between spaces and zeros, or GNU's base 256.
    fn number(&self, at: usize, length: usize) -> Option<u64> {
        let field = &self.0[at..at + length];
        if field[0] & 0x80 != 0 {
            return base_256(field);
        }
        let digits = field.iter().position(|&byte| byte != b' ').map_or(&[][..], |start| &field[start..]);
        let end = digits.iter().position(|&byte| matches!(byte, 0 | b' ')).unwrap_or(digits.len());
        if digits[end..].iter().any(|&byte| !matches!(byte, 0 | b' ')) {
            return None;
        }
        digits[..end].iter().try_fold(0u64, |value, &byte| match byte {
            b'0'..=b'7' => Some(value * 8 + u64::from(byte - b'0')),
            _ => None,
        })
    }
}

fn base_256(field: &[u8]) -> Option<u64> {
    let (last, first) = (&field[field.len() - 8..], &field[..field.len() - 8]);
    let positive = match first {
        [] => last[0] == 0x80,
        [head, rest @ ..] => *head == 0x80 && rest.iter().all(|&byte| byte == 0),
    };
    let mut value: [u8; 8] = last.try_into().ok()?;
    if first.is_empty() {
        value[0] = 0;
    }
    positive.then(|| u64::from_be_bytes(value))
}

fn text(field: &[u8]) -> &[u8] {
    &field[..field.iter().position(|&byte| byte == 0).unwrap_or(field.len())]
}

/// `(key, value, rest)` of `"<length> <key>=<value>\n"`.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().take(20).position(|&byte| byte == b' ')?;
    let length = usize::try_from(decimal(&bytes[..space])?).ok()?;
    if length <= space + 1 || length > bytes.len() {
        return None;
    }
    let body = bytes[space + 1..length].strip_suffix(b"\n")?;
    let equals = body.iter().position(|&byte| byte == b'=')?;
    Some((&body[..equals], &body[equals + 1..], &bytes[length..]))
}

fn decimal(bytes: &[u8]) -> Option<u64> {
    if bytes.is_empty() || bytes.len() > 19 || !bytes.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(field: &[u8]) -> Option<u64> {
        let mut block = [0; BLOCK];
        block[..field.len()].copy_from_slice(field);
        Header(&block).number(0, field.len())
    }

    #[test]
    fn numbers_are_octal_or_base_256() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b"  644 \0\0"), Some(0o644));
        assert_eq!(number(b"        "), Some(0));
        assert_eq!(number(b"00008440"), None);
        assert_eq!(number(b"12 4\0\0\0\0"), None);
        assert_eq!(number(b"\x80\0\0\0\0\0\0\x02\0\0\0\0"), Some(1 << 33));
        assert_eq!(number(b"\x80\0\0\x01\0\0\0\0\0\0\0\0"), None);
        assert_eq!(number(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), None);
        assert_eq!(number(b"\x80\0\0\0\0\0\x01\0"), Some(256));
    }

    #[test]
    fn pax_records_are_read_to_the_byte() {
        assert_eq!(record(b"9 a=bcde\nrest"), Some((b"a".as_slice(), b"bcde".as_slice(), b"rest".as_slice())));
        for bad in [
            b"".as_slice(),
            b"9",
            b"9 a=bc",
            b"x a=b\n",
            b"6 a=bc\n",
            b"0 a=b\n",
            b"2 \n",
            b"99999999999999999999 a=b\n",
        ] {
            assert_eq!(record(bad), None, "{bad:?}");
        }
    }
}
