// What the pages do beyond links and forms. Every page is whole without it.
(() => {
  "use strict";
  const byId = (id) => document.getElementById(id);

  // Old links of dbt Cloud's shape carry their address in the fragment.
  const old = location.hash.match(/^#\/accounts\/(\d+)\/projects\/(\d+)\/(runs|jobs)\/(\d+)/);
  if (old) location.replace(`/deploy/${old[1]}/projects/${old[2]}/${old[3]}/${old[4]}/`);

  // Dates in the zone of the viewer's profile, else the browser's; the title has the exact moment.
  const dates = (timeZone) =>
    new Intl.DateTimeFormat("sv", { dateStyle: "short", timeStyle: "short", timeZone });
  let shown = dates();
  try {
    shown = dates(document.documentElement.dataset.zone);
  } catch {
    // A zone that this browser does not know.
  }
  const style = document.documentElement.dataset.dates;
  if (style === "local") {
    const { timeZone } = shown.resolvedOptions();
    shown = new Intl.DateTimeFormat([], { dateStyle: "medium", timeStyle: "short", timeZone });
  }
  const which = style ? "time[data-time]" : 'time[data-time="far"]';
  const showLocalTimes = (root) => {
    for (const time of root.querySelectorAll(which)) {
      time.textContent = shown.format(new Date(time.dateTime));
    }
  };

  // A link to a question opens it as a dialog; the link itself is the way without scripts.
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-dialog]");
    const dialog = link && byId(link.dataset.dialog);
    if (dialog) {
      event.preventDefault();
      dialog.showModal();
    }
    const close = event.target.closest("dialog [data-close]");
    if (close) {
      event.preventDefault();
      close.closest("dialog").close();
    }
  });
  // Menus close at a click elsewhere and at Escape.
  const closeMenus = (except) => {
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      if (menu !== except) menu.open = false;
    }
  };
  document.addEventListener("click", (event) => closeMenus(event.target.closest("details.menu")));
  document.addEventListener("keydown", (event) => {
    const menu = event.key === "Escape" && document.querySelector("details.menu[open]");
    if (menu) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  });

  // Asking stops in hidden tabs, and slows down while the service does not answer.
  let failures = 0;
  let nextTry = 0;
  let lastGood = new Date();
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (document.hidden || Date.now() < nextTry) event.preventDefault();
  });
  document.addEventListener("htmx:afterRequest", (event) => {
    const trouble = byId("trouble");
    if (event.detail.successful) {
      failures = 0;
      nextTry = 0;
      lastGood = new Date();
      if (trouble) trouble.hidden = true;
      return;
    }
    failures += 1;
    nextTry = Date.now() + 1000 * Math.min(60, 2 ** failures);
    if (trouble && failures > 1) {
      trouble.textContent =
        `The service does not answer. Last updated ${lastGood.toLocaleTimeString()}; ` +
        "trying again by itself.";
      trouble.hidden = false;
    }
  });

  let announced = "";
  const announce = (aloud) => {
    const news = document.querySelector("[data-announce]")?.textContent.trim() ?? "";
    if (aloud && news && news !== announced) byId("announcer").textContent = news;
    announced = news;
  };
  document.addEventListener("htmx:afterSwap", () => {
    showLocalTimes(document);
    announce(true);
  });

  showLocalTimes(document);
  announce(false);
})();
