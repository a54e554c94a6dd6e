// Renews the page while somebody looks at it, and says when it can't. Without this the page is read as it is.
"use strict";
(() => {
  const main = document.querySelector("main[data-live]");
  if (!main) return;
  const state = document.getElementById("live-state");
  const toggle = document.getElementById("live-toggle");
  const every = Number(main.dataset.live) * 1000;
  // Beside a page that renews itself nobody knows what was done: the word for that stays out of the address that is asked.
  const address = new URL(location.href);
  address.searchParams.delete("done");
  let stopped = false;
  let asking = false;
  let failures = 0;
  const say = (text) => {
    if (state.textContent !== text) state.textContent = text;
  };
  // What somebody writes is left alone, and all of the page while something in it is selected.
  const isSelected = () => String(getSelection()) !== "";
  const isWritten = (node) =>
    node instanceof HTMLElement && node.matches("input, textarea, select") &&
    (node === document.activeElement || ("defaultValue" in node && node.value !== node.defaultValue));
  const beforeNodeMorphed = (node) => !isWritten(node);
  const renew = async () => {
    if (stopped || asking || document.hidden || isSelected()) return;
    asking = true;
    try {
      const signal = AbortSignal.timeout(20000);
      const answer = await fetch(address, { headers: { "X-Live": "1" }, redirect: "manual", cache: "no-store", signal });
      if (answer.type === "opaqueredirect") {
        stopped = true;
        say("Your session has ended: load the page again to sign in.");
        return;
      }
      if (!answer.ok) throw new Error(String(answer.status));
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (stopped || isSelected()) return;
      const open = [...main.querySelectorAll("details")].map((details) => details.open);
      Idiomorph.morph(main, page.querySelector("main").innerHTML, { morphStyle: "innerHTML", callbacks: { beforeNodeMorphed } });
      main.querySelectorAll("details").forEach((details, nth) => { details.open = open[nth] ?? details.open; });
      document.querySelector("footer time").replaceWith(page.querySelector("footer time"));
      failures = 0;
      say("Renewed every " + every / 1000 + " s.");
    } catch (error) {
      failures += 1;
      if (failures > 1) say("The service doesn't answer: what you see is old.");
    } finally {
      asking = false;
    }
  };
  toggle.addEventListener("click", () => {
    stopped = !stopped;
    toggle.textContent = stopped ? "Go on renewing" : "Stop renewing";
    say(stopped ? "Not renewed." : "");
    if (!stopped) renew();
  });
  document.getElementById("live").hidden = false;
  say("Renewed every " + every / 1000 + " s.");
  setInterval(renew, every);
  document.addEventListener("visibilitychange", renew);
})();
