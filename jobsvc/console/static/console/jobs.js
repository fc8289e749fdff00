// The list does not refresh under an open menu.
document.addEventListener("htmx:beforeRequest", (event) => {
  if (event.detail.elt.id === "job-rows" && event.detail.elt.querySelector("details[open]")) {
    event.preventDefault();
  }
});
