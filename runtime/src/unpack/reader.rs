//! Reads a tar entry by entry: ustar, pax headers, and GNU's long names; nothing else. Allocates at most
//! [`MAX_EXTENSION`] bytes for what a header says.

use std::io::{self, Read};

use super::UnpackError;
use crate::tar::{BLOCK, Kind};

/// Largest pax header or long name.
const MAX_EXTENSION: u64 = 1024 * 1024;

pub(super) struct Entry {
    pub(super) kind: Kind,
    pub(super) path: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) mode: u32,
}

pub(super) struct Reader<R> {
    input: R,
    length: u64,
    offset: u64,
    /// Content of the current entry not read yet, and the zeros after it.
    content: u64,
    padding: u64,
}

/// What headers before an entry said about it.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
}

impl<R: Read> Reader<R> {
    pub(super) fn new(input: R, length: u64) -> Self {
        Self { input, length, offset: 0, content: 0, padding: 0 }
    }

    /// The next entry; `None` after the end. What was not read of the last one is skipped.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, UnpackError> {
        let mut extensions = Extensions::default();
        self.skip_rest()?;
        loop {
            let Some(block) = self.block()? else {
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
                flag => return self.entry(&header, flag, extensions).map(Some),
            }
        }
    }

    /// Reads content of the current entry; 0 at its end.
    pub(super) fn read_content(&mut self, buffer: &mut [u8]) -> Result<usize, UnpackError> {
        let want = buffer.len().min(usize::try_from(self.content).unwrap_or(usize::MAX));
        if want == 0 {
            return Ok(0);
        }
        self.fill(&mut buffer[..want])?;
        self.content -= want as u64;
        Ok(want)
    }

    fn entry(&mut self, header: &Header<'_>, flag: u8, said: Extensions) -> Result<Entry, UnpackError> {
        let path = said.path.unwrap_or_else(|| header.path());
        let kind = match flag {
            b'5' => Kind::Folder,
            b'0' | b'7' | 0 if path.ends_with(b"/") => Kind::Folder,
            b'0' | b'7' | 0 => Kind::File,
            b'2' => Kind::Symlink,
            b'1' => return Err(super::refused(&path, "it is a hard link")),
            b'3' | b'4' => return Err(super::refused(&path, "it is a device")),
            b'6' => return Err(super::refused(&path, "it is a FIFO")),
            _ => return Err(super::refused(&path, "it is neither file, folder nor symlink")),
        };
        let size = match said.size {
            Some(size) => size,
            None => header.number(124, 12).ok_or_else(|| self.malformed("a size that is no number"))?,
        };
        if kind != Kind::File && size != 0 {
            return Err(super::refused(&path, "only a file can have content"));
        }
        if path.contains(&0) {
            return Err(super::refused(&path, "its path has a zero byte"));
        }
        let mode = header.number(100, 8).ok_or_else(|| self.malformed("a mode that is no number"))?;
        self.begin(size)?;
        let link = said.link.unwrap_or_else(|| text(&header.0[157..257]).to_vec());
        Ok(Entry { kind, path, link, mode: (mode & 0o7777) as u32 })
    }

    /// Announces content, which must lie within the payload.
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
        let mut left = self.content + self.padding;
        (self.content, self.padding) = (0, 0);
        let mut scratch = [0; BLOCK];
        while left > 0 {
            let want = left.min(BLOCK as u64) as usize;
            self.fill(&mut scratch[..want])?;
            left -= want as u64;
        }
        Ok(())
    }

    /// `None` for a block of zeros.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, UnpackError> {
        if self.length - self.offset < BLOCK as u64 {
            return Err(self.malformed("it ends without the two zero blocks"));
        }
        let mut block = [0; BLOCK];
        self.fill(&mut block)?;
        Ok(block.iter().any(|&byte| byte != 0).then_some(block))
    }

    /// After the first zero block: one more, then nothing but zeros.
    fn end(&mut self) -> Result<(), UnpackError> {
        if self.block()?.is_some() {
            return Err(self.malformed("a single zero block in the middle"));
        }
        let mut rest = [0; BLOCK];
        while self.offset < self.length {
            let want = (self.length - self.offset).min(BLOCK as u64) as usize;
            self.fill(&mut rest[..want])?;
            if rest[..want].iter().any(|&byte| byte != 0) {
                return Err(self.malformed("something follows the end"));
            }
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
                _ if key.starts_with(b"GNU.sparse") => return Err(self.malformed("a sparse file")),
                _ => {}
            }
            rest = after;
        }
        Ok(())
    }

    /// Global headers may carry comments, but not what changes every entry after them.
    fn global(&mut self, header: &Header<'_>) -> Result<(), UnpackError> {
        let mut said = Extensions::default();
        self.pax(header, &mut said)?;
        match said {
            Extensions { path: None, link: None, size: None } => Ok(()),
            _ => Err(self.malformed("a global header that names paths or sizes")),
        }
    }

    fn check_sum(&self, header: &Header<'_>) -> Result<(), UnpackError> {
        let sum: u64 = header.0.iter().map(|&byte| u64::from(byte)).sum();
        let field: u64 = header.0[148..156].iter().map(|&byte| u64::from(byte)).sum();
        if header.number(148, 8) == Some(sum - field + 8 * u64::from(b' ')) {
            Ok(())
        } else {
            Err(self.malformed("a header whose checksum does not match"))
        }
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), UnpackError> {
        match self.input.read_exact(buffer) {
            Ok(()) => {
                self.offset += buffer.len() as u64;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(self.malformed("it ends too early")),
            Err(error) => Err(UnpackError::Read(error)),
        }
    }

    fn malformed(&self, reason: &'static str) -> UnpackError {
        UnpackError::Malformed { offset: self.offset, reason }
    }
}

struct Header<'a>(&'a [u8; BLOCK]);

impl Header<'_> {
    fn flag(&self) -> u8 {
        self.0[156]
    }

    fn path(&self) -> Vec<u8> {
        let name = text(&self.0[..100]);
        let prefix = text(&self.0[345..500]);
        // Only POSIX's magic gives the prefix its meaning; GNU's keeps other things there.
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

/// `(key, value, what follows)` of `"<length> <key>=<value>\n"`.
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
