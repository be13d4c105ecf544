// Takes the pictures of docs/ from made-up answers: tests/page/run.sh pictures.
import { launch, open, DESK, PHONE } from "./browser.mjs";

const folder = process.env.PICTURES;
const browser = await launch();
for (const [name, scheme, view] of [["page-light", "light", { ...DESK, height: 1180 }], ["page-dark", "dark", { ...DESK, height: 1180 }], ["page-phone", "light", PHONE]]) {
  const { page, answers } = await open(browser, { made: {}, scheme, view });
  // Simulates that the page was open for ten minutes.
  await page.evaluate(() => {
    for (const card of downloads.cards.values()) {
      const rate = card.status.verified_bytes_per_second;
      for (let k = 119; rate && k > 0; k--) {
        const wave = 1 + 0.25 * Math.sin(k / 9 + card.session) + 0.12 * Math.sin(k * 1.7 + card.session), begun = k > 100 ? 0.3 + (119 - k) / 28 : 1;
        card.history.buckets.set(Math.floor(Date.now() / BUCKET_MS) - k, [k > 52 && k < 58 ? 0 : rate * wave * begun, 1]);
      }
      card.history.buckets = new Map([...card.history.buckets].sort(([a], [b]) => a - b));
    }
  });
  answers.step();
  await page.evaluate(() => refresh());
  await page.evaluate(() => new Promise((done) => setTimeout(done, 700)));
  await page.screenshot({ path: `${folder}/${name}.png`, optimizeForSpeed: false });
  await page.close();
}
await browser.close();
