// Buttons that copy a field. Without scripts the field is there to be copied by hand.
(() => {
  "use strict";
  for (const button of document.querySelectorAll("button[data-copy]")) {
    const field = document.getElementById(button.dataset.copy);
    button.hidden = false;
    button.addEventListener("click", async () => {
      field.select();
      try {
        await navigator.clipboard.writeText(field.value);
      } catch {
        document.execCommand("copy"); // a page that is not served over https
      }
      document.getElementById("announcer").textContent = "Copied.";
      button.textContent = "Copied";
    });
  }
})();
