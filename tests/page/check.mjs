// The node's page in a real browser: login, a real download that is cancelled, text like markup, the keyboard, 200 downloads,
// layout, accessibility. tests/page/run.sh starts the node and this.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { launch, open, login, round, soon, DESK, PHONE, TOKEN, URL_ } from "./browser.mjs";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const UNREACHABLE = "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
const OTHER = "/ip4/127.0.0.1/tcp/2/p2p/12D3KooWRfQwVxsApVe5E8yz79pjS8u3Ey1SU2DHQ5aNLCHUHVg5";
const ask = (method, path, body) => fetch(URL_ + path, { method, body: body && JSON.stringify(body),
  headers: { authorization: "Bearer " + TOKEN, ...(body ? { "content-type": "application/json" } : {}) } });

const checks = {
  async "the token is asked for, a wrong one is refused, a right one is kept for this tab alone"(browser) {
    const { page, asked, complaints } = await open(browser, { enter: false });
    await login(page, "not-the-token-of-this-node");
    await soon(page, () => document.querySelector("#login-error").textContent.includes("token is wrong"));
    complaints.length = 0; // a 401 is one
    await login(page, TOKEN);
    await soon(page, () => !document.querySelector("#page").hidden && document.querySelector("#health").textContent === "ready");
    assert.deepEqual(await page.evaluate(() => [localStorage.length, sessionStorage.length, document.cookie]), [0, 1, ""]);
    await page.reload();
    await soon(page, () => !document.querySelector("#page").hidden);
    await page.click("#leave");
    await soon(page, () => !document.querySelector("#login").hidden);
    assert.equal(await page.evaluate(() => sessionStorage.length), 0);
    assert.ok(asked.every((url) => url.startsWith(URL_ + "/") && !url.includes(TOKEN)), "asks nobody else, and no URL has the token");
    assert.deepEqual(complaints, []);
  },

  async "a real download is shown with what it waits for, and its buttons work"(browser) {
    const { session } = await (await ask("POST", "/p2p/snapshots", { peer: UNREACHABLE })).json();
    const { page, complaints } = await open(browser);
    await page.waitForSelector(`[data-session="${session}"]`);
    await soon(page, () => /Tries again in|Waits for a connection/.test(document.querySelector(".why").textContent));
    await soon(page, () => [...document.querySelectorAll(".buttons button")].some((button) => button.textContent === "Try now"));
    await page.click(".buttons .primary");
    await soon(page, () => document.querySelector("#said").textContent.includes("goes on"));
    await soon(page, () => document.querySelector("#events").textContent.includes("backs off"));
    const cancel = () => page.evaluate(() => [...document.querySelectorAll(".buttons button")].find((button) => button.textContent === "Cancel").click());
    await soon(page, () => [...document.querySelectorAll(".buttons button")].some((button) => button.textContent === "Cancel"));
    await cancel();
    await soon(page, () => document.querySelector(".question")?.textContent.includes("drop what it has fetched"));
    assert.equal((await ask("GET", "/p2p/snapshots/" + session)).status, 200, "asked first");
    await page.click(".buttons .danger");
    await soon(page, () => !document.querySelector(".card"));
    assert.equal((await ask("GET", "/p2p/snapshots/" + session)).status, 404);
    await soon(page, () => !document.querySelector("#none").hidden);
    assert.deepEqual(complaints, []);
  },

  async "sources are added to a real download and removed, and a mistake is said"(browser) {
    const { session } = await (await ask("POST", "/p2p/snapshots", { peer: UNREACHABLE })).json();
    const { page, complaints } = await open(browser), path = "/p2p/snapshots/" + session;
    const sources = async () => (await (await ask("GET", path)).json()).sources.map((one) => one.source);
    const press = async (label) => {
      await soon(page, (label) => [...document.querySelectorAll(".card button")].some((one) => (one.getAttribute("aria-label") || "").startsWith(label)), label);
      await page.evaluate((label) => [...document.querySelectorAll(".card button")].find((one) => (one.getAttribute("aria-label") || "").startsWith(label)).click(), label);
    };
    const add = async (text) => { await press("Add a source"); await page.keyboard.type(text); await page.keyboard.press("Enter"); };
    await page.waitForSelector(`[data-session="${session}"]`);
    await add("http//not-a-source");
    await soon(page, () => /peer/.test(document.querySelector("#said").textContent));
    complaints.length = 0; // a 400 is one
    assert.equal((await sources()).length, 1);
    await add(OTHER);
    await soon(page, () => document.querySelectorAll(".sources li").length === 2);
    assert.ok((await sources()).includes(OTHER.split("/").at(-1)));
    await add("http://127.0.0.1:1/snapshots");
    await soon(page, () => document.querySelectorAll(".sources li").length === 3);
    assert.ok((await sources()).includes("http://127.0.0.1:1/snapshots"));
    await press("Remove the source http:");
    await soon(page, () => document.querySelectorAll(".sources li").length === 2);
    assert.equal((await sources()).length, 2);
    await ask("DELETE", path);
    await soon(page, () => !document.querySelector(".card"));
    assert.deepEqual(complaints, []);
  },

  async "an offer is fetched by its button, from whoever has it, and what is here already is not"(browser) {
    const { page, complaints } = await open(browser, { made: {} }), posted = [];
    page.on("request", (request) => { if (request.method() === "POST") posted.push(JSON.parse(request.postData())); });
    const buttons = await page.evaluate(() => [...document.querySelectorAll("#offers button.small")].map((one) => [one.textContent, one.disabled]));
    assert.deepEqual(buttons, [["Fetch", false], ["here", true]]);
    await page.click("#offers button.small:not(:disabled)");
    await soon(page, () => document.querySelector("#said").textContent.includes("has begun"));
    assert.deepEqual(posted.map((body) => [Object.keys(body).join(), body.height, body.root.length]), [["root,height", 1210, 64]]);
    assert.deepEqual(complaints, []);
  },

  async "the limits are shown and changed, and what is being typed stays"(browser) {
    const limits = async () => { const { download_bytes_per_second: down, upload_bytes_per_second: up, persistent } = await (await ask("GET", "/p2p/limits")).json(); return [down, up, persistent]; };
    const { page, complaints } = await open(browser), value = (id) => page.evaluate((id) => document.querySelector(id).value, id);
    const write = async (id, text) => { await page.click(id, { count: 3 }); await page.type(id, text); };
    await soon(page, () => document.querySelector("#limit-download").value === "none");
    await write("#limit-download", "10 MiB");
    await page.evaluate(() => refresh());
    assert.equal(await value("#limit-download"), "10 MiB");
    await page.keyboard.press("Enter");
    await soon(page, () => document.querySelector("#said").textContent.includes("in force"));
    assert.deepEqual(await limits(), [10 * 2 ** 20, 0, false]);
    await soon(page, () => document.querySelector("#limits-kept").textContent.includes("until the node stops"));
    // Another one changes them: what nobody types follows.
    await ask("PATCH", "/p2p/limits", { download_bytes_per_second: 500000 });
    await soon(page, () => document.querySelector("#limit-download").value === "500000");
    await write("#limit-upload", "fast");
    await page.click("#limits button");
    await soon(page, () => document.querySelector("#limits-error").textContent.includes("Write a rate as"));
    assert.deepEqual(await limits(), [500000, 0, false]);
    await write("#limit-upload", "1GiB");
    await write("#limit-download", "0");
    await page.click("#limits-persist");
    await page.click("#limits button");
    await soon(page, () => document.querySelector("#said").textContent.includes("kept over a restart"));
    assert.deepEqual(await limits(), [0, 2 ** 30, true]);
    await soon(page, () => document.querySelector("#limit-download").value === "none" && !document.querySelector("#limits-persist").checked);
    await ask("PATCH", "/p2p/limits", { upload_bytes_per_second: 0, persist: true });
    assert.deepEqual(complaints, []);
  },

  async "text like markup is shown as text, by itself"(browser) {
    const { page, complaints } = await open(browser, { made: { markup: true } });
    assert.equal(await page.evaluate(() => window.changed), undefined);
    assert.equal(await page.evaluate(() => document.querySelectorAll("main img, main script, #bold").length), 0);
    const shown = await page.evaluate(() => ["#list", "#peers", "#events"].map((id) =>
      [...document.querySelectorAll(id + " bdi")].filter((one) => one.textContent.includes("<b id=bold>")).map((one) => getComputedStyle(one).unicodeBidi)));
    for (const list of shown) assert.ok(list.length > 0 && list.every((value) => value === "isolate"), JSON.stringify(shown));
    assert.deepEqual(complaints, []);
  },

  async "the button that helps most stands out, and a complete download's path is copied"(browser) {
    const { page, complaints } = await open(browser, { made: {} });
    const stands = await page.evaluate(() => [...document.querySelectorAll(".card .primary")].map((one) => one.getAttribute("aria-label")));
    assert.deepEqual(stands, ["Try now", "Add a source"].map((label, k) => stands.find((one) => one.startsWith(label + ": Height 120" + (k ? 5 : 2)))));
    await page.evaluate(() => [...document.querySelectorAll(".card button")].find((one) => one.textContent === "Copy path").click());
    await soon(page, () => /^The path( is copied|: \/var\/lib)/.test(document.querySelector("#said").textContent));
    assert.ok((await page.evaluate(() => document.querySelector("[data-session='4711'] .axis").textContent)).includes("peak"));
    assert.deepEqual(complaints, []);
  },

  async "an empty list says why, and what helps"(browser) {
    const { page, answers } = await open(browser, { made: { downloads: 0 } }), posted = [];
    page.on("request", (request) => { if (request.method() === "POST") posted.push(request.postData()); });
    const says = (text) => soon(page, (text) => document.querySelector("#none").textContent.includes(text), text);
    await says("take the newest");
    await page.click("#none button");
    await soon(page, () => document.querySelector("#said").textContent.includes("has begun"));
    assert.deepEqual(posted, ["{}"]);
    answers["/p2p/offers"] = () => [];
    await says("waits until one does");
    const identity = answers["/p2p/identity"]();
    answers["/p2p/identity"] = () => ({ ...identity, genesis: null });
    await says("[trust] genesis");
    assert.equal(await page.evaluate(() => document.querySelectorAll("#none button").length), 0);
  },

  async "text of others, however long, takes a few lines and no more"(browser) {
    for (const view of [DESK, PHONE]) {
      const { page } = await open(browser, { made: { long: true }, view });
      const high = await page.evaluate(() => [...document.querySelectorAll(".why, .sources li, .event, #bans li, #peers li")].map((one) => one.getBoundingClientRect().height));
      assert.ok(high.length > 15 && Math.max(...high) < 130, Math.max(...high) + " pixels high");
      await page.close();
    }
  },

  async "everything is reached and done with the keyboard"(browser) {
    const { page } = await open(browser, { made: {} });
    await page.reload(); // from the top
    await soon(page, () => document.querySelectorAll(".card").length === 9);
    const walked = [];
    for (let k = 0; k < 160; k++) {
      await page.keyboard.press("Tab");
      const [what, ring] = await page.evaluate(() => {
        const at = document.activeElement, style = getComputedStyle(at);
        return [at === document.body ? null : at.id || at.getAttribute("aria-label") || at.textContent, style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2];
      });
      if (what === null) break;
      assert.ok(ring, what + " shows no focus");
      walked.push(what);
    }
    for (const part of ["To the downloads", "leave", "Failed 1", "Cancel: Height 1200", "Add a source: Height 1200", "Remove the source", "Try now: Height 1202", "Resume: Height 1205", "Forget: Height 1206",
      "Copy Peer id", "serves", "Copy the root", "peers", "Lift the ban", "limit-download", "limits-persist", "Change", "events"]) {
      assert.ok(walked.some((what) => what.includes(part)), part + " is not among " + walked.join(", "));
    }
    const focused = () => page.evaluate(() => document.activeElement.textContent);
    await page.evaluate(() => document.querySelector("[aria-label^='Cancel: Height 1200']").focus());
    await page.keyboard.press("Enter");
    assert.equal(await focused(), "Keep it", "the harmless answer is the one at hand");
    await page.keyboard.press("Enter");
    assert.equal(await focused(), "Cancel");
    await page.keyboard.press("ArrowDown");
    assert.equal(await page.evaluate(() => document.activeElement.closest(".card").dataset.session), "4712");
    await page.keyboard.press("ArrowUp");
    assert.equal(await page.evaluate(() => document.activeElement.closest(".card").dataset.session), "4711");
  },

  async "200 downloads are shown and kept up to date quickly"(browser) {
    for (const view of [DESK, PHONE]) {
      const tab = await open(browser, { made: { downloads: 200 }, view });
      const { page } = tab;
      assert.equal(await page.evaluate(() => document.querySelectorAll(".card").length), 200);
      // Rounds in which every figure differs from the one before. The one in the middle counts: the machine may be busy.
      const rounds = Array.from({ length: 41 }, () => { tab.answers.step(); return tab.answers["/p2p/snapshots"](); });
      const took = await page.evaluate(async (rounds) => {
        clearTimeout(timer);
        round++;
        const took = [];
        for (const statuses of rounds) {
          const begun = performance.now();
          downloads.show(statuses, Date.now());
          document.body.offsetHeight;
          took.push(performance.now() - begun);
          await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
        }
        return took.sort((a, b) => a - b)[20];
      }, rounds);
      assert.ok(took < 50, took + " ms a round");
      // What is far from the screen lags some rounds behind, unless its state changes or somebody looks.
      const { eighth, changed, looked } = await page.evaluate(async (statuses) => {
        const share = (card) => card.share.textContent, last = downloads.cards.get(String(statuses[198].session)), other = downloads.cards.get(String(statuses[197].session));
        const whole = statuses.map((one) => ({ ...one, bytes_verified: Math.floor(one.total_bytes / 2), bytes_durable: Math.floor(one.total_bytes / 4) }));
        const failed = whole.map((one) => one.session === other.session ? { ...one, state: "failed", error: "gone", error_code: "network" } : one);
        downloads.show(failed, Date.now());
        const changed = other.state.textContent;
        last.element.scrollIntoView();
        for (let k = 0; k < 100 && share(last) !== "50.0\u00a0%"; k++) await new Promise((done) => requestAnimationFrame(done));
        const looked = share(last);
        for (let k = 0; k < 8; k++) downloads.show(whole, Date.now());
        return { changed, looked, eighth: whole.filter((one) => one.state === "streaming" && share(downloads.cards.get(String(one.session))) !== "50.0\u00a0%").length };
      }, rounds.at(-1));
      assert.deepEqual([eighth, changed, looked], [0, "failed", "50.0\u00a0%"]);
      await page.click("[data-filter=failed]");
      assert.equal(await page.evaluate(() => [...document.querySelectorAll(".card")].filter((card) => !card.hidden).length), 22);
      console.log(`   ${took.toFixed(1)} ms a round at ${view.width} pixels`);
      await page.close();
    }
  },

  async "nothing moves while figures change, and nothing is wider than the screen"(browser) {
    for (const view of [DESK, PHONE, { width: 320, height: 640, isMobile: true, hasTouch: true }]) {
      const tab = await open(browser, { made: {}, view });
      const { page } = tab;
      await round(tab);
      await page.evaluate(() => {
        window.moved = [];
        new PerformanceObserver((list) => { for (const entry of list.getEntries()) window.moved.push([entry.value, entry.sources.map((one) => one.node?.className || one.node?.nodeName)]); })
          .observe({ type: "layout-shift" });
      });
      for (let k = 0; k < 12; k++) {
        await round(tab);
        await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
      }
      assert.deepEqual(await page.evaluate(() => window.moved), [], view.width + " pixels wide");
      // A phone zooms out when the page is too wide, so compare with the device's own width.
      const wide = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth,
        ...[...document.querySelectorAll("main *")].filter((one) => !one.closest(".hidden, svg, .bar, .why, .who, .from > *")).map((one) => one.getBoundingClientRect().right)]);
      assert.ok(wide.every((right) => right <= view.width + 0.5), `${Math.max(...wide)} of ${view.width}`);
      await page.close();
    }
  },

  async "who wants no motion gets none"(browser) {
    const { page } = await open(browser, { made: {}, motion: "reduce" });
    assert.equal(await page.evaluate(() => getComputedStyle(document.querySelector(".bar span")).transitionDuration), "0s");
    const { page: other } = await open(browser, { made: {} });
    assert.notEqual(await other.evaluate(() => getComputedStyle(document.querySelector(".bar span")).transitionDuration), "0s");
  },

  async "axe finds nothing serious, light and dark, wide and narrow, in and out"(browser) {
    for (const scheme of ["light", "dark"]) {
      for (const view of [DESK, PHONE]) {
        for (const enter of [true, false]) {
          const { page } = await open(browser, { made: enter ? {} : undefined, scheme, view, enter, bypass: true });
          await page.evaluate(AXE);
          const { violations } = await page.evaluate(() => axe.run(document));
          const found = violations.map((one) => `${one.impact} ${one.id}: ${one.nodes.slice(0, 3).map((node) => node.target).join(" ")}`);
          assert.deepEqual(found.filter((text) => /^(serious|critical)/.test(text)), [], `${scheme} ${view.width}`);
          for (const text of found) console.log("   also", scheme, view.width, text);
          await page.close();
        }
      }
    }
  },
};

const browser = await launch();
let failed = 0, passed = 0;
for (const [name, check] of Object.entries(checks)) {
  try {
    await check(browser);
    passed++;
    console.log("ok: " + name);
  } catch (error) {
    failed++;
    console.log("FAILED: " + name + "\n" + error.stack);
  }
}
await browser.close();
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
