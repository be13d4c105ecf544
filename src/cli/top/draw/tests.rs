use ratatui::{Terminal, backend::TestBackend};
use serde_json::json;

use super::*;

const PEER: &str = "12D3KooWGjLmW1BoGWE2fvTUrXVqXCvK8Yd2jGVHYiFDy5vQpQg6";

fn session(id: u64, state: &str, more: &serde_json::Value) -> serde_json::Value {
    let mut session = json!({
        "session": id, "peer": PEER, "state": state, "bytes_received": 0, "bytes_verified": 0, "bytes_durable": 0,
        "verified": false, "waiting_on": null, "error": null, "error_code": null, "payload_path": null,
        "started_at": "2026-11-28T08:00:00Z", "updated_at": "2026-11-28T08:00:00Z",
    });
    session.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    session
}

fn picture(sessions: Vec<serde_json::Value>) -> Picture {
    let identity = json!({
        "peer_id": PEER, "listen": [], "genesis": null, "publishers": [], "version": "0.1.0",
        "snapshots": [{ "root": "ab".repeat(32), "height": 1199, "bytes": 765_460_480_u64, "format": "raw" }],
    });
    let peers = json!([
        { "peer_id": PEER, "connected": true, "rtt_ms": 12.3, "agent": "rpp-node\u{1b}[31m/0.1.0",
          "bytes_received": 1_073_741_824, "bytes_sent": 1024 },
        { "peer_id": PEER, "connected": false, "rtt_ms": null, "agent": null },
    ]);
    let events = json!([
        { "at": "2026-11-28T08:00:01.000Z", "event": "peer_connected", "peer": PEER },
        { "at": "2026-11-28T08:00:02.000Z", "event": "state", "session": 7, "state": "failed", "reason": "a lie\u{202e}" },
    ]);
    let offers = json!([{ "root": "cd".repeat(32), "height": 1210, "step": 17, "bytes": 4_294_967_296_u64, "format": "tar",
        "peers": [PEER, PEER], "seen_at": "2026-11-28T08:00:01Z" }]);
    Picture {
        identity: serde_json::from_value(identity).unwrap(),
        head: None,
        trouble: None,
        sessions: serde_json::from_value(sessions.into()).unwrap(),
        peers: serde_json::from_value(peers).unwrap(),
        offers: serde_json::from_value(offers).unwrap(),
        bans: vec![],
        limits: LimitsInForce::default(),
        events: serde_json::from_value(events).unwrap(),
    }
}

fn streaming(id: u64) -> serde_json::Value {
    let flow = json!({
        "height": 1200, "total_bytes": 1_073_741_824, "bytes_durable": 483_183_820, "bytes_verified": 536_870_912,
        "bytes_received": 644_245_094, "verified_bytes_per_second": 104_857_600, "eta_seconds": 5.12,
        "waiting_on": { "what": "chunk", "index": 512, "since_ms": 14, "reason": "asked, not answered yet" },
    });
    session(id, "streaming", &flow)
}

fn failed(id: u64) -> serde_json::Value {
    let error =
        json!({ "height": 1201, "error": "chunk 3 does not match the root\u{1b}[2J", "error_code": "checksum" });
    session(id, "failed", &error)
}

fn drawn(view: &View, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| frame.render_widget(view, frame.area())).unwrap();
    let buffer = terminal.backend().buffer();
    let row = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    (0..height).map(row).collect()
}

fn shown(sessions: Vec<serde_json::Value>) -> View {
    let mut view = View::default();
    view.show(picture(sessions));
    view
}

#[test]
fn eighty_by_twenty_four_has_everything() {
    let rows = drawn(&shown(vec![streaming(7), failed(8)]), 80, 24);
    assert_eq!(rows[0], " rpp-node 0.1.0  12D3Ko\u{2026}vQpQg6  ready  100 MiB/s  serves 1");
    assert!(rows[2].ends_with('\u{2588}'), "the rate of now stands at the right: {rows:#?}");
    let bar = format!("{}\u{2593}{}", "\u{2588}".repeat(3), "\u{2591}".repeat(4));
    assert_eq!(rows[3], format!("\u{25b8} 1200      streaming   {bar}  50.0 %    1.0 GiB    100 MiB/s  5.1 s left"));
    let wide = &drawn(&shown(vec![streaming(7)]), 120, 24)[3];
    let bar =
        format!("{}{}{}{}", "\u{2588}".repeat(17), "\u{2593}".repeat(2), "\u{2592}".repeat(4), "\u{2591}".repeat(16));
    assert!(wide.starts_with(&format!("\u{25b8} height 1200      streaming   {bar}  50.0 %")), "{wide}");
    assert!(wide.ends_with("5.1 s left"), "{wide}");
    assert!(rows[4].contains("waits for chunk 512") && rows[4].contains("asked, not"), "{rows:#?}");
    let all = rows.join("\n");
    assert!(all.contains("chunk 3 does not match the root") && all.contains("failed"), "{all}");
    assert!(all.contains(" Peers (1)") && all.contains("12 ms in 1.0 GiB out 1.0 KiB"), "{all}");
    assert!(all.contains(" Recent events (2)") && all.contains("08:00:02 height 1200 failed: a"), "{all}");
    assert!(rows[23].contains("q ends"), "{rows:#?}");
    assert!(!all.contains('\u{1b}') && !all.contains('\u{202e}'), "text from outside is escaped");
}

#[test]
fn forty_by_twelve_keeps_what_matters() {
    let rows = drawn(&shown(vec![streaming(7), failed(8)]), 40, 12);
    assert_eq!(rows[0], " rpp-node 12D3Ko\u{2026}vQpQg6 ready 100 MiB/s");
    assert_eq!(rows[1], "\u{25b8} 1200   streaming    50.0 %   100 MiB/s");
    assert_eq!(rows[2].chars().filter(|cell| ('\u{2588}'..='\u{2593}').contains(cell)).count(), 37, "{rows:#?}");
    assert!(rows[3].starts_with("    from 12D3Ko\u{2026}vQpQg6: waits for"), "{rows:#?}");
    assert!(rows.iter().any(|row| row.starts_with("  1201   failed")), "{rows:#?}");
    assert!(rows[11].contains("q ends"), "{rows:#?}");
}

#[test]
fn the_chosen_download_is_always_in_sight() {
    let mut view = shown((1..=200).map(streaming).collect());
    for (width, height) in [(80, 24), (40, 12), (200, 60), (20, 5), (1, 1)] {
        for chosen in [0_u8, 1, 57, 199] {
            view.choose(isize::MIN);
            view.choose(chosen.into());
            let rows = drawn(&view, width, height);
            assert!(height < 5 || rows.iter().any(|row| row.starts_with('\u{25b8}')), "{chosen} {rows:#?}");
            let count = format!(" {}/200", u16::from(chosen) + 1);
            assert!(height < 12 || rows[usize::from(height) - 1].starts_with(&count), "{rows:#?}");
        }
    }
}

#[test]
fn who_was_chosen_stays_chosen() {
    let mut view = shown(vec![streaming(3), streaming(2), streaming(1)]);
    view.choose(1);
    assert_eq!(view.session(), Some(2));
    view.show(picture(vec![streaming(4), streaming(3), streaming(2)]));
    assert_eq!(view.session(), Some(2));
    view.show(picture(vec![streaming(4)]));
    assert_eq!(view.session(), Some(4));
    view.show(picture(vec![]));
    assert_eq!(view.session(), None);
}

#[test]
fn a_plain_picture_cuts_no_sentence_and_has_no_escapes() {
    let text = shown(vec![streaming(7), failed(8)]).plain(100);
    assert!(text.contains("asked, not answered yet") && text.contains("chunk 3 does not match the root"), "{text}");
    assert!(text.contains(&"ab".repeat(32)), "what it serves, by its whole root: {text}");
    assert!(text.contains("\n  height 1200      streaming"), "{text}");
    assert!(!text.chars().any(|one| one.is_control() && one != '\n'), "{text:?}");
    assert!(shown(vec![]).plain(100).contains("none: `rpp-node fetch` starts one"));
}

#[test]
fn the_chosen_download_and_the_plain_picture_have_a_line_for_each_source() {
    let sources = serde_json::to_value(source_table::tests::sample().sources).unwrap();
    let with = |id| {
        let mut status = streaming(id);
        status["sources"] = sources.clone();
        status
    };
    let view = shown(vec![with(7), with(8)]);
    let screen = drawn(&view, 140, 30);
    let of_mirror: Vec<_> = screen.iter().filter(|row| row.contains("asks for patience")).collect();
    assert_eq!(of_mirror.len(), 1, "those of the chosen one alone: {screen:#?}");
    assert!(screen.iter().any(|row| row.contains("from 3 sources")), "{screen:#?}");
    let plain = view.plain(140);
    assert_eq!(plain.matches("https://a-long-name-of-a-mirror.example/with/a/folder").count(), 2, "{plain}");
    assert!(!plain.contains('\u{202e}'), "{plain}");
}

#[test]
fn offers_bans_and_limits_are_shown_in_both_pictures() {
    let mut with = picture(vec![streaming(7)]);
    with.bans = serde_json::from_value(json!([{ "source": PEER, "kind": "peer", "since": "2026-11-28T08:00:00Z",
        "until": "2126-11-28T08:10:00Z", "count": 1, "evidence": [{ "at": "2026-11-28T08:00:00Z", "kind": "chunk",
        "reason": "chunk 3 does not verify\u{1b}[2J" }] }]))
    .unwrap();
    with.limits.limits.download_bytes_per_second = 10 << 20;
    let mut view = View::default();
    view.show(with);
    let plain = view.plain(100);
    let screen = drawn(&view, 160, 24).join("\n");
    for text in [plain, screen] {
        assert!(text.contains(" Offers (1)") && text.contains("4.0 GiB  cdcdcd"), "{text}");
        assert!(text.contains("from 2 peers") && text.contains(" Banned (1)"), "{text}");
        assert!(text.contains("left: chunk 3 does not verify") && !text.contains('\u{1b}'), "{text}");
        assert!(text.contains("down 10.0 MiB/s") && !text.contains("up to a peer"), "{text}");
    }
    assert!(!shown(vec![]).plain(100).contains("Banned"), "nobody is");
}

#[test]
fn a_complete_download_without_its_payload_is_not_at_work() {
    let done = json!({ "height": 1200, "total_bytes": 1_073_741_824, "verified": true });
    let mut view = shown(vec![session(7, "complete", &done)]);
    for text in [view.plain(100), drawn(&view, 140, 24).join("\n")] {
        assert!(text.contains("its payload was removed") && !text.contains("at work"), "{text}");
    }
    let mut there = done;
    there["payload_path"] = json!("/data/payload");
    view.show(picture(vec![session(7, "complete", &there)]));
    assert!(view.plain(100).contains("verified: /data/payload"), "{}", view.plain(100));
}

#[test]
fn what_the_operator_of_a_failed_download_can_do_is_shown() {
    let mut with_advice = failed(8);
    with_advice["waiting_on"] = json!({ "what": "operator", "since_ms": 14, "reason": "add another source\u{202e}" });
    let view = shown(vec![with_advice]);
    for text in [view.plain(100), drawn(&view, 140, 24).join("\n")] {
        assert!(text.contains("(checksum). add another source") && !text.contains('\u{202e}'), "{text}");
    }
}

#[test]
fn rates_are_kept_for_ten_minutes() {
    let mut view = View::default();
    for _ in 0..HISTORY + 5 {
        view.show(picture(vec![streaming(7)]));
    }
    assert_eq!(view.rates.len(), HISTORY);
}

#[test]
fn sentences_break_at_words_and_end_in_points() {
    assert_eq!(wrapped("one two three", 7, 3), ["one two", "three"]);
    assert_eq!(wrapped("one two three four", 7, 2), ["one two", "three \u{2026}"]);
    assert_eq!(wrapped("immeasurable", 5, 1), ["imme\u{2026}"]);
}

#[test]
fn what_is_complete_is_forgotten_and_not_dropped() {
    let mut complete = streaming(7);
    complete["state"] = json!("complete");
    let mut view = shown(vec![complete, failed(8)]);
    view.asking = view.session();
    assert_eq!((view.asking, view.complete(7), view.complete(8)), (Some(7), true, false));
    assert!(drawn(&view, 80, 24)[23].contains("forget height 1200? its payload stays"));
    view.asking = Some(8);
    assert!(drawn(&view, 80, 24)[23].contains("cancel height 1201 and drop what it has?"));
}
