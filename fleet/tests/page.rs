//! The page in a real browser. Prints `skipped` on a machine without Chromium.
//!
//! `RPP_FLEET_SCREENSHOTS=<folder>` keeps pictures (base64 of PNG).

use crate::common::{Fleet, PATIENCE, Process, browser::Browser, graph};
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

/// True if all nodes of the selected chain lie within the canvas.
const CHAIN_IN_SIGHT: &str = "(() => { const v = document.querySelector('#graph').fleet.view; \
    const r = v.canvas.getBoundingClientRect(); return [...v.chain.nodes].map(i => v.positionOf(i)) \
    .every(p => p.x > r.left && p.x < r.right && p.y > r.top && p.y < r.bottom); })()";

/// Edges that are drawn through a node other than their ends.
const HIDDEN_EDGES: &str = "(() => { const v = document.querySelector('#graph').fleet.view; let hidden = 0; \
    v.routes.forEach((way, e) => { for (let k = 0; k + 1 < way.length; k++) { \
        const [a, b] = [way[k], way[k + 1]], left = Math.min(a[0], b[0]), right = Math.max(a[0], b[0]); \
        const top = Math.min(a[1], b[1]), bottom = Math.max(a[1], b[1]); \
        v.places.forEach((p, n) => { \
            if ((n === v.edges[e].src && k === 0) || (n === v.edges[e].dst && k === way.length - 2)) return; \
            if (right > p.x && left < p.x + NODE_W && bottom > p.y && top < p.y + NODE_H) hidden++; }); } }); \
    return { relations: v.routes.length, nodes: v.places.length, hidden }; })()";

const PEER: &str = "12D3KooWQnzMtNsnCStALsiTWFN5v2n3BcZFPqGvuFEZ5v4xAbCd";

/// Three processes with 20 nodes each: one sends requests to the other two, which read from disk to answer.
fn sixty_nodes() -> [Value; 3] {
    let id = |word: &str, n: usize| format!("{word}:{n}");
    let mut asks = (vec![], vec![]);
    let mut provide = [(vec![], vec![]), (vec![], vec![])];
    for n in 0..16 {
        let (request, response, disk) = (id("request", n), id("response", n), id("disk", n));
        asks.0.push((request.clone(), "Request"));
        asks.1.push((id("session", n % 4), request.clone(), 1000 + n as u64));
        asks.1.push((request, response.clone(), 900 + n as u64));
        let (nodes, edges) = &mut provide[n % 2];
        nodes.push((response.clone(), "Response"));
        nodes.push((disk.clone(), "FileOp"));
        edges.push((response, disk, 50));
    }
    for n in 0..3 {
        asks.0.push((id("session", n), "Future"));
    }
    // An old session that waits only for a timer.
    asks.0.push((id("session", 3), "Future"));
    provide[0].0.push((format!("active-sessions:{PEER}"), "Semaphore"));
    for (process, (nodes, _)) in provide.iter_mut().enumerate() {
        while nodes.len() < 20 {
            nodes.push((format!("idle:{process}:{}", nodes.len()), "Lock"));
        }
    }
    let [one, two] = provide;
    [asks, one, two].map(|(nodes, edges)| {
        let nodes: Vec<Value> = nodes
            .iter()
            .map(|(id, kind)| json!({"id": id, "kind": kind, "label": format!("label of {id}"), "attrs_json": "{}"}))
            .collect();
        let edges: Vec<Value> = edges
            .iter()
            .map(|(src, dst, age)| json!({"src": src, "dst": dst, "kind": "Needs", "attrs_json": format!("{{\"age_ms\":{age}}}")}))
            .collect();
        json!({"process_name": "svc", "proc_key": "svc-1", "nodes": nodes, "edges": edges})
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_sees_who_waits_for_whom_and_what_changed() {
    let fleet = Fleet::start().await;
    let mut tasks = JoinSet::new();
    let [mut asks, one, two] = sixty_nodes();
    asks["nodes"][0]["label"] = json!(format!("chunk 0, asked of {PEER}"));
    asks["nodes"][1]["attrs_json"] = json!(r#"{"age_ms":7200000}"#);
    asks["nodes"][2]["label"] = json!("\u{202e}\u{5d0} <b>turned</b>");
    asks["nodes"][19] = json!({"id": "timer:1", "kind": "Sleep", "label": "retry", "attrs_json": "{}"});
    asks["nodes"].as_array_mut().unwrap().push(json!({"id": "session:3", "kind": "Future", "label": null}));
    let idle = json!({"src": "session:9", "dst": "timer:1", "kind": "Needs", "attrs_json": r#"{"age_ms":36000000}"#});
    asks["edges"].as_array_mut().unwrap().push(idle);
    asks["nodes"]
        .as_array_mut()
        .unwrap()
        .push(json!({"id": "session:9", "kind": "Future", "label": "waits for a try"}));
    // The first cut is earlier: two of the requests do not exist yet.
    let mut before = asks.clone();
    before["nodes"].as_array_mut().unwrap().remove(0);
    before["nodes"].as_array_mut().unwrap().remove(0);
    before["nodes"].as_array_mut().unwrap().push(json!({"id": "gone:1", "kind": "Lock", "label": "was here"}));
    let mut consumer = fleet.connect().await.named("consumer", 1);
    let mut first = fleet.connect().await.named("rpp-node-north", 1);
    let mut second = fleet.connect().await.named("rpp-node-south", 1);
    fleet.until_connected(3).await;
    fleet.cut(&mut [(&mut consumer, before), (&mut first, one.clone()), (&mut second, two.clone())]).await;
    for (process, graph) in [(consumer, asks), (first, one), (second, two)] {
        answer_always(&mut tasks, process, graph);
    }
    fleet.jump().await;
    let Some(mut page) = Browser::open(&url(&fleet)).await else { return };
    page.until("document.querySelector('#shown')?.textContent === '62 of 62 nodes'").await;

    // A request shows its peer by the name of the peer's process.
    let text = "document.querySelector('#graph').fleet.state.cut.nodes.find(n => n.id === 'request:0').text";
    assert_eq!(page.eval(text).await, "chunk 0, asked of rpp-node-north");
    let titles = "(() => { const v = document.querySelector('#graph').fleet.view; return v.boxes.map(b => v.title(b.key)).sort(); })()";
    assert_eq!(
        page.eval(titles).await,
        json!(["consumer \u{b7} asks 16", "rpp-node-north \u{b7} provides 8", "rpp-node-south \u{b7} provides 8"])
    );
    // No edge runs behind a node.
    let ways = page.eval(HIDDEN_EDGES).await;
    assert_eq!(ways, json!({"relations": 49, "nodes": 62, "hidden": 0}));
    page.screenshot("sixty").await;

    // The list of waits has one entry for each start of a chain. Idle nodes come last, however old they are.
    page.click("#tab-waits").await;
    let groups = "[...document.querySelectorAll('#chains > .group')].map(g => g.innerText.replace(/\\s+/g, ' '))";
    let groups = page.eval(groups).await;
    let groups: Vec<&str> = groups.as_array().unwrap().iter().map(|group| group.as_str().unwrap()).collect();
    assert_eq!(groups.len(), 5, "{groups:?}");
    assert!(groups[0].starts_with("1.0 s") && groups[0].contains("3 more from there"), "{groups:?}");
    assert!(groups[4].starts_with("10 h 0 min waits for a try"), "{groups:?}");
    page.click("#chains .more").await;
    assert_eq!(page.eval("document.querySelectorAll('#chains .group ol li').length").await, 3);
    page.screenshot("folded").await;

    // The list sorts by its header, the oldest first.
    page.click("#tab-list").await;
    page.click("[data-sort=age]").await;
    let head = "document.querySelector('[data-sort=age]').parentElement.getAttribute('aria-sort')";
    assert_eq!(page.eval(head).await, "descending");
    let row = page.eval("document.querySelector('.row').innerText.replace(/\\s+/g, ' ')").await;
    assert_eq!(row, "request label of request:1 2 h 0 min consumer");
    for _ in 0..2 {
        page.click("[data-sort=label]").await;
    }
    assert_eq!(page.eval(head).await, "none");
    // Right-to-left text from a stranger does not reorder the text beside it.
    let isolated = "[...document.querySelectorAll('.row bdi')].every(e => getComputedStyle(e).unicodeBidi === 'isolate') \
        && [...document.querySelectorAll('.row bdi')].some(e => e.textContent.includes('turned'))";
    assert_eq!(page.eval(isolated).await, true);

    // Two cuts compared.
    page.click("#tab-compare").await;
    page.eval("(() => { const s = document.querySelector('#against'); s.value = '1'; s.dispatchEvent(new Event('change')); })()").await;
    page.until("document.querySelector('#gone')").await;
    let counts = "['still', 'come', 'gone'].map(id => document.querySelector('#' + id + ' h3').textContent)";
    assert_eq!(page.eval(counts).await, json!(["Still waits for the same: 45", "New: 2", "Gone: 1"]));
    assert_eq!(page.eval("document.querySelector('#gone li').innerText.includes('was here')").await, true);
    page.screenshot("compare").await;

    // Arrow keys move between the tabs.
    page.eval("document.querySelector('#tab-compare').focus()").await;
    for (key, tab) in
        [("ArrowRight", "tab-graph"), ("ArrowLeft", "tab-compare"), ("Home", "tab-graph"), ("ArrowRight", "tab-list")]
    {
        page.call("Input.dispatchKeyEvent", json!({"type": "keyDown", "key": key})).await;
        page.until(&format!("document.activeElement.id === '{tab}' && document.activeElement.ariaSelected === 'true'"))
            .await;
    }
    assert_eq!(page.eval("document.querySelectorAll('[role=tab][tabindex=\"0\"]').length").await, 1);

    // On a phone the graph comes first, and nothing is wider than the screen.
    page.click("#tab-graph").await;
    let phone = json!({"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": true});
    page.call("Emulation.setDeviceMetricsOverride", phone).await;
    page.until("innerWidth === 390").await;
    let places = "(() => { const top = id => document.querySelector(id).getBoundingClientRect().top + scrollY; \
        return [top('#graph') < 300, top('#graph') < top('#side'), top('#graph') < top('#details'), \
        document.documentElement.scrollWidth <= 390]; })()";
    assert_eq!(page.eval(places).await, json!([true, true, true, true]));
    page.screenshot("phone").await;
    assert!(page.complaints.is_empty(), "{:?}", page.complaints);
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
        .eval("[...document.querySelectorAll('#processes li')].map(li => li.innerText.replace(/\\s+/g, ' '))")
        .await;
    assert_eq!(processes, json!(["operator responded asks 1", "provider responded provides 1"]));
    assert_eq!(page.eval("document.querySelector('#shown').textContent").await, "7 of 7 nodes");
    assert!(
        page.eval("document.querySelector('#tab-waits').textContent").await.as_str().unwrap().contains("1 deadlocked")
    );
    page.screenshot("graph").await;

    // The chain leads through both processes, and the graph highlights it.
    page.click("#tab-waits").await;
    let chain = page.eval("document.querySelector('#chains button').innerText").await;
    let chain = chain.as_str().unwrap();
    assert!(chain.starts_with("1 min 5 s") && chain.contains("label of file:9 @provider"), "{chain}");
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
    // The side panel lists the chain's steps, and the view shows all of its nodes.
    let steps = page.eval("[...document.querySelectorAll('#details .steps li')].map(li => li.innerText)").await;
    assert_eq!(steps.as_array().unwrap().len(), 4, "{steps}");
    assert!(steps[0].as_str().unwrap().contains("waits 1 min 5 s for"), "{steps}");
    assert_eq!(page.eval(CHAIN_IN_SIGHT).await, true);
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

    page.click("#clear").await;
    page.until("document.querySelector('#graph').fleet.state.chain === null").await;

    // Filters by kind and process, and a search.
    let click_text = |list: &str, text: &str| {
        format!("[...document.querySelectorAll('{list} button')].find(b => b.innerText.includes('{text}')).click()")
    };
    page.eval(&click_text("#kinds", "lock")).await;
    page.until("document.querySelector('#shown').textContent === '2 of 7 nodes'").await;
    page.eval("document.querySelector('#all-kinds').click()").await;
    page.eval(&click_text("#processes", "operator")).await;
    page.until("document.querySelector('#shown').textContent === '3 of 7 nodes'").await;
    // With a process selected, what it waits for in other processes stays as ghosts. Only its own waits are listed.
    let ghosts = "(() => { const v = document.querySelector('#graph').fleet.view; return [...v.ghosts].map(i => v.nodes[i].id); })()";
    assert_eq!(page.eval(ghosts).await, json!(["response:r1"]));
    assert_eq!(page.eval("document.querySelector('#deadlocks').children.length").await, 0);
    assert_eq!(page.eval("document.querySelector('#tab-waits').textContent").await, "Waits (1)");
    page.screenshot("ghosts").await;
    page.eval("document.querySelector('#all-processes').click()").await;
    page.eval("(() => { const s = document.querySelector('#search'); s.value = 'FILE'; s.dispatchEvent(new Event('input')); })()").await;
    page.until("document.querySelector('#shown').textContent === '1 of 7 nodes'").await;
    assert_eq!(page.eval("document.querySelector('#chains').innerText.includes('label of file:9')").await, true);
    assert_eq!(page.eval("document.querySelector('#deadlocks').children.length").await, 0);
    page.eval(
        "(() => { const s = document.querySelector('#search'); s.value = ''; s.dispatchEvent(new Event('input')); })()",
    )
    .await;

    // Names from strangers are shown as text, not as markup.
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
    // Pan and zoom for a hundred frames.
    let frames = "new Promise(done => { const view = document.querySelector('#graph').fleet.view; let n = 0; \
        const step = () => { view.zoom(n % 2 ? 1.1 : 0.9, 600 + n, 400); if (++n < 100) requestAnimationFrame(step); else done(n); }; step(); })";
    let start = std::time::Instant::now();
    assert_eq!(page.eval(frames).await, 100);
    println!("100 frames of 5,000 nodes took {:?}", start.elapsed());
    // In so large a graph a selected chain is shown alone, so that it can be read.
    page.click("#tab-waits").await;
    page.eval("document.querySelector('#chains .way').click()").await;
    page.until("document.querySelector('#graph').fleet.view.chain").await;
    assert_eq!(page.eval(CHAIN_IN_SIGHT).await, true);
    assert_eq!(page.eval("document.querySelector('#graph').fleet.view.view.scale >= 0.5").await, true);
    page.eval("document.querySelector('#clear').click()").await;
    page.click("#tab-list").await;
    page.until("document.querySelectorAll('.row').length > 0").await;
    assert!(page.eval("document.querySelectorAll('.row').length").await.as_u64().unwrap() < 200);
    page.eval("document.querySelector('#list-body').scrollTop = 1e9").await;
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
