// A page in a browser of its own, and whatever goes wrong on it; with `only`, what goes wrong on pages from there.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

export async function open(only = "") {
  const problems = [];
  const profile = await mkdtemp(join(tmpdir(), "sproxy-pages-"));
  const browser = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.SPROXY_CHROMIUM || "/usr/bin/chromium",
    headless: true,
    bypassCSP: false,
    args: [
      "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync",
    ],
  });
  const page = await browser.newPage();
  let where = "";
  const at = (place) => { where = place; };
  const wrong = (what) => problems.push(`${where}: ${what}`);
  page.on("console", (message) => {
    if (!message.location().url.startsWith(only)) return;
    if (["error", "warning"].includes(message.type()) && !/favicon/.test(message.text())) wrong(`console: ${message.text()}`);
  });
  page.on("pageerror", (error) => wrong(`script: ${error.message}`));
  page.on("response", (response) => {
    if (response.status() >= 400 && response.url().startsWith(only)) wrong(`${response.status()} ${response.url()}`);
  });
  const close = async () => {
    await browser.close();
    await rm(profile, { recursive: true, force: true });
  };
  return { browser, page, problems, at, wrong, close };
}
