// A tab of a headless Chromium on the page of the node at RPP_URL.
import puppeteer from "puppeteer-core";
import { answers } from "./answers.mjs";

export const URL_ = process.env.RPP_URL, TOKEN = process.env.RPP_TOKEN;
export const DESK = { width: 1440, height: 900 };
export const PHONE = { width: 390, height: 844, deviceScaleFactor: 2, isMobile: true, hasTouch: true };
const BUILT_IN = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

export async function launch() {
  const { existsSync } = await import("node:fs");
  const executablePath = process.env.CHROMIUM || BUILT_IN.find((path) => existsSync(path));
  if (!executablePath) throw new Error("there is no chromium here: apt-get install chromium, or set CHROMIUM");
  return puppeteer.launch({ executablePath, args: ["--no-sandbox", "--disable-dev-shm-usage"] });
}

// Opens a tab. `made` says which made-up answers replace the node's (see answers.mjs); without it the node answers.
export async function open(browser, { made, scheme = "light", view = DESK, motion = "no-preference", bypass = false, enter = true } = {}) {
  const context = await browser.createBrowserContext(), page = await context.newPage();
  const tab = { page, complaints: [], asked: [], answers: made && answers(made) };
  page.on("pageerror", (error) => tab.complaints.push(error.message));
  // A node without a verified checkpoint answers 404 for its head, which the browser logs as an error.
  const expected = (message) => message.location().url?.endsWith("/p2p/head");
  page.on("console", (message) => { if (["error", "warn"].includes(message.type()) && !expected(message)) tab.complaints.push(message.text()); });
  page.on("request", (request) => tab.asked.push(request.url()));
  await page.setBypassCSP(bypass);
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }, { name: "prefers-reduced-motion", value: motion }]);
  await page.setViewport(view);
  if (made) {
    await page.setRequestInterception(true);
    page.on("request", (request) => {
      const answer = tab.answers[new URL(request.url()).pathname];
      if (!answer) return request.continue();
      return request.respond({ status: 200, contentType: "application/json", body: JSON.stringify(answer()) });
    });
  }
  await page.goto(URL_ + "/");
  if (enter) await login(page, TOKEN);
  if (enter && made) await page.waitForFunction((count) => document.querySelectorAll(".card").length === count, {}, made.downloads ?? 9);
  return tab;
}

export async function login(page, token) {
  await page.waitForSelector("#token", { visible: true });
  await page.evaluate(() => { document.querySelector("#token").value = ""; });
  await page.type("#token", token);
  await page.keyboard.press("Enter");
}

export const soon = (page, what, ...rest) => page.waitForFunction(what, { polling: 50, timeout: 20000 }, ...rest);

// Lets the page fetch and draw once more.
export async function round(tab) {
  tab.answers?.step();
  await tab.page.evaluate(() => refresh());
}
