// Keys: the palette, moving about, and what a run's page has. Each has a link or a button beside it.
(() => {
  "use strict";
  const byId = (id) => document.getElementById(id);
  const root = document.documentElement;
  const palette = byId("palette");
  const words = byId("palette-words");
  const say = (text) => {
    const place = byId("announcer");
    if (place) place.textContent = text;
  };

  const copy = async (text, done) => {
    try {
      await navigator.clipboard.writeText(text);
      say(done);
    } catch {
      say(`This browser lets no page copy. Copy it by hand: ${text}`);
    }
  };

  // --- The palette: a dialog, which gives the focus back to where it was ---
  const openPalette = () => {
    if (!palette || palette.open) return;
    for (const other of document.querySelectorAll("dialog[open]")) other.close();
    palette.showModal();
    words.select();
    htmx.trigger(words, "palette");
  };
  const found = () => [...palette.querySelectorAll(".found a")];
  palette?.addEventListener("keydown", (event) => {
    const links = found();
    const at = links.indexOf(document.activeElement);
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      const next = at + (event.key === "ArrowDown" ? 1 : -1);
      (links[next] ?? (next < 0 ? words : links.at(-1)))?.focus();
    } else if (event.key === "Enter" && document.activeElement === words && links.length) {
      event.preventDefault();
      // What was found may be of a word less than what was typed since.
      if (!words.classList.contains("htmx-request")) location.assign(links[0].href);
    }
  });
  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-palette]") && palette) {
      event.preventDefault();
      openPalette();
    }
    if (event.target.closest("[data-keys]")) byId("keys")?.showModal();
    if (event.target === palette) palette.close();
  });
  for (const part of document.querySelectorAll("[data-keys]")) part.hidden = false;

  // --- The icon of the tab follows the run ---
  const icon = byId("icon");
  const follow = () => {
    const wanted = byId("run-head")?.dataset.icon;
    if (wanted && icon.getAttribute("href") !== wanted) icon.setAttribute("href", wanted);
  };
  document.addEventListener("htmx:afterSwap", follow);
  document.addEventListener("htmx:oobAfterSwap", follow);

  // --- What a page does, as a call of the API ---
  for (const button of document.querySelectorAll("[data-copies]")) button.hidden = false;
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copies]");
    if (button) copy(byId(button.dataset.copies).textContent, "The call is copied.");
  });

  // --- Rows and failures: the focus moves, so that Enter opens and readers follow ---
  const walk = (places, by) => {
    const seen = places.filter((place) => place.offsetParent !== null);
    if (!seen.length) return;
    const here = seen.findIndex((place) => place.contains(document.activeElement));
    const next = here < 0 ? (by > 0 ? 0 : seen.length - 1) : here + by;
    const place = seen[Math.min(Math.max(next, 0), seen.length - 1)];
    const target = place.matches("a, [tabindex]") ? place : place.querySelector("a, button");
    target?.focus();
    target?.scrollIntoView({ block: "nearest" });
  };
  const rows = () =>
    [...document.querySelectorAll("main tbody tr")].filter((row) => row.querySelector("a"));
  const failures = () => [
    ...document.querySelectorAll(
      "main .failure .box, main tbody tr:has(.pill.err), main a.node.err, main [data-failure]",
    ),
  ];

  // --- Single keys, which somebody may have switched off ---
  const go = { h: "account", j: "jobs", r: "runs", s: "schedule", p: "pulls", d: "docs" };
  const press = (selector) => {
    const part = document.querySelector(selector);
    if (part && !part.disabled) part.click();
  };
  const single = {
    "?": () => byId("keys")?.showModal(),
    "/": () => {
      const field = [...document.querySelectorAll("main input[type=search]")].find(
        (one) => one.offsetParent !== null,
      );
      if (field) field.focus();
      else openPalette();
    },
    j: () => walk(rows(), 1),
    k: () => walk(rows(), -1),
  };
  const ofRun = {
    n: () => walk(failures(), 1),
    p: () => walk(failures(), -1),
    f: () => press("[data-key-follow]"),
    "[": () => press("[data-older]"),
    "]": () => press("[data-newer]"),
    y: () => copy(location.href, "The link is copied."),
    r: () => press("#retry, #again"),
  };
  const isField = (part) => part.closest("input, select, textarea, [contenteditable]") !== null;

  let afterG = 0;
  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && !event.altKey && event.key.toLowerCase() === "k") {
      event.preventDefault();
      openPalette();
      return;
    }
    if (root.dataset.shortcuts === "off" || event.ctrlKey || event.metaKey || event.altKey) return;
    if (isField(event.target) || document.querySelector("dialog[open]")) return;
    const isRun = byId("run-head") !== null;
    let does = single[event.key] ?? (isRun ? ofRun[event.key] : undefined);
    if (Date.now() - afterG < 1500 && go[event.key]) {
      does = () => press(`.side a[data-go="${go[event.key]}"]`);
    } else if (isRun && /^[1-8]$/.test(event.key)) {
      does = () => document.querySelectorAll(".tabs a")[event.key - 1]?.click();
    }
    afterG = event.key === "g" ? Date.now() : 0;
    if (!does) return;
    event.preventDefault();
    does();
  });
})();
