// A service at work with a ticket system of its own, for the tests of its console.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";

/// A GitLab that makes issues, and refuses titles that have the word "refuse" for as long as `refuses` says so.
export const startDesk = async () => {
  const desk = { refuses: true, made: 0 };
  const server = createServer((request, response) => {
    let body = "";
    request.on("data", (part) => (body += part));
    request.on("end", () => {
      const answer = (status, json) => response.writeHead(status, { "Content-Type": "application/json" }).end(JSON.stringify(json));
      if (request.method === "GET") return answer(200, []);
      const title = JSON.parse(body || "{}").title ?? "";
      if (desk.refuses && title.includes("refuse")) return answer(422, { message: { title: ["is <b>refused</b> by the project's rule 17"] } });
      desk.made += 1;
      return answer(201, { id: desk.made, iid: desk.made, web_url: `${desk.url}/g/p/-/issues/${desk.made}`, title, labels: [] });
    });
  });
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  desk.url = `http://127.0.0.1:${server.address().port}`;
  desk.stop = () => server.close();
  return desk;
};

const config = (desk, tokens) => `
plugin_dirs = [${JSON.stringify(process.env.PLUGINS)}]
sandbox = "best-effort"
default_backend = "gitlab"
[backends.gitlab]
plugin = "gitlab"
endpoint = "${desk.url}"
secret = { token = "hunter2-secret" }
information = { project_namespace_and_name = "g/p" }
[backends.away]
plugin = "gitlab"
endpoint = "http://127.0.0.1:1"
secret = { token = "hunter2-secret" }
information = { project_namespace_and_name = "g/p" }
[queue]
path = "queue.db"
${tokens}
`;

export const TOKENS = `
[serve.tokens.wall]
token = "only-look"
scopes = ["read"]
[serve.tokens.noc]
token = "may-all"
scopes = ["create", "read", "admin"]
[serve.tokens.monitoring]
token = "only-file"
scopes = ["create"]
`;

/// A directory for a service, which is removed when the tests have ended.
export const makePlace = (desk, tokens) => {
  const place = mkdtempSync(join(tmpdir(), "ticket-host-console-"));
  writeFileSync(join(place, "config.toml"), config(desk, tokens), { mode: 0o600 });
  return { path: place, remove: () => rmSync(place, { recursive: true }) };
};

/// Starts the service and waits until it listens.
export const startService = async (place) => {
  const service = spawn(process.env.TICKET_HOST, ["--config", "config.toml", "serve", "--listen", "127.0.0.1:0"], { cwd: place.path });
  let log = "";
  service.stderr.on("data", (part) => (log += part));
  const url = await new Promise((listens, fails) => {
    let said = "";
    service.stdout.on("data", (part) => {
      const found = /(http:\S+)\n/.exec((said += part));
      if (found) listens(found[1]);
    });
    service.on("exit", () => fails(new Error(log)));
  });
  const stop = () => new Promise((stopped) => {
    service.on("exit", stopped);
    service.kill();
  });
  const file = async (incident, backend, wait = 10_000) => {
    const answer = await fetch(`${url}/v1/tickets`, {
      method: "POST",
      headers: { Authorization: "Bearer may-all", "Content-Type": "application/json" },
      body: JSON.stringify({ incident, backend, wait_ms: wait }),
    });
    return { status: answer.status, ...(await answer.json()) };
  };
  return { url, stop, file, log: () => log };
};
