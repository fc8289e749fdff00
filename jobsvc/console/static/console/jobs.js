// The list does not refresh under an open menu, nor while jobs are chosen.
(() => {
  "use strict";
  const chosen = () => document.querySelectorAll('input[form="selected"]:checked').length;
  document.addEventListener("htmx:beforeRequest", (event) => {
    const list = event.detail.elt;
    if (list.id === "job-rows" && (chosen() || list.querySelector("details[open]"))) {
      event.preventDefault();
    }
  });
  document.addEventListener("change", (event) => {
    if (!event.target.matches('input[form="selected"]')) return;
    const number = chosen();
    document.getElementById("how-many").textContent =
      number ? `${number} chosen:` : "Chosen jobs:";
  });
})();
