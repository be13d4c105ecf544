//! The picture: the lines of each part, and how the parts share a terminal of any size.

use std::collections::VecDeque;

use ratatui::{
    buffer::Buffer,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Sparkline, Widget},
};
use rpp_runtime::{SessionState, SnapshotStreamStatus, bans::Ban, rates::LimitsInForce, status::OfferInfo};

use super::look::{Event, Peer, Picture};
use crate::cli::{bans, human, output::escape, source_table, status};

/// Number of samples of the rate that are kept; at one a second, ten minutes.
const HISTORY: usize = 600;
/// On narrower terminals, a download's bar has a line of its own.
const NARROW: usize = 70;
/// Wider terminals say that the number in a download's name is its height.
const WIDE: usize = 90;
/// Number of sources that are shown of the chosen download.
const SHOWN_SOURCES: usize = 4;
/// Lower terminals show only downloads.
const LOW: u16 = 18;

/// What is shown, and what is chosen in it.
#[derive(Default)]
pub(super) struct View {
    picture: Option<Picture>,
    /// Verified bytes a second, all downloads together, the newest last.
    rates: VecDeque<u64>,
    chosen: usize,
    /// The session whose cancellation was requested and is not confirmed yet.
    pub(super) asking: Option<u64>,
    /// The result of the last action, or why the node does not answer.
    pub(super) said: String,
}

impl View {
    /// Replaces the picture.
    pub(super) fn show(&mut self, picture: Picture) {
        self.rates.push_back(rate(&picture));
        if self.rates.len() > HISTORY {
            self.rates.pop_front();
        }
        // The chosen session stays chosen when others come and go.
        let chosen = self.session();
        let found = chosen.and_then(|chosen| picture.sessions.iter().position(|one| one.session.get() == chosen));
        self.chosen = found.unwrap_or(self.chosen).min(picture.sessions.len().saturating_sub(1));
        self.picture = Some(picture);
    }

    /// Moves the choice by this many downloads.
    pub(super) fn choose(&mut self, by: isize) {
        let last = self.picture.as_ref().map_or(0, |picture| picture.sessions.len().saturating_sub(1));
        self.chosen = self.chosen.saturating_add_signed(by).min(last);
    }

    /// The chosen session.
    pub(super) fn session(&self) -> Option<u64> {
        self.picture.as_ref()?.sessions.get(self.chosen).map(|status| status.session.get())
    }

    /// Whether a session is complete, so that nothing about it changes any more.
    pub(super) fn complete(&self, session: u64) -> bool {
        let sessions = self.picture.iter().flat_map(|picture| &picture.sessions);
        sessions.into_iter().any(|one| one.session.get() == session && one.state == SessionState::Complete)
    }

    /// The name of a session.
    pub(super) fn named(&self, session: u64) -> String {
        named(session, self.picture.as_ref().map_or(&[], |picture| &picture.sessions[..]))
    }

    /// Everything as text, without colours and without cutting a sentence.
    pub(super) fn plain(&self, width: usize) -> String {
        let Some(picture) = &self.picture else { return String::new() };
        let mut lines = vec![head_line(picture, width)];
        lines.extend(picture.trouble.as_deref().map(|reason| Line::raw(format!("  {}", escape(reason)))));
        lines.push(title("Downloads", picture.sessions.len()));
        for status in &picture.sessions {
            lines.extend(download(status, width, false, None));
        }
        if picture.sessions.is_empty() {
            lines.push(Line::raw("  none: `rpp-node fetch` starts one"));
        }
        lines.push(title("Serves", picture.identity.snapshots.len()));
        lines.extend(
            picture.identity.snapshots.iter().map(|one| {
                Line::raw(format!("  height {:<9} {:>9}  {}", one.height, human::bytes(one.bytes), one.root))
            }),
        );
        lines.push(title("Peers", picture.peers.len()));
        lines.extend(picture.peers.iter().map(peer));
        if !picture.bans.is_empty() {
            lines.push(title("Banned", picture.bans.len()));
            lines.extend(picture.bans.iter().map(banned));
        }
        lines.push(title("Offers", picture.offers.len()));
        lines.extend(picture.offers.iter().map(offer));
        lines.extend(limits(&picture.limits).map(|limits| Line::raw(format!(" Limits: {limits}"))));
        lines.push(title("Recent events", picture.events.len()));
        lines.extend(picture.events.iter().rev().take(PLAIN_EVENTS).map(|one| event(one, &picture.sessions)));
        lines.iter().map(|line| format!("{}\n", text(line).trim_end())).collect()
    }

    /// The last ten minutes, the newest at the right.
    fn plot(&self, area: Rect, buffer: &mut Buffer) {
        let columns = usize::from(area.width).max(1);
        let rates: Vec<u64> = self.rates.iter().copied().collect();
        let mean = |chunk: &[u64]| chunk.iter().fold(0_u64, |sum, rate| sum.saturating_add(*rate)) / chunk.len() as u64;
        let mut bars: Vec<u64> = rates.rchunks(HISTORY.div_ceil(columns)).take(columns).map(mean).collect();
        bars.resize(columns, 0);
        bars.reverse();
        Sparkline::default().data(bars).style(Style::new().fg(Color::Cyan)).render(area, buffer);
    }

    /// As many downloads as fit, with the chosen one among them.
    fn downloads(&self, picture: &Picture, area: Rect, buffer: &mut Buffer) {
        let (width, height) = (usize::from(area.width), usize::from(area.height));
        let block = |(at, status): (usize, &SnapshotStreamStatus)| {
            let chosen = at == self.chosen;
            download(status, width, chosen, Some(if chosen { 3 } else { 1 }))
        };
        let blocks: Vec<Vec<Line<'_>>> = picture.sessions.iter().enumerate().map(block).collect();
        let Some(chosen) = blocks.get(self.chosen) else {
            return Line::raw("no downloads: `rpp-node fetch` starts one").style(faint()).render(area, buffer);
        };
        // The first download that is shown: the earliest from which on the chosen one still fits.
        let (mut first, mut used) = (self.chosen, chosen.len());
        while let Some(above) = first.checked_sub(1).and_then(|above| blocks.get(above)) {
            used += above.len();
            if used > height {
                break;
            }
            first -= 1;
        }
        for (row, line) in (area.y..area.bottom()).zip(blocks.iter().skip(first).flatten()) {
            buffer.set_line(area.x, row, line, area.width);
        }
    }

    fn foot(&self, picture: &Picture) -> Line<'_> {
        if let Some(session) = self.asking {
            let named = named(session, &picture.sessions);
            let text = match self.complete(session) {
                true => format!(" forget {named}? its payload stays; y, or any other key"),
                false => format!(" cancel {named} and drop what it has? y, or any other key"),
            };
            return Line::styled(text, Style::new().fg(Color::Black).bg(Color::Yellow));
        }
        let said = if self.said.is_empty() { picture.trouble.as_deref().unwrap_or_default() } else { &self.said };
        if !said.is_empty() {
            return Line::styled(format!(" {}", escape(said)), Style::new().fg(Color::Yellow));
        }
        let all = picture.sessions.len();
        let at = (self.chosen + 1).min(all);
        Line::styled(format!(" {at}/{all}  q ends  \u{2191}\u{2193} choose  r try now  x cancel"), faint())
    }
}

/// Number of events in a plain picture.
const PLAIN_EVENTS: usize = 10;

impl Widget for &View {
    fn render(self, area: Rect, buffer: &mut Buffer) {
        let Some(picture) = &self.picture else {
            let text = if self.said.is_empty() { "asking the node; q ends" } else { self.said.as_str() };
            return Line::raw(text).render(area, buffer);
        };
        let high = area.height >= LOW;
        let [top, plot, middle, bottom, foot] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(if high { 2 } else { 0 }),
            Constraint::Min(1),
            Constraint::Length(if high { area.height / 3 } else { 0 }),
            Constraint::Length(1),
        ])
        .areas(area);
        head_line(picture, usize::from(area.width)).render(top, buffer);
        self.plot(plot, buffer);
        self.downloads(picture, middle, buffer);
        beside(picture, bottom, buffer);
        self.foot(picture).render(foot, buffer);
    }
}

/// Peers, bans and offers on the left, events on the right. A narrow terminal shows only events.
fn beside(picture: &Picture, area: Rect, buffer: &mut Buffer) {
    let share = if usize::from(area.width) < NARROW { 0 } else { 60 };
    let [left, right] = Layout::horizontal([Constraint::Percentage(share), Constraint::Min(0)]).areas(area);
    let connected = picture.peers.iter().filter(|peer| peer.connected).count();
    let mut rows = vec![title("Peers", connected)];
    rows.extend(picture.peers.iter().map(peer));
    // Bans and offers keep at least half of the rows, however many peers there are.
    let others = usize::from(!picture.bans.is_empty()) + picture.bans.len() + 1 + picture.offers.len();
    rows.truncate(usize::from(left.height).saturating_sub(others).max(usize::from(left.height).div_ceil(2)));
    if !picture.bans.is_empty() {
        rows.push(title("Banned", picture.bans.len()));
        rows.extend(picture.bans.iter().map(banned));
    }
    rows.push(title("Offers", picture.offers.len()));
    rows.extend(picture.offers.iter().map(offer));
    fill(left, buffer, rows.into_iter());
    let events = std::iter::once(title("Recent events", picture.events.len()));
    fill(right, buffer, events.chain(picture.events.iter().rev().map(|one| event(one, &picture.sessions))));
}

fn fill<'l>(area: Rect, buffer: &mut Buffer, lines: impl Iterator<Item = Line<'l>>) {
    for (row, line) in (area.y..area.bottom()).zip(lines) {
        buffer.set_line(area.x, row, &line, area.width.saturating_sub(1));
    }
}

/// Verified bytes a second over all downloads.
fn rate(picture: &Picture) -> u64 {
    let flows = |one: &&SnapshotStreamStatus| one.state == SessionState::Streaming;
    picture.sessions.iter().filter(flows).filter_map(|one| one.verified_bytes_per_second).fold(0, u64::saturating_add)
}

/// `rpp-node 0.1.0  12D3...  ready  109 MiB/s  serves 3  verified height 1210`.
fn head_line(picture: &Picture, width: usize) -> Line<'static> {
    let identity = &picture.identity;
    let mut spans = vec![Span::styled(" rpp-node ", Style::new().add_modifier(Modifier::BOLD))];
    if width >= NARROW {
        spans.push(Span::styled(format!("{}  ", escape(&identity.version)), faint()));
    }
    let gap = if width >= NARROW { "  " } else { " " };
    spans.push(Span::raw(format!("{}{gap}", short(&identity.peer_id))));
    spans.push(match &picture.trouble {
        None => Span::styled("ready", Style::new().fg(Color::Green)),
        Some(_) => Span::styled("not ready", Style::new().fg(Color::Red)),
    });
    spans.push(Span::raw(format!("{gap}{}/s", human::bytes(rate(picture)))));
    if width >= NARROW {
        spans.push(Span::styled(format!("  serves {}", identity.snapshots.len()), faint()));
        if let Some(head) = &picture.head {
            spans.push(Span::styled(format!("  verified height {}", head.height), faint()));
        }
        let limits = limits(&picture.limits).map(|limits| format!("  limits: {limits}"));
        let used: usize = spans.iter().map(Span::width).sum();
        spans.extend(limits.filter(|limits| used + limits.len() <= width).map(|limits| Span::styled(limits, faint())));
    }
    Line::from(spans)
}

fn title(name: &str, count: usize) -> Line<'static> {
    Line::styled(format!(" {name} ({count})"), Style::new().add_modifier(Modifier::BOLD))
}

/// A download: its progress and rate, and below it the reason for its state, on at most `lines` lines; `None` does not
/// limit them.
fn download(status: &SnapshotStreamStatus, width: usize, chosen: bool, lines: Option<usize>) -> Vec<Line<'static>> {
    let mark = Span::raw(if chosen { "\u{25b8} " } else { "  " });
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let height = status.height.map_or_else(|| tail(status.session.get()), |height| height.to_string());
    let state =
        Span::styled(format!("{:<12}", status.state.as_str().replace('_', " ")), Style::new().fg(colour(status)));
    let total = status.total_bytes.filter(|total| *total > 0);
    let share = total.map_or_else(|| "-".to_owned(), |total| human::percent(verified(status).min(total), total));
    let flowing = status.verified_bytes_per_second.filter(|_| status.state == SessionState::Streaming);
    let speed = match status.state.is_final() {
        true => String::new(),
        false => format!("{}/s", human::bytes(flowing.unwrap_or_default())),
    };
    let mut block = Vec::new();
    if width < NARROW {
        let figures = Span::raw(format!("{share:>7} {speed:>11}"));
        block.push(Line::from(vec![mark, Span::styled(format!("{height:<7}"), bold), state, figures]));
        let mut line = vec![Span::raw("  ")];
        line.extend(bar(status, width.saturating_sub(3)));
        block.push(Line::from(line));
    } else {
        let size = total.map(human::bytes).unwrap_or_default();
        let left = status::eta(status).map(|eta| format!("{eta} left")).unwrap_or_default();
        let named = if width < WIDE { format!("{height:<10}") } else { format!("{:<17}", name(status)) };
        let figures = format!(" {share:>7}  {size:>9}  {speed:>11}  ");
        // The rest of the line is for the bar, and for the remaining time. The latter takes 16 columns at most, or is
        // left out.
        let room = width.saturating_sub(2 + named.len() + 12 + figures.len());
        let cells = room.saturating_sub(16).clamp(8, 60);
        let left = if cells + left.len() <= room { left } else { String::new() };
        let mut line = vec![mark, Span::styled(named, bold), state];
        line.extend(bar(status, cells));
        line.push(Span::raw(format!("{figures}{left}")));
        block.push(Line::from(line));
    }
    let why = why(status);
    let told = match lines {
        Some(lines) => wrapped(&why, width.saturating_sub(5), lines),
        None => vec![why],
    };
    block.extend(told.into_iter().map(|line| Line::styled(format!("    {line}"), faint())));
    if source_table::is_worth_it(status) {
        let rows = match lines {
            None => source_table::table(status),
            Some(_) if chosen => source_table::short(status, SHOWN_SOURCES),
            Some(_) => Vec::new(),
        };
        block.extend(rows.into_iter().map(|row| Line::styled(format!("      {row}"), faint())));
    }
    block
}

/// Verified bytes, by this process or an earlier one.
fn verified(status: &SnapshotStreamStatus) -> u64 {
    match status.state {
        SessionState::Complete => u64::MAX,
        _ => status.bytes_verified.max(status.bytes_durable),
    }
}

/// The sources of a download, and what it waits for.
fn why(status: &SnapshotStreamStatus) -> String {
    let explained = status::explain(status);
    let root = status.root.map(|root| format!(", root {}", short(&root.to_string()))).unwrap_or_default();
    let explained = if explained.is_empty() { "at work" } else { explained.as_str() };
    let from = match &status.sources[..] {
        [_, _, ..] => human::count(status.sources.len() as u64, "source"),
        [one] => short(&one.source),
        [] => status.peer.map_or_else(|| "anybody".to_owned(), |peer| short(&peer.to_string())),
    };
    let advice = status::advice(status).map(|advice| format!(". {advice}")).unwrap_or_default();
    format!("from {from}{root}: {explained}{advice}")
}

/// Durable bytes, then verified bytes beyond them, then received bytes beyond those.
fn bar(status: &SnapshotStreamStatus, width: usize) -> Vec<Span<'static>> {
    let total = status.total_bytes.unwrap_or_default().max(1);
    let cells = |count: u64| {
        let cells = u128::from(count.min(total)) * width as u128 / u128::from(total);
        usize::try_from(cells).unwrap_or(width)
    };
    let all = status.state == SessionState::Complete;
    let durable = if all { width } else { cells(status.bytes_durable) };
    let ahead = status.bytes_received.saturating_sub(status.bytes_verified).saturating_sub(status.bytes_wasted);
    let verified_cells = cells(verified(status)).max(durable);
    let received = cells(verified(status).saturating_add(ahead)).max(verified_cells);
    [
        ("\u{2588}", durable, Color::Cyan),
        ("\u{2593}", verified_cells - durable, Color::Cyan),
        ("\u{2592}", received - verified_cells, Color::Cyan),
        ("\u{2591}", width - received, Color::DarkGray),
    ]
    .into_iter()
    .map(|(cell, count, colour)| Span::styled(cell.repeat(count), Style::new().fg(colour)))
    .collect()
}

fn colour(status: &SnapshotStreamStatus) -> Color {
    match status.state {
        SessionState::Streaming | SessionState::Verifying => Color::Cyan,
        SessionState::Connecting | SessionState::Planning => Color::Blue,
        SessionState::BackingOff | SessionState::Paused => Color::Yellow,
        SessionState::Complete => Color::Green,
        SessionState::Failed => Color::Red,
    }
}

fn peer(peer: &Peer) -> Line<'static> {
    let ping = peer.rtt_ms.map_or_else(|| "-".to_owned(), |time| format!("{time:.0} ms"));
    let traffic = |count: Option<u64>| count.map_or_else(|| "-".to_owned(), human::bytes);
    let (received, sent) = (traffic(peer.bytes_received), traffic(peer.bytes_sent));
    let (dot, tone) = if peer.connected { ("\u{25cf} ", Color::Green) } else { ("\u{25cb} ", Color::DarkGray) };
    Line::from(vec![
        Span::styled(format!(" {dot}"), Style::new().fg(tone)),
        Span::raw(format!("{} {ping:>7} in {received} out {sent} ", short(&peer.peer_id))),
        Span::styled(peer.agent.as_deref().map(escape).unwrap_or_default(), faint()),
    ])
}

/// `12D3...  banned for another 9 min 12 s: chunk 3 does not verify`.
fn banned(ban: &Ban) -> Line<'static> {
    let reason = ban.evidence.last().map(|piece| escape(&piece.evidence.reason)).unwrap_or_default();
    Line::from(vec![
        Span::styled(" \u{25cf} ", Style::new().fg(Color::Red)),
        Span::raw(format!("{} {}", short(&ban.source), bans::left(ban))),
        Span::styled(format!(": {reason}"), faint()),
    ])
}

fn offer(offer: &OfferInfo) -> Line<'static> {
    let peers = human::count(offer.peers.len() as u64, "peer");
    let root = short(&offer.root.to_string());
    Line::raw(format!("   height {:<9} {:>9}  {root}  from {peers}", offer.height, human::bytes(offer.bytes)))
}

/// `down 10.0 MiB/s, up 1.0 MiB/s`; `None` without a limit.
fn limits(in_force: &LimitsInForce) -> Option<String> {
    let all = in_force.limits;
    let known = [
        ("down", all.download_bytes_per_second),
        ("up", all.upload_bytes_per_second),
        ("up to a peer", all.upload_bytes_per_second_per_peer),
    ];
    let told: Vec<_> = known
        .into_iter()
        .filter(|(_, rate)| *rate > 0)
        .map(|(which, rate)| format!("{which} {}/s", human::bytes(rate)))
        .collect();
    (!told.is_empty()).then(|| told.join(", "))
}

/// An event. It names a download in the same way as the download's own line.
fn event(event: &Event, sessions: &[SnapshotStreamStatus]) -> Line<'static> {
    let peer = event.peer.as_deref().map(short).unwrap_or_default();
    let session = event.session.map(|session| named(session, sessions)).unwrap_or_default();
    let state = event.state.map(|state| state.as_str().replace('_', " ")).unwrap_or_default();
    let mut what = match event.event.as_str() {
        "state" => format!("{session} {state}"),
        "cancelled" => format!("{session} cancelled"),
        "peer_connected" => format!("connected to {peer}"),
        "peer_disconnected" => format!("lost {peer}"),
        "violation" => format!("{peer} broke the protocol"),
        "banned" => format!("{peer} is banned"),
        "ban_ended" => format!("the ban of {peer} has run out"),
        "ban_lifted" => format!("the ban of {peer} was lifted"),
        other => escape(other),
    };
    if let Some(reason) = &event.reason {
        what.push_str(": ");
        what.push_str(&escape(reason));
    }
    // The time of an RFC 3339 text.
    let time = escape(event.at.get(11..19).unwrap_or_default());
    Line::from(vec![Span::styled(format!(" {time} "), faint()), Span::raw(what)])
}

/// The name of a download when there is enough space.
fn name(status: &SnapshotStreamStatus) -> String {
    status.height.map_or_else(|| tail(status.session.get()), |height| format!("height {height}"))
}

/// The name of a session among these.
fn named(session: u64, sessions: &[SnapshotStreamStatus]) -> String {
    let known = sessions.iter().find(|status| status.session.get() == session);
    known.map_or_else(|| tail(session), name)
}

/// The end of a session's number, which is long and random.
fn tail(session: u64) -> String {
    let number = session.to_string();
    format!("#{}", number.get(number.len().saturating_sub(6)..).unwrap_or(&number))
}

/// The beginning and the end of an id.
fn short(id: &str) -> String {
    let id = escape(id);
    match (id.get(..6), id.len().checked_sub(6).and_then(|from| id.get(from..))) {
        (Some(head), Some(tail)) if id.len() > 16 => format!("{head}\u{2026}{tail}"),
        _ => id,
    }
}

/// The text on at most `lines` lines of at most `columns` columns. Text that is cut ends in three points.
fn wrapped(text: &str, columns: usize, lines: usize) -> Vec<String> {
    let wide = |text: &str| Span::raw(text.to_owned()).width();
    let mut out: Vec<String> = Vec::new();
    for word in text.split(' ') {
        let full = out.len() >= lines;
        match out.last_mut() {
            Some(last) if full || wide(last) + 1 + wide(word) <= columns => {
                last.push(' ');
                last.push_str(word);
            }
            _ => out.push(word.to_owned()),
        }
    }
    for line in out.iter_mut().filter(|line| wide(line) > columns) {
        while wide(line) + 1 > columns && line.pop().is_some() {}
        line.push('\u{2026}');
    }
    out
}

fn text(line: &Line<'_>) -> String {
    line.spans.iter().map(|span| span.content.as_ref()).collect()
}

fn faint() -> Style {
    Style::new().add_modifier(Modifier::DIM)
}

#[cfg(test)]
mod tests;
