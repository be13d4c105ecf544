//! Learns a stream's protocol from the multistream-select lines that pass through it.
//!
//! ```text
//! initiator   /multistream/1.0.0  /a        /b           ...
//! responder   /multistream/1.0.0       na        /b      ...
//! ```
//!
//! A line is its length as a varint, then the text, then a newline. The responder's echo decides the protocol. Until
//! then the initiator's newest proposal is shown as proposed. A lazy initiator sends its payload directly after the
//! proposal, so no further line is read after a proposal until the responder refused it.

/// The header that both sides begin with.
const HEADER: &[u8] = b"/multistream/1.0.0";
/// The refusal of a proposal.
const REFUSED: &[u8] = b"na";
/// A longer line belongs to another protocol.
const MAX_LINE: usize = 256;
/// After so many bytes in one direction without a result, the protocol stays unknown.
const MAX_BYTES: usize = 16 * 1024;

/// Our side of the negotiation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Initiator,
    Responder,
}

/// What was learnt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Learnt {
    /// Proposed, not yet agreed.
    Proposed(String),
    /// Agreed: there is nothing more to learn.
    Agreed(String),
    /// These are not negotiation lines: there is nothing more to learn.
    Nothing,
}

/// The lines of both directions of one stream.
#[derive(Debug)]
pub(crate) struct Sniffer {
    side: Side,
    /// The newest proposal of the initiator that was not refused.
    proposed: Option<String>,
    initiator: Lines,
    responder: Lines,
}

impl Sniffer {
    pub(crate) fn new(side: Side) -> Self {
        Self { side, proposed: None, initiator: Lines::default(), responder: Lines::default() }
    }

    /// This side sent these bytes.
    pub(crate) fn handle_written(&mut self, bytes: &[u8]) -> Option<Learnt> {
        match self.side {
            Side::Initiator => self.initiator_sent(bytes),
            Side::Responder => self.responder_sent(bytes),
        }
    }

    /// The other side sent these bytes.
    pub(crate) fn handle_read(&mut self, bytes: &[u8]) -> Option<Learnt> {
        match self.side {
            Side::Initiator => self.responder_sent(bytes),
            Side::Responder => self.initiator_sent(bytes),
        }
    }

    fn initiator_sent(&mut self, mut bytes: &[u8]) -> Option<Learnt> {
        // Bytes after a proposal may be payload.
        while self.proposed.is_none() {
            match self.initiator.next(&mut bytes) {
                Ok(None) => return None,
                Ok(Some(line)) if line == HEADER => {}
                Ok(Some(line)) => {
                    let Some(name) = protocol_name(&line) else { continue };
                    self.proposed = Some(name.clone());
                    // A stranger's proposal means nothing until our side accepts it.
                    return (self.side == Side::Initiator).then_some(Learnt::Proposed(name));
                }
                Err(NoLine) => return Some(Learnt::Nothing),
            }
        }
        None
    }

    fn responder_sent(&mut self, mut bytes: &[u8]) -> Option<Learnt> {
        loop {
            match self.responder.next(&mut bytes) {
                Ok(None) => return None,
                Ok(Some(line)) if line == HEADER => {}
                Ok(Some(line)) if line == REFUSED => self.proposed = None,
                Ok(Some(line)) => return Some(self.granted(&line)),
                Err(NoLine) => return Some(Learnt::Nothing),
            }
        }
    }

    /// An echo counts only when it equals the proposal.
    fn granted(&self, line: &[u8]) -> Learnt {
        match &self.proposed {
            Some(name) if name.as_bytes() == line => Learnt::Agreed(name.clone()),
            _ => Learnt::Nothing,
        }
    }
}

fn protocol_name(line: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(line).ok()?;
    text.starts_with('/').then(|| text.to_owned())
}

/// The bytes are not the beginning of a line.
#[derive(Debug)]
struct NoLine;

/// Splits the bytes of one direction into lines.
#[derive(Debug, Default)]
struct Lines {
    partial: Vec<u8>,
    seen: usize,
}

impl Lines {
    /// The next complete line without its newline. Removes what it read from `bytes`.
    fn next(&mut self, bytes: &mut &[u8]) -> Result<Option<Vec<u8>>, NoLine> {
        while let Some((byte, rest)) = bytes.split_first() {
            *bytes = rest;
            self.seen += 1;
            self.partial.push(*byte);
            if self.seen > MAX_BYTES {
                return Err(NoLine);
            }
            if let Some((head, length)) = self.length()?
                && self.partial.len() == head + length
            {
                let line = self.partial.split_off(head);
                self.partial.clear();
                return line.strip_suffix(b"\n").map(|text| Some(text.to_vec())).ok_or(NoLine);
            }
        }
        Ok(None)
    }

    /// The length of the varint, and of the line after it.
    fn length(&self) -> Result<Option<(usize, usize)>, NoLine> {
        let mut length = 0usize;
        for (index, byte) in self.partial.iter().enumerate().take(2) {
            length |= usize::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                return if (1..=MAX_LINE).contains(&length) { Ok(Some((index + 1, length))) } else { Err(NoLine) };
            }
        }
        if self.partial.len() < 2 { Ok(None) } else { Err(NoLine) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Vec<u8> {
        let mut line = vec![u8::try_from(text.len() + 1).unwrap()];
        line.extend(text.as_bytes());
        line.push(b'\n');
        line
    }

    fn lines(texts: &[&str]) -> Vec<u8> {
        texts.iter().flat_map(|text| line(text)).collect()
    }

    const HEAD: &str = "/multistream/1.0.0";

    #[test]
    fn an_initiator_hopes_then_knows() {
        let mut sniffer = Sniffer::new(Side::Initiator);
        assert_eq!(sniffer.handle_written(&lines(&[HEAD, "/a/1"])), Some(Learnt::Proposed("/a/1".into())));
        assert_eq!(sniffer.handle_written(b"lazy payload"), None);
        assert_eq!(sniffer.handle_read(&lines(&[HEAD, "/a/1"])), Some(Learnt::Agreed("/a/1".into())));
    }

    #[test]
    fn a_responder_knows_with_its_own_echo_byte_by_byte() {
        let mut sniffer = Sniffer::new(Side::Responder);
        let incoming = [lines(&[HEAD, "/a/1"]), b"\x7f payload".to_vec()].concat();
        assert!(incoming.iter().all(|byte| sniffer.handle_read(&[*byte]).is_none()));
        let learnt: Vec<_> =
            lines(&[HEAD, "/a/1"]).iter().filter_map(|byte| sniffer.handle_written(&[*byte])).collect();
        assert_eq!(learnt, [Learnt::Agreed("/a/1".into())]);
    }

    #[test]
    fn a_refused_proposal_gives_way_to_the_next() {
        let mut sniffer = Sniffer::new(Side::Initiator);
        sniffer.handle_written(&lines(&[HEAD, "/a/2"]));
        assert_eq!(sniffer.handle_read(&lines(&[HEAD, "na"])), None);
        assert_eq!(sniffer.handle_written(&lines(&["/a/1"])), Some(Learnt::Proposed("/a/1".into())));
        assert_eq!(sniffer.handle_read(&lines(&["/a/1"])), Some(Learnt::Agreed("/a/1".into())));
    }

    #[test]
    fn an_echo_of_something_else_is_not_believed() {
        let mut sniffer = Sniffer::new(Side::Initiator);
        sniffer.handle_written(&lines(&[HEAD, "/a/1"]));
        assert_eq!(sniffer.handle_read(&lines(&[HEAD, "/evil"])), Some(Learnt::Nothing));
    }

    #[test]
    fn other_bytes_end_the_search() {
        for bytes in [&b"\x00"[..], &b"\xff\xff\xff"[..], &b"\x03abc"[..]] {
            assert_eq!(Sniffer::new(Side::Initiator).handle_read(bytes), Some(Learnt::Nothing), "{bytes:?}");
        }
    }

    proptest::proptest! {
        /// The result is the same however the bytes are split, and nothing panics.
        #[test]
        fn any_bytes_in_any_pieces(noise: Vec<u8>, cut in 1usize..9, lazy: bool) {
            let mut whole = if lazy { lines(&[HEAD, "/a/1"]) } else { Vec::new() };
            whole.extend(noise);
            let learn = |pieces: usize| {
                let mut sniffer = Sniffer::new(Side::Initiator);
                let written: Vec<_> = whole.chunks(pieces).filter_map(|piece| sniffer.handle_written(piece)).take(1).collect();
                let read: Vec<_> = whole.chunks(pieces).filter_map(|piece| sniffer.handle_read(piece)).take(1).collect();
                (written, read)
            };
            proptest::prop_assert_eq!(learn(cut), learn(usize::MAX));
        }
    }
}
