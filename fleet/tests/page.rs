//! The page in a real browser. Prints `skipped` on a machine without Chromium.
//!
//! `RPP_FLEET_SCREENSHOTS=<folder>` keeps pictures (base64 of PNG).
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use common::{Fleet, PATIENCE, Process, browser::Browser, graph};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// Answers every request with the same graph.
fn answer_always(tasks: &mut JoinSet<()>, mut process: Process, graph: Value) {
    tasks.spawn(async move {
        while let Ok(length) = tokio::io::AsyncReadExt::read_u32(&mut process.stream).await {
            let mut frame = vec![0; length as usize];
            tokio::io::AsyncReadExt::read_exact(&mut process.stream, &mut frame).await.unwrap();
            let id = rpp_fleet::wire::decode_request(&frame).unwrap().snapshot_id;
            process.reply(id, graph.clone()).await;
        }
    });
}

async fn operator_and_provider(fleet: &Fleet, tasks: &mut JoinSet<()>) {
    let mut consumer = graph(
        &[("session:7", "Future"), ("request:r1", "Request"), ("timer:1", "Sleep")],
        &[
            ("session:7", "request:r1", "Needs"),
            ("request:r1", "response:r1", "Needs"),
            ("session:7", "timer:1", "Spawned"),
        ],
    );
    consumer["nodes"][0]["attrs_json"] = json!(r#"{"age_ms":65000,"bytes_durable":318767104}"#);
    consumer["edges"][0]["attrs_json"] = json!(r#"{"age_ms":65000}"#);
    consumer["nodes"][2]["label"] = json!("<img src=x onerror=\"window.pwned=1\"><script>window.pwned=1</script>");
    let provider = graph(
        &[("response:r1", "Response"), ("file:9", "FileOp"), ("l1", "Lock"), ("l2", "Lock")],
        &[
            ("response:r1", "file:9", "Needs"),
            ("l1", "l2", "Needs"),
            ("l2", "l1", "Needs"),
            ("file:9", "gone:1", "Touches"),
        ],
    );
    let consumer_process = fleet.connect().await.named("operator", 1);
    let provider_process = fleet.connect().await.named("provider", 2);
    answer_always(tasks, consumer_process, consumer);
    answer_always(tasks, provider_process, provider);
    fleet.until_connected(2).await;
}

fn url(fleet: &Fleet) -> String {
    format!("http://{}/", fleet.collector.http())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_is_taken_looked_at_and_filtered() {
    let fleet = Fleet::start().await;
    let mut tasks = JoinSet::new();
    operator_and_provider(&fleet, &mut tasks).await;
    let Some(mut page) = Browser::open(&url(&fleet)).await else { return };
    page.until("document.querySelector('#connected')?.textContent === '2 processes connected'").await;
    assert_eq!(page.eval("document.querySelector('#empty').hidden").await, false);

    page.click("#take").await;
    page.until("document.querySelector('#status').textContent.includes('2 of 2 answered')").await;
    assert_eq!(page.eval("document.querySelectorAll('#cuts li').length").await, 1);
    let processes = page
        .eval("[...document.querySelectorAll('#processes li')].map(li => li.innerText.split('\\n').join(' '))")
        .await;
    assert_eq!(processes, json!(["operator-1 responded", "provider-2 responded"]));
    assert_eq!(page.eval("document.querySelector('#shown').textContent").await, "7 of 7 nodes");
    assert!(
        page.eval("document.querySelector('#tab-waits').textContent").await.as_str().unwrap().contains("1 deadlocked")
    );
    page.screenshot("graph").await;

    // The chain over both processes, then highlighted in the graph.
    page.click("#tab-waits").await;
    let chain = page.eval("document.querySelector('#chains button').innerText").await;
    let chain = chain.as_str().unwrap();
    assert!(chain.starts_with("1 min 5 s") && chain.contains("label of file:9 @provider-2"), "{chain}");
    assert!(
        page.eval("document.querySelector('#deadlocks').innerText")
            .await
            .as_str()
            .unwrap()
            .contains("deadlock of 2 at l1")
    );
    page.screenshot("waits").await;
    page.click("#chains button").await;
    page.until("document.querySelector('#graph').fleet.view.chain?.edges.size === 3").await;
    assert_eq!(page.eval("document.querySelector('#graph').fleet.view.chain.nodes.size").await, 4);
    page.screenshot("chain").await;

    // A click on a node shows its attributes.
    let at = page.eval("document.querySelector('#graph').fleet.positionOf('session:7')").await;
    page.click_at(at).await;
    page.until("document.querySelector('#details').innerText.includes('bytes_durable')").await;
    let details = page.eval("document.querySelector('#details').innerText").await;
    assert!(
        details.as_str().unwrap().contains("318767104") && details.as_str().unwrap().contains("label of request:r1"),
        "{details}"
    );

    // Filters by kind and process, and a search.
    let click_text = |list: &str, text: &str| {
        format!("[...document.querySelectorAll('{list} button')].find(b => b.innerText.includes('{text}')).click()")
    };
    page.eval(&click_text("#kinds", "lock")).await;
    page.until("document.querySelector('#shown').textContent === '2 of 7 nodes'").await;
    page.eval("document.querySelector('#all-kinds').click()").await;
    page.eval(&click_text("#processes", "operator-1")).await;
    page.until("document.querySelector('#shown').textContent === '3 of 7 nodes'").await;
    page.eval("document.querySelector('#all-processes').click()").await;
    page.eval("(() => { const s = document.querySelector('#search'); s.value = 'FILE'; s.dispatchEvent(new Event('input')); })()").await;
    page.until("document.querySelector('#shown').textContent === '1 of 7 nodes'").await;
    page.eval(
        "(() => { const s = document.querySelector('#search'); s.value = ''; s.dispatchEvent(new Event('input')); })()",
    )
    .await;

    // What strangers name their things stays text.
    page.click("#tab-list").await;
    page.until("document.querySelector('#rows').innerText.includes('<img src=x')").await;
    page.eval("[...document.querySelectorAll('.row')].find(r => r.innerText.includes('<img')).click()").await;
    page.until("document.querySelector('#details h3').textContent.includes('<script>')").await;
    page.screenshot("list").await;
    assert_eq!(
        page.eval("window.pwned === undefined && document.querySelectorAll('main img').length === 0").await,
        true
    );
    assert!(page.complaints.is_empty(), "{:?}", page.complaints);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_nodes_are_shown_whole_and_listed_piece_by_piece() {
    let fleet = Fleet::start().await;
    let mut tasks = JoinSet::new();
    for process in 0..10 {
        let ids: Vec<String> = (0..500).map(|n| format!("n:{process}:{n}")).collect();
        let nodes: Vec<(&str, &str)> =
            ids.iter().enumerate().map(|(n, id)| (id.as_str(), ["Future", "Lock", "FileOp"][n % 3])).collect();
        let edges: Vec<(&str, &str, &str)> = (0..499)
            .map(|n| (ids[n].as_str(), ids[n + 1].as_str(), if n % 10 < 4 { "Needs" } else { "Touches" }))
            .collect();
        let connected = fleet.connect().await.named("many", process);
        answer_always(&mut tasks, connected, graph(&nodes, &edges));
    }
    fleet.until_connected(10).await;
    fleet.jump().await;
    let Some(mut page) = Browser::open(&url(&fleet)).await else { return };
    page.until("document.querySelector('#shown')?.textContent === '5000 of 5000 nodes'").await;
    page.until("document.querySelector('#graph').fleet.view.drawn > 0").await;
    page.screenshot("five-thousand").await;
    // A hundred frames of panning and zooming come and go.
    let frames = "new Promise(done => { const view = document.querySelector('#graph').fleet.view; let n = 0; \
        const step = () => { view.zoom(n % 2 ? 1.1 : 0.9, 600 + n, 400); if (++n < 100) requestAnimationFrame(step); else done(n); }; step(); })";
    let start = std::time::Instant::now();
    assert_eq!(page.eval(frames).await, 100);
    println!("100 frames of 5,000 nodes took {:?}", start.elapsed());
    page.click("#tab-list").await;
    page.until("document.querySelectorAll('.row').length > 0").await;
    assert!(page.eval("document.querySelectorAll('.row').length").await.as_u64().unwrap() < 200);
    page.eval("document.querySelector('#view-list').scrollTop = 1e9").await;
    page.until("document.querySelector('#rows').innerText.includes('many-9')").await;
    assert!(page.eval("document.querySelectorAll('.row').length").await.as_u64().unwrap() < 200);
    assert!(page.complaints.is_empty(), "{:?}", page.complaints);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_token_is_asked_for_and_both_themes_are_readable() {
    let token = "0123456789abcdef";
    let fleet = Fleet::start_with(|options| options.with_timeout(PATIENCE).with_token(Some(token.into()))).await;
    let Some(mut page) = Browser::open(&url(&fleet)).await else { return };
    page.until("document.querySelector('#login') && !document.querySelector('#login').hidden").await;
    page.eval(&format!("document.querySelector('#token').value = '{token}'")).await;
    page.click("#login button").await;
    page.until("document.querySelector('#connected').textContent === '0 processes connected'").await;
    assert_eq!(page.eval("document.querySelector('#login').hidden").await, true);
    page.click("#take").await;
    page.until("document.querySelector('#status').textContent.includes('no process is connected')").await;
    let contrast = "(() => { const light = c => { const [r, g, b] = c.match(/[\\d.]+/g).slice(0, 3) \
            .map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); \
            return 0.2126 * r + 0.7152 * g + 0.0722 * b; }; \
        const probe = document.createElement('i'); document.body.append(probe); \
        const value = name => { probe.style.color = 'var(--' + name + ')'; return light(getComputedStyle(probe).color); }; \
        const ratio = (a, b) => { const [x, y] = [value(a), value(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); }; \
        const all = {}; for (const name of ['text', 'faint', 'accent', 'needs', 'chain', 'ok', 'warn', 'bad']) \
            for (const ground of ['bg', 'panel', 'hover']) all[name + ' on ' + ground] = ratio(name, ground); \
        all['on-accent on accent'] = ratio('on-accent', 'accent'); probe.remove(); return all; })()";
    for theme in ["light", "dark"] {
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": theme}]});
        page.call("Emulation.setEmulatedMedia", media).await;
        page.until(&format!("matchMedia('(prefers-color-scheme: {theme})').matches")).await;
        page.screenshot(theme).await;
        for (pair, ratio) in page.eval(contrast).await.as_object().unwrap() {
            assert!(ratio.as_f64().unwrap() >= 4.5, "{theme}: {pair} is {ratio}");
        }
    }
}
