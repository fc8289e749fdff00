// What the pages of a run do beyond links and forms. Each is whole without it.
(() => {
  "use strict";

  // What only works with scripts is shown with them.
  const show = (root) => {
    for (const part of root.querySelectorAll("[data-needs-script]")) part.hidden = false;
  };
  show(document);

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const words = button.textContent;
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
      button.textContent = "Copied";
    } catch {
      button.textContent = button.dataset.copy;
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
    show(document);
  };
  document.addEventListener("htmx:afterSwap", reopen);
  document.addEventListener("htmx:oobAfterSwap", reopen);

  // A link to a line that is left out here asks for the part of the log that has it.
  const toLine = () => {
    const place = location.hash.match(/^#step-(\d{1,6})-L(\d{1,9})$/);
    if (!place || document.getElementById(location.hash.slice(1))) return;
    const asked = new URLSearchParams(location.search);
    const at = `${place[1]}-${place[2]}`;
    if (!document.getElementById("logs") || asked.get("at") === at) return;
    const next = new URLSearchParams({ at });
    if (asked.get("stream")) next.set("stream", asked.get("stream"));
    location.replace(`?${next}${location.hash}`);
  };
  toLine();
  addEventListener("hashchange", toLine);
})();
