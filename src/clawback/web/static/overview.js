// Keeps a page up to date: hears news, fetches the parts that they concern, and puts them in place without moving what
// the reader does: focus, open details, a selection and the place on the page stay. Everything it shows was rendered by
// the server; without it the page is the same, and is reloaded by hand.
"use strict";

(() => {
  const SOON_MS = 250; // news come in bursts
  const AGAIN_MS = 1500; // some news come just before what they tell of is stored
  const RETRY_MS = 15000;
  const TICK_MS = 5000;
  const SAY_EVERY_MS = 5000;

  const parts = [...document.querySelectorAll("[data-src]")].map((element) => ({
    element,
    on: new Set(element.dataset.on.split(" ")),
    event: element.dataset.event,
    html: null,
    timers: [],
    fetching: false,
    again: false,
  }));

  // --- times, in the words of words.py ---------------------------------------------------------------------------

  function about(seconds) {
    const whole = Math.floor(seconds);
    if (whole < 60) return `${whole} s`;
    if (whole < 3600) return `${Math.floor(whole / 60)} min`;
    if (whole < 2 * 86400) return `${Math.floor(whole / 3600)} h`;
    return `${Math.floor(whole / 86400)} days`;
  }

  // By the server's clock: a reader's may be wrong.
  const ahead = Date.now() - Date.parse(document.getElementById("live").dataset.now);

  function tick(root) {
    for (const time of root.querySelectorAll("time")) {
      const when = new Date(time.dateTime);
      const seconds = (Date.now() - ahead - when) / 1000;
      // What has just happened is a moment ahead where the page took a moment to come.
      const text = seconds > -2 && seconds < 1 ? "now" : seconds > 0 ? `${about(seconds)} ago` : `in ${about(-seconds)}`;
      if (time.textContent !== text) time.textContent = text;
      time.title = when.toLocaleString();
    }
  }

  // --- parts -----------------------------------------------------------------------------------------------------

  function refreshSoon(part) {
    if (part.timers.length === 0) {
      part.timers = [SOON_MS, AGAIN_MS].map((wait, place, waits) =>
        setTimeout(() => {
          if (place === waits.length - 1) part.timers = [];
          refresh(part);
        }, wait),
      );
    } else {
      part.again = true;
    }
  }

  async function refresh(part) {
    if (part.fetching) {
      part.again = true;
      return;
    }
    part.fetching = true;
    part.again = false;
    try {
      const answer = await fetch(part.element.dataset.src, { headers: { accept: "text/html" }, redirect: "manual" });
      if (answer.type === "opaqueredirect" || answer.status === 401) return location.reload();
      if (answer.ok) place(part, await answer.text());
    } catch {
      // The server is away; the stream says so, and everything is fetched when it is back.
    } finally {
      part.fetching = false;
      if (part.again && part.timers.length === 0) refreshSoon(part);
    }
  }

  function place(part, html) {
    if (html === part.html) return;
    const { element } = part;
    const selection = document.getSelection();
    if (selection && !selection.isCollapsed && element.contains(selection.anchorNode)) {
      // Somebody is copying something just now.
      document.addEventListener("selectionchange", () => refreshSoon(part), { once: true });
      return;
    }
    part.html = html;
    const focused = element.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    const open = [...element.querySelectorAll("details[open]")].map((each) => each.id);
    const fresh = document.createElement("template");
    fresh.innerHTML = html;
    for (const details of fresh.content.querySelectorAll("details")) details.open = open.includes(details.id);
    prepare(fresh.content);
    element.replaceChildren(fresh.content);
    if (focused) element.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
    say(element.querySelector("[data-say]")?.textContent);
  }

  function prepare(root) {
    tick(root);
    for (const button of root.querySelectorAll("[data-copy]")) button.hidden = false;
  }

  // --- what is said to those who cannot see it ---------------------------------------------------------------------

  const said = document.getElementById("said");
  let wanted = null;
  let saying = null;

  function say(text) {
    if (!text || text === wanted) return;
    wanted = text;
    saying ??= setTimeout(() => {
      said.textContent = wanted;
      saying = null;
    }, SAY_EVERY_MS);
  }

  document.addEventListener("click", async (click) => {
    const button = click.target.closest("[data-copy]");
    if (!button) return;
    const source = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(source.textContent);
      button.textContent = "Copied";
      said.textContent = "Copied";
      setTimeout(() => (button.textContent = "Copy"), 2000);
    } catch {
      document.getSelection().selectAllChildren(source); // no leave to copy: it is selected, the rest is a key
    }
  });

  // --- the stream --------------------------------------------------------------------------------------------------

  const live = document.getElementById("live");
  const state = document.getElementById("live-state");

  function show(name, text) {
    live.className = `live ${name}`;
    state.textContent = text;
  }

  function heard(news) {
    const all = news.type === "listening" || news.type === "missed";
    for (const part of parts) {
      if (all || (part.on.has(news.type) && (!part.event || part.event === news.eventId))) refreshSoon(part);
    }
  }

  let stream = null;
  let retry = null;

  function listen() {
    clearTimeout(retry);
    stream?.close();
    // Browsers have six connections for a site: pages that nobody looks at must not hold them.
    if (document.visibilityState === "hidden") return;
    stream = new EventSource(live.dataset.stream);
    stream.onopen = () => show("on", "Live");
    stream.onmessage = (message) => heard(JSON.parse(message.data));
    stream.onerror = () => {
      show("off", "Reconnecting");
      if (stream.readyState !== EventSource.CLOSED) return;
      // Refused: the visit is over, which fetching a part finds out, or too many look on.
      retry = setTimeout(() => {
        for (const part of parts) refresh(part);
        listen();
      }, RETRY_MS);
    };
  }

  document.addEventListener("visibilitychange", listen);
  addEventListener("pagehide", () => stream?.close());
  addEventListener("pageshow", (shown) => {
    if (shown.persisted) location.reload();
  });
  live.hidden = false;
  prepare(document);
  setInterval(() => tick(document), TICK_MS);
  listen();
})();
