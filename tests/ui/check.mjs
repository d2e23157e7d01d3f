// Looks at every page in a browser: both themes, wide and narrow. What is wrong goes to standard output as JSON.
//
// node check.mjs URL NAME PASSWORD [DIRECTORY FOR PICTURES]
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { open } from "./page.mjs";

const [base, name, password, pictures] = process.argv.slice(2);
const axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const { browser, page, problems, at, wrong, close } = await open();

async function look(path, theme, width) {
  at(`${path} ${theme} ${width}`);
  await page.setViewportSize({ width, height: width < 500 ? 844 : 900 });
  await page.emulateMedia({ colorScheme: theme });
  await page.goto(base + path, { waitUntil: "load" });
  const sideways = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  if (sideways > 0) wrong(`is ${sideways} px too wide`);
  // Run by the debugger, which no policy of a page holds back.
  const session = await browser.newCDPSession(page);
  const run = async (expression) => {
    const done = await session.send("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true });
    if (done.exceptionDetails) throw new Error(JSON.stringify(done.exceptionDetails));
    return done.result.value;
  };
  await run(axe);
  const found = await run("axe.run(document, { resultTypes: ['violations'] }).then(r => r.violations.map(v => ({ id: v.id, at: v.nodes.map(n => n.target.join(' ') + ' ' + n.failureSummary.slice(0, 300)) })))");
  for (const { id, at } of found) wrong(`axe ${id}: ${at.slice(0, 3).join(" | ")}`);
  await session.detach();
  if (pictures) {
    const file = `${path.replace(/[^a-z0-9-]+/gi, "_").slice(0, 60)}-${theme}-${width}.png`;
    await page.screenshot({ path: join(pictures, file), fullPage: true });
  }
}

at("signing in");
await page.goto(`${base}/ui/`, { waitUntil: "load" });
for (const theme of ["light", "dark"]) for (const width of [1280, 390]) await look("/ui/login", theme, width);
at("signing in");
await page.fill("#username", name);
await page.fill("#password", password);
await Promise.all([page.waitForURL("**/ui/usage"), page.click("button[type=submit]")]);
const paths = await page.$$eval(".places a", (links) => links.map((link) => link.getAttribute("href")));
const more = ["/ui/all-usage?by=user", "/ui/all-usage?by=day&span=30d", "/ui/all-usage?status=errors", "/ui/usage/calls"];
await page.goto(`${base}/ui/users`);
more.push(...(await page.$$eval("tbody th a", (links) => links.slice(0, 1).map((link) => link.getAttribute("href")))));
await page.goto(`${base}/ui/groups`);
more.push(...(await page.$$eval("tbody th a", (links) => links.slice(0, 1).map((link) => link.getAttribute("href")))));
await page.goto(`${base}/ui/all-usage`);
more.push(...(await page.$$eval("tbody th a", (links) => links.slice(0, 1).map((link) => link.getAttribute("href")))));
for (const path of [...paths, ...more]) {
  for (const theme of ["light", "dark"]) for (const width of [1280, 390]) await look(path, theme, width);
}
// What a page says of sums is what the API says; the caller compares.
at("sums");
await page.goto(`${base}/ui/overview?span=90d`);
const totals = {};
for (const id of ["cost", "tokens", "requests", "errors"]) totals[id] = await page.getAttribute(`#total-${id} data`, "value");
await close();
process.stdout.write(`${JSON.stringify({ paths: [...paths, ...more], problems, totals })}\n`);
