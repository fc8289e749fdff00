// The job editor made quick: lines of commands move at once, and unsaved work is not lost.
// Every button here is a submit button that does the same on the server.
(() => {
  "use strict";
  const form = document.getElementById("editor");
  const steps = document.getElementById("steps");
  if (!form || !steps) return;
  form.classList.add("scripted");

  const lines = () => [...steps.querySelectorAll(".step")];
  const field = (line) => line.querySelector('input[name="step"]');
  const number = () => {
    lines().forEach((line, place) => {
      const said = line.querySelector(".said");
      said.id = `said-${place + 1}`;
      field(line).id = `step-${place + 1}`;
      field(line).setAttribute("aria-describedby", said.id);
      const label = line.querySelector("label");
      label.htmlFor = `step-${place + 1}`;
      label.textContent = `Command ${place + 1}`;
      for (const button of line.querySelectorAll("button")) {
        button.value = button.value.replace(/:\d+/, `:${place}`);
      }
      for (const named of line.querySelectorAll("[aria-label]")) {
        const words = named.getAttribute("aria-label");
        named.setAttribute("aria-label", words.replace(/\d+/, place + 1));
      }
    });
  };
  const another = (line, command) => {
    const made = line.cloneNode(true);
    const theirs = [...line.querySelectorAll("input, select")];
    [...made.querySelectorAll("input, select")].forEach((own, place) => {
      const first = own.tagName === "SELECT" ? own.options[0].value : "";
      own.value = command ? theirs[place].value : first;
    });
    field(made).value = command;
    field(made).removeAttribute("aria-invalid");
    made.querySelector('[name="step_was"]').value = "";
    made.querySelector(".said").replaceChildren();
    made.querySelector(".rules").open = Boolean(command) && line.querySelector(".rules").open;
    return made;
  };
  const edit = (verb, line) => {
    let there = line;
    if (verb === "add") {
      there = another(lines().at(-1), "");
      steps.append(there);
    } else if (verb === "duplicate") {
      there = another(line, field(line).value);
      line.after(there);
    } else if (verb === "up") line.previousElementSibling?.before(line);
    else if (verb === "down") line.nextElementSibling?.after(line);
    else if (lines().length === 1) field(line).value = "";
    else {
      there = line.nextElementSibling ?? line.previousElementSibling;
      line.remove();
    }
    number();
    if (verb === "up" || verb === "down") there.querySelector(`button[value^="${verb}"]`).focus();
    else field(there).focus();
    steps.dispatchEvent(new Event("change", { bubbles: true }));
  };

  form.addEventListener("click", (event) => {
    const button = event.target.closest('button[name="edit"]');
    const verb = button?.value.split(":")[0];
    if (!button || verb === "look") return;
    event.preventDefault();
    edit(verb, button.closest(".step"));
  });
  steps.addEventListener("keydown", (event) => {
    const line = event.target.closest(".step");
    const verb = { ArrowUp: "up", ArrowDown: "down" }[event.key];
    if (!event.altKey || !verb || !line) return;
    event.preventDefault();
    edit(verb, line);
    field(line).focus();
  });
  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key === "s") {
      event.preventDefault();
      form.requestSubmit(document.getElementById("save"));
    }
  });

  // Unsaved changes ask before one leaves.
  let dirty = Boolean(document.getElementById("problems") || document.getElementById("changed"));
  form.addEventListener("input", () => { dirty = true; });
  form.addEventListener("change", () => { dirty = true; });
  form.addEventListener("submit", () => { dirty = false; });
  window.addEventListener("beforeunload", (event) => {
    if (dirty) event.preventDefault();
  });
})();
