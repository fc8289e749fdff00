// What the pages of a run do beyond links and forms. Each is whole without it.
(() => {
  "use strict";

  // What only works with scripts is shown with them.
  const unhide = (root) => {
    for (const part of root.querySelectorAll("[data-needs-script]")) part.hidden = false;
  };
  unhide(document);

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy], [data-copy-of]");
    if (!button) return;
    const words = button.textContent;
    const whole = document.getElementById(button.dataset.copyOf);
    try {
      await navigator.clipboard.writeText(whole?.textContent ?? button.dataset.copy);
      button.textContent = "Copied";
    } catch {
      // A page that is not served over https: what is selected can be copied by hand.
      if (whole) getSelection().selectAllChildren(whole);
      else button.textContent = button.dataset.copy;
    }
    setTimeout(() => { button.textContent = words; }, 4000);
  });

  // A refresh leaves open what was open.
  let opened = [];
  document.addEventListener("htmx:beforeSwap", () => {
    opened = [...document.querySelectorAll("main details[open][id]")].map((one) => one.id);
  });
  const reopen = () => {
    for (const id of opened) {
      const part = document.getElementById(id);
      if (part) part.open = true;
    }
    unhide(document);
  };
  document.addEventListener("htmx:afterSwap", reopen);
  document.addEventListener("htmx:oobAfterSwap", reopen);

  // A log that grows stays at its end until the reader scrolls up; a button counts what is new.
  let following = true;
  let seen = 0;
  const growing = () => document.querySelector("#log[data-live], .lines[data-live]");
  const linesOf = (log) =>
    log.id === "log" ? log.textContent.split("\n").length - 1 : log.querySelectorAll(".line").length;
  const isAtEnd = (log) => log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  const follow = (wanted) => {
    const log = growing();
    following = wanted;
    if (!log) return;
    if (following) log.scrollTop = log.scrollHeight;
    if (following || !seen) seen = linesOf(log);
    const button = document.querySelector(`[data-follow="${log.id}"]`);
    const chip = document.querySelector(`[data-unseen="${log.id}"]`);
    button?.setAttribute("aria-pressed", String(following));
    const more = linesOf(log) - seen;
    if (chip) {
      chip.hidden = following || more < 1;
      chip.textContent = `↓ ${more} new line${more === 1 ? "" : "s"}`;
    }
  };
  document.addEventListener("scroll", (event) => {
    if (event.target !== growing()) return;
    const atEnd = isAtEnd(event.target);
    if (atEnd !== following) follow(atEnd);
  }, true);
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-follow]");
    if (button) follow(button.getAttribute("aria-pressed") !== "true");
    if (event.target.closest("[data-unseen]")) follow(true);
  });
  // Who reads further up is not led on to the next step.
  document.addEventListener("htmx:beforeRequest", (event) => {
    const goesOn = event.target.matches?.(".tail") && event.detail.target.id === "logs";
    if (goesOn && !following) event.preventDefault();
  });
  document.addEventListener("htmx:afterSwap", () => follow(following));
  const panel = document.getElementById("log");
  if (panel && !growing()) panel.scrollTop = panel.scrollHeight;
  if (!location.hash) follow(true);

  // #step-5-L120 is one line, #step-5-L120-L131 all from the first to the last.
  const asRange = (hash) => hash.match(/^#step-(\d{1,6})-L(\d{1,9})(?:-L(\d{1,9}))?$/);
  const show = (place) => {
    for (const line of document.querySelectorAll(".line.picked")) line.classList.remove("picked");
    if (!place?.[3]) return;
    const [from, to] = [+place[2], +place[3]].sort((a, b) => a - b);
    for (let number = from; number <= to; number += 1) {
      const line = document.getElementById(`step-${place[1]}-L${number}`);
      if (line) line.classList.add("picked");
      else if (number - from > 5000) break;
    }
  };
  const pick = (step, from, to) => {
    const [first, last] = [from, to].sort((a, b) => a - b);
    const hash = first === last ? `#step-${step}-L${first}` : `#step-${step}-L${first}-L${last}`;
    history.replaceState(null, "", hash);
    show(asRange(hash));
    document.getElementById("announcer").textContent =
      first === last ? `Line ${first}` : `Lines ${first} to ${last}`;
  };
  const placeOf = (element) => asRange(`#${element?.closest?.(".line[id]")?.id ?? ""}`);
  document.addEventListener("click", (event) => {
    const place = event.target.matches(".line > a") && placeOf(event.target);
    const before = asRange(location.hash);
    if (!place || !event.shiftKey || before?.[1] !== place[1]) return;
    event.preventDefault();
    pick(place[1], +before[2], +place[2]);
  });
  document.addEventListener("mouseup", () => {
    const chosen = document.getSelection();
    if (chosen.isCollapsed) return;
    const element = (node) => (node?.nodeType === Node.TEXT_NODE ? node.parentElement : node);
    const [from, to] = [placeOf(element(chosen.anchorNode)), placeOf(element(chosen.focusNode))];
    if (from && to && from[1] === to[1] && from[2] !== to[2]) pick(from[1], +from[2], +to[2]);
  });

  // A link to a line that is left out here asks for the part of the log that has it.
  const toLine = () => {
    const place = asRange(location.hash);
    const first = place && document.getElementById(`step-${place[1]}-L${place[2]}`);
    show(place);
    if (first && place[3]) first.scrollIntoView({ block: "center" });
    if (!place || first || !document.getElementById("logs")) return;
    const asked = new URLSearchParams(location.search);
    const at = `${place[1]}-${place[2]}`;
    if (asked.get("at") === at) return;
    const next = new URLSearchParams({ at });
    for (const name of ["stream", "wrap"]) if (asked.get(name)) next.set(name, asked.get(name));
    location.replace(`?${next}${location.hash}`);
  };
  toLine();
  addEventListener("hashchange", toLine);
})();
