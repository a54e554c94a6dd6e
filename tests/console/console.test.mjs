// The console in a real browser: signing in, retrying failures, forged requests, many rows, accessibility.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { connect } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";
import { TOKENS, makePlace, startDesk, startService } from "./service.mjs";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
// Where pictures for the documentation go, if they are wanted.
const pictures = process.env.PICTURES;
const PAGES = ["/", "/tickets", "/tickets/1", "/tickets/3", "/failures", "/backends", "/plugins", "/config", "/audit"];

let desk, place, service, browser;

before(async () => {
  desk = await startDesk();
  place = makePlace(desk, TOKENS);
  service = await startService(place);
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM,
    args: [
      // As root it has no sandbox of its own. Nothing is asked of anybody else.
      "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync",
    ],
  });
  for (const [pk, description] of [[1, "gw1.example.org is down"], [2, "The link to Tromsø is lost"]]) {
    assert.equal((await service.file({ pk, description, source: { name: "nav" }, level: 2 })).status, 201);
  }
  for (const pk of [3, 4, 5]) {
    const description = pk === 3 ? "db1.example.org refuses connections" : `refuse ${pk} <img src=x onerror=alert(1)>`;
    assert.equal((await service.file({ pk, description, source: { name: "nav" } })).status, 403);
  }
  assert.equal((await service.file({ pk: 6, description: "gw6 is down", source: { name: "nav" } }, "away", 0)).status, 202);
});

after(async () => {
  await browser?.close();
  await service?.stop();
  desk?.stop();
  place?.remove();
});

/// A new browser, and what went wrong in it.
const visit = async (options = {}) => {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  const wrong = [];
  page.on("console", (said) => ["error", "warning"].includes(said.type()) && wrong.push(said.text()));
  page.on("pageerror", (error) => wrong.push(error.message));
  page.on("dialog", (dialog) => wrong.push(`a dialog: ${dialog.message()}`));
  page.on("request", (request) => request.url().startsWith(service.url) || wrong.push(`asked for ${request.url()}`));
  return { context, page, wrong };
};

const signIn = async (page, token, path = "/") => {
  await page.goto(service.url + path);
  await page.getByLabel("Token").fill(token);
  await sends(page, () => page.getByRole("button", { name: "Sign in" }).click());
};

/// Does something that leads to another page, and waits until that is there.
const sends = async (page, does) => {
  await Promise.all([page.waitForEvent("framenavigated"), does()]);
  await page.waitForLoadState();
};

/// The session's cookie and what forms send along, for requests that no browser makes.
const session = async (page, path = "/failures") => {
  const cookies = await page.context().cookies();
  await page.goto(service.url + path);
  const token = await page.locator("input[name=form_token]").first().inputValue();
  return { cookie: cookies.map(({ name, value }) => `${name}=${value}`).join("; "), token };
};

const send = (path, { cookie, fields = {}, headers = {} }) => fetch(service.url + path, {
  method: "POST",
  redirect: "manual",
  headers: { "Content-Type": "application/x-www-form-urlencoded", ...(cookie && { Cookie: cookie }), ...headers },
  body: new URLSearchParams(fields),
});

test("pictures for the documentation", { skip: !pictures && "PICTURES names no directory" }, async () => {
  mkdirSync(pictures, { recursive: true });
  const { page, context } = await visit({ viewport: { width: 1200, height: 800 } });
  await signIn(page, "may-all");
  for (const [name, path] of [["overview", "/"], ["failures", "/failures"], ["ticket", "/tickets/3"]]) {
    await page.goto(service.url + path);
    await page.screenshot({ path: join(pictures, `${name}.png`) });
  }
  await context.close();
});

/// What is answered to a request as it is written here: fetch() says itself which host it asks.
const raw = (request) => new Promise((answered, failed) => {
  let answer = "";
  const { hostname, port } = new URL(service.url);
  const socket = connect(port, hostname, () => socket.write(request));
  socket.on("data", (part) => (answer += part)).on("end", () => answered(answer)).on("error", failed);
});

test("who has no session is led to sign in, and then to the page that was asked for", async () => {
  const { page, context, wrong } = await visit();
  await signIn(page, "may-all", "/tickets?state=failed");
  assert.equal(page.url(), `${service.url}/tickets?state=failed`);
  const [cookie] = await context.cookies();
  assert.deepEqual([cookie.httpOnly, cookie.sameSite, cookie.secure], [true, "Strict", false]);
  await sends(page, () => page.getByRole("button", { name: "Sign out" }).click());
  assert.equal(page.url(), `${service.url}/login`);
  await page.goto(`${service.url}/tickets`);
  assert.match(page.url(), /\/login\?to=%2Ftickets$/);
  assert.deepEqual(wrong, []);
  await context.close();
});

test("an unknown token, and one that may not look, are refused in words", async () => {
  const { page, context } = await visit();
  for (const [token, words] of [["nonsense", "The token is unknown."], ["only-file", "it lacks the scope read"]]) {
    await signIn(page, token);
    assert.match(await page.getByRole("alert").innerText(), new RegExp(words));
    assert.deepEqual(await context.cookies(), []);
  }
  await context.close();
});

test("the token is asked for by plain HTTP on this machine alone, and elsewhere the cookie is for HTTPS", async () => {
  const fields = { token: "may-all", to: "/" };
  const unsafe = await send("/login", { fields, headers: { Origin: "http://noc1.example.org:8620" } });
  assert.equal(unsafe.status, 403);
  assert.match(await unsafe.text(), /came by plain HTTP from another machine/);
  assert.equal(unsafe.headers.get("set-cookie"), null);
  const safe = await send("/login", { fields, headers: { Origin: "https://tickets.example.org" } });
  assert.equal(safe.status, 303);
  assert.match(safe.headers.get("set-cookie"), /^__Host-ticket_host_\d+=\w+; Path=\/; HttpOnly; SameSite=Strict; Secure$/);
  // Nor is it asked for there.
  const asked = await raw("GET /login HTTP/1.1\r\nHost: noc1.example.org:8620\r\nConnection: close\r\n\r\n");
  assert.match(asked, /^HTTP\/1.1 403 /);
  assert.ok(!asked.includes("<form"), asked);
  const away = await send("/login", { fields: { ...fields, to: "//evil.example.org" } });
  assert.equal(away.headers.get("location"), "/");
});

test("who may only look sees everything and has no button, and is refused what he sends all the same", async () => {
  const { page, context } = await visit();
  await signIn(page, "only-look");
  for (const path of PAGES) {
    await page.goto(service.url + path);
    assert.equal(await page.locator("main form[method=post]").count(), 0, path);
  }
  const { cookie, token } = await session(page, "/");
  const refused = await send("/tickets/3/retry", { cookie, fields: { form_token: token } });
  assert.equal(refused.status, 403);
  assert.match(await refused.text(), /may only look/);
  assert.equal((await fetch(`${service.url}/tickets/3/preview`, { headers: { Cookie: cookie } })).status, 403);
  await context.close();
});

test("forged requests are refused, and nothing is done", async () => {
  const { page, context } = await visit();
  await signIn(page, "may-all");
  const { cookie, token } = await session(page);
  const fields = { form_token: token };
  for (const [why, request, status] of [
    ["no session", { fields }, 401],
    ["no token", { cookie }, 403],
    ["another token", { cookie, fields: { form_token: token.replace(/./, (c) => (c === "0" ? "1" : "0")) } }, 403],
    ["another site", { cookie, fields, headers: { "Sec-Fetch-Site": "cross-site" } }, 403],
    ["a neighbour", { cookie, fields, headers: { "Sec-Fetch-Site": "same-site" } }, 403],
    ["another type", { cookie, fields, headers: { "Content-Type": "text/plain" } }, 415],
    ["too large", { cookie, fields: { ...fields, text: "x".repeat(300_000) } }, 413],
    ["nothing of that name", { cookie, fields }, 404],
  ]) {
    const path = status === 404 ? "/tickets/3/nonsense" : "/tickets/3/cancel";
    const answer = await send(path, request);
    assert.equal(answer.status, status, why);
  }
  // What links to it from another site, or shows it in a frame, does nothing.
  assert.equal((await fetch(`${service.url}/tickets/3/cancel`, { headers: { Cookie: cookie } })).status, 405);
  const shown = await fetch(`${service.url}/tickets/3`, { headers: { Cookie: cookie } });
  assert.match(shown.headers.get("content-security-policy"), /frame-ancestors 'none'/);
  assert.equal(shown.headers.get("cache-control"), "no-store");
  assert.match(await shown.text(), /class="badge bad">failed</);
  await context.close();
});

test("who follows a link from another site is signed in as before", async () => {
  const { page, context } = await visit();
  await signIn(page, "may-all");
  await page.goto(`${desk.url}/`);
  await page.setContent(`<a href="${service.url}/tickets/3">ticket</a>`);
  await page.getByRole("link").click();
  await page.waitForURL(`${service.url}/tickets/3`);
  await page.getByRole("heading", { level: 1, name: "Ticket 3" }).waitFor();
  await context.close();
});

test("without a script all pages are read, and what failed is retried", async () => {
  const { page, context, wrong } = await visit({ javaScriptEnabled: false });
  await signIn(page, "may-all");
  for (const path of PAGES) {
    await page.goto(service.url + path);
    assert.equal(await page.locator("h1").count(), 1, path);
  }
  await page.goto(`${service.url}/tickets/3`);
  await page.getByRole("button", { name: "Retry now" }).click();
  await page.getByText("It is tried again.").waitFor();
  assert.deepEqual(wrong, []);
  await context.close();
});

test("no secret and no markup of others is in any page", async () => {
  const { page, context, wrong } = await visit();
  await signIn(page, "may-all");
  for (const path of [...PAGES, "/tickets/3/preview"]) {
    await page.goto(service.url + path);
    const html = await page.content();
    for (const secret of ["hunter2", "only-look", "only-file", "<img", "<b>"]) {
      assert.ok(!html.includes(secret), `${secret} in ${path}`);
    }
  }
  assert.deepEqual(wrong, []);
  await context.close();
});

test("failures are grouped by cause, retried together, and seen to become created", async () => {
  const { page, context, wrong } = await visit();
  await signIn(page, "may-all", "/failures");
  await page.getByRole("heading", { name: "gitlab: 3 tickets not made" }).waitFor();
  desk.refuses = false;
  await page.getByRole("button", { name: "Retry all 3" }).click();
  await page.getByText("They are tried again, one after the other.").waitFor();
  // The page renews itself.
  await page.getByText("Nothing failed that waits for a person.").waitFor({ timeout: 20_000 });
  await page.goto(`${service.url}/tickets/4`);
  await page.getByRole("heading", { level: 1, name: "Ticket 4 created" }).waitFor({ timeout: 20_000 });
  await page.goto(`${service.url}/audit`);
  assert.equal(await page.getByRole("row", { name: "noc console retry" }).count() >= 3, true);
  assert.deepEqual(wrong, []);
  await context.close();
});

test("a ticket is commented on, closed, cancelled and adopted, and the audit says by whom", async () => {
  const { page, context } = await visit();
  await signIn(page, "may-all", "/tickets/1");
  await page.getByLabel("Comment on the ticket").fill("The provider knows of it");
  await page.getByRole("button", { name: "Comment" }).click();
  await page.getByText("The comment is being written.").waitFor();
  await page.getByRole("button", { name: "Close" }).click();
  await page.getByText("The ticket is being closed.").waitFor();
  await page.goto(`${service.url}/tickets/6`);
  await page.getByRole("button", { name: "Cancel" }).click();
  await page.getByText("A person cancelled it.").waitFor();
  await page.getByLabel("made by hand").fill("javascript:alert(1)");
  await page.locator("form[action$=adopt]").evaluate((form) => { form.noValidate = true; });
  await page.getByRole("button", { name: "Adopt" }).click();
  await page.getByText("that is no URL of a ticket").waitFor();
  await page.goto(`${service.url}/tickets/6`);
  await page.getByLabel("made by hand").fill(`${desk.url}/g/p/-/issues/77`);
  await page.getByRole("button", { name: "Adopt" }).click();
  await page.getByText("The incident has that ticket now.").waitFor();
  const audit = execFileSync(process.env.TICKET_HOST, ["--config", "config.toml", "queue", "audit"], { cwd: place.path, encoding: "utf8" });
  for (const line of [
    "noc (console)  adopt ticket 6: ", "noc (console)  cancel ticket 6", "noc (console)  close ticket 1: Closed by hand.",
    "noc (console)  comment ticket 1: The provider knows of it", "noc (console)  sign in",
  ]) {
    assert.ok(audit.includes(line), `${line} in\n${audit}`);
  }
  await context.close();
});

test("a backend is checked now", async () => {
  const { page, context } = await visit();
  await signIn(page, "may-all", "/backends");
  await page.getByRole("button", { name: "Check now" }).first().click();
  await page.getByRole("heading", { name: "What away says now" }).waitFor();
  await page.locator(".bad").first().waitFor();
  await context.close();
});

test("a text is found in incidents, keys and URLs", async () => {
  const { page, context } = await visit();
  await signIn(page, "may-all", "/tickets");
  for (const [text, ids] of [["tromsø", ["2"]], ["issues/77", ["6"]], ["nav#1", ["1"]], ["nothing has this", []]]) {
    await page.getByLabel("text, key, number or URL").fill(text);
    await page.getByRole("button", { name: "Search" }).click();
    await page.waitForURL((url) => url.searchParams.get("q") === text);
    assert.deepEqual(await page.locator("tbody th").allInnerTexts(), ids, text);
  }
  await page.goto(`${service.url}/tickets?state=nonsense`);
  await page.getByText('there is no state "nonsense"').waitFor();
  await context.close();
});

test("a page that renews itself says when the service is away, and leaves alone what somebody writes", async () => {
  const { page, context } = await visit();
  await signIn(page, "may-all", "/tickets/1");
  await page.getByLabel("Comment on the ticket").fill("half a sen");
  await page.route("**/tickets/1", (route) => route.abort());
  await page.evaluate(() => document.activeElement.blur());
  await page.getByText("The service doesn't answer: what you see is old.").waitFor({ timeout: 20_000 });
  assert.equal(await page.getByLabel("Comment on the ticket").inputValue(), "half a sen");
  await page.unroute("**/tickets/1");
  await page.getByText("Renewed every 5 s.").waitFor({ timeout: 20_000 });
  assert.equal(await page.getByLabel("Comment on the ticket").inputValue(), "half a sen");
  await page.getByRole("button", { name: "Stop renewing" }).click();
  await page.getByText("Not renewed.").waitFor();
  await context.close();
});

test("axe finds nothing on any page, light, dark and on a phone", async () => {
  for (const [look, options] of [
    ["light", { colorScheme: "light", viewport: { width: 1280, height: 900 } }],
    ["dark", { colorScheme: "dark", viewport: { width: 1280, height: 900 } }],
    ["phone", { colorScheme: "dark", viewport: { width: 390, height: 800 } }],
  ]) {
    const { page, context } = await visit({ ...options, bypassCSP: true });
    for (const path of ["/login", ...PAGES, "/tickets/2/preview", "/tickets?state=nonsense"]) {
      if (path === PAGES[0]) await signIn(page, "may-all");
      await page.goto(service.url + path);
      await page.evaluate(axe);
      const { violations } = await page.evaluate(() => axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }));
      const told = violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(" ")}`);
      assert.deepEqual(told, [], `${look} ${path}`);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      assert.equal(wide, 0, `${look} ${path} is wider than its window`);
    }
    await context.close();
  }
});

test("the keyboard reaches the page, its links and its buttons", async () => {
  const { page, context } = await visit();
  await signIn(page, "may-all");
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to the page");
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement.id), "main");
  await page.goto(`${service.url}/backends`);
  const button = page.getByRole("button", { name: "Check now" }).first();
  for (let presses = 0; !(await button.evaluate((button) => button === document.activeElement)); presses += 1) {
    assert.ok(presses < 50, "the button is never reached");
    await page.keyboard.press("Tab");
  }
  assert.notEqual(await button.evaluate((button) => getComputedStyle(button).outlineStyle), "none");
  await context.close();
});

test("a token that is taken out of the config ends its sessions", async () => {
  const { page, context } = await visit();
  await signIn(page, "only-look");
  const file = join(place.path, "config.toml");
  const config = readFileSync(file, "utf8");
  writeFileSync(file, config.replace("only-look", "another"));
  // It is read within seconds, without anybody asking for it.
  await page.getByText("Your session has ended: load the page again to sign in.").waitFor({ timeout: 30_000 });
  await page.goto(`${service.url}/`);
  assert.match(page.url(), /\/login/);
  await signIn(page, "may-all", "/config");
  await page.getByRole("heading", { name: "What changed when" }).waitFor();
  writeFileSync(file, config);
  await context.close();
});

test("of a hundred thousand tickets each page is there at once", async () => {
  await service.stop();
  execFileSync("python3", [join(import.meta.dirname, "fill.py"), join(place.path, "queue.db"), "100000"]);
  service = await startService(place);
  const { page, context } = await visit();
  await signIn(page, "may-all");
  const slow = [];
  for (const path of ["/", "/tickets", "/tickets?state=failed", "/tickets?backend=gitlab&state=created", "/tickets?q=Troms%C3%B8", "/tickets?q=nothing+has+this", "/failures", "/tickets/50000", "/audit"]) {
    const paints = [];
    for (let turn = 0; turn < 5; turn += 1) {
      await page.goto(service.url + path, { waitUntil: "load" });
      paints.push(await page.evaluate(() => new Promise((painted) => {
        new PerformanceObserver((list) => painted(list.getEntries()[0].startTime)).observe({ type: "paint", buffered: true });
      })));
    }
    // What else the machine does now is no matter.
    const paint = Math.round(Math.min(...paints));
    console.log(`first paint of ${path}: ${paint} ms`);
    if (paint >= 200) slow.push(`${path}: ${paints}`);
  }
  assert.deepEqual(slow, []);
  await context.close();
});
