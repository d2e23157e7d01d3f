// Signs in at the identity provider and out again, in a browser. What is wrong goes to standard output as JSON.
//
// node oidc.mjs URL NAME [DIRECTORY FOR PICTURES]
import { join } from "node:path";
import { open } from "./page.mjs";

const [base, name, pictures] = process.argv.slice(2);
const { page, problems, at, wrong, close } = await open(base);
const picture = async (file) => {
  if (pictures) await page.screenshot({ path: join(pictures, `oidc-${file}.png`), fullPage: true });
};

at("the way to the provider");
await page.goto(`${base}/ui/limits`);
await picture("door");
await page.click("text=Sign in with");
await page.fill("input[name=name]", name);
at("the way back");
await Promise.all([page.waitForURL("**/ui/limits"), page.click("button")]);
if (!(await page.textContent(".who")).includes(name)) wrong("somebody else is signed in");
await picture("in");
at("signing out");
await page.click("text=Sign out");
// The provider asks whether that is meant, and sends the browser back.
await page.waitForSelector("form#op\\.logoutForm", { state: "attached" });
await Promise.all([page.waitForURL((url) => url.search === "?done=signed-out"), page.click("button[name=logout]")]);
await picture("out");
await page.goto(`${base}/ui/usage`);
if (!page.url().includes("/ui/login")) wrong("somebody is signed in still");
await close();
console.log(JSON.stringify({ problems }));
