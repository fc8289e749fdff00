// The picture of runs can be brushed: what is dragged over becomes the filter's since and until.
(() => {
  "use strict";
  const SHORTEST = 6; // pixels: less is a click
  let drag = null;

  const bars = (svg) => [...svg.querySelectorAll("a[data-at]")];
  const chosen = () => {
    const [from, to] = [drag.from, drag.to].sort((a, b) => a - b);
    return bars(drag.svg).filter((bar) => {
      const box = bar.getBoundingClientRect();
      const middle = box.left + box.width / 2;
      return from <= middle && middle <= to;
    });
  };
  const mark = () => {
    const picked = new Set(chosen());
    for (const bar of bars(drag.svg)) bar.classList.toggle("brushed", picked.has(bar));
  };
  const clear = () => {
    for (const bar of document.querySelectorAll(".brushed")) bar.classList.remove("brushed");
    drag = null;
  };

  document.addEventListener("pointerdown", (event) => {
    const svg = event.button === 0 && event.target.closest(".strip-of-runs .strip");
    if (svg) drag = { svg, from: event.clientX, to: event.clientX };
  });
  document.addEventListener("pointermove", (event) => {
    if (!drag) return;
    drag.to = event.clientX;
    if (Math.abs(drag.to - drag.from) > SHORTEST) mark();
  });
  document.addEventListener("pointerup", () => {
    if (!drag) return;
    const moments = chosen().map((bar) => bar.dataset.at).sort();
    const isBrush = Math.abs(drag.to - drag.from) > SHORTEST && moments.length > 0;
    clear();
    if (!isBrush) return;
    const asked = new URLSearchParams(location.search);
    asked.delete("before");
    asked.set("since", moments[0]);
    // The filter's end is not in it: one second more takes the last run in.
    const end = new Date(Date.parse(moments.at(-1)) + 1000).toISOString();
    asked.set("until", `${end.slice(0, 19)}Z`);
    location.assign(`?${asked}`);
  });
  document.addEventListener("pointercancel", clear);
  // A bar is a link: dragging is not to carry it away.
  document.addEventListener("dragstart", (event) => {
    if (event.target.closest?.(".strip-of-runs")) event.preventDefault();
  });
})();
