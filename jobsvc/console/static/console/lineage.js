// Draws the list of nodes as a picture, from left to right. Without it the list is there.
(() => {
  "use strict";
  const picture = document.getElementById("lineage-picture");
  if (!picture || !window.dagre) return;
  const HEIGHT = 44;
  const LETTERS = 34; // of a name that fit; its title has them all
  const HANDLE = 30; // for what shows more around a node
  const ROUND = { source: 20, seed: 0, snapshot: 12, exposure: 20, metric: 12 }; // by type

  const make = (name, attributes = {}, text = "") => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text) made.textContent = text;
    return made;
  };
  const short = (name) => (name.length > LETTERS ? `${name.slice(0, LETTERS - 1)}…` : name);

  const read = () =>
    [...document.querySelectorAll("#lineage-list li[data-needs]")].map((item) => {
      const link = item.querySelector("[data-name]");
      const more = item.querySelector("[data-open]");
      return {
        key: item.id,
        needs: item.dataset.needs.split(" ").filter(Boolean).map((number) => `at-${number}`),
        tone: item.dataset.tone,
        corner: item.dataset.corner,
        name: link.textContent,
        title: link.title,
        href: link.getAttribute("href"),
        here: item.classList.contains("here"),
        kind: item.querySelector("[data-kind]").textContent,
        glyph: item.querySelector(".glyph")?.textContent ?? "",
        word: item.querySelector("[data-word]")?.textContent ?? "not in this run",
        tests: [...item.querySelectorAll("[data-tests] span")].map((one) => [
          one.textContent,
          one.className,
        ]),
        more: more && [more.textContent, more.getAttribute("href"), more.ariaLabel],
      };
    });

  const below = (node) => `${node.glyph} ${node.kind}`.trim();
  const told = (node) => node.tests.map(([words]) => words).join(" ");
  const ruler = document.createElement("canvas").getContext("2d");
  const family = getComputedStyle(document.body).fontFamily;
  const long = (words, font) => {
    ruler.font = `${font} ${family}`;
    return ruler.measureText(words).width;
  };
  const widthOf = (node) => {
    const second = long(`${below(node)}   ${told(node)}`, "bold 12px") + 12;
    return Math.ceil(Math.max(long(short(node.name), "600 13px"), second, 70)) + 24;
  };

  // Where each node's box is, and each line from the right side of one to the left of another.
  const place = (nodes) => {
    const graph = new dagre.graphlib.Graph();
    graph.setGraph({
      rankdir: "LR", ranker: "longest-path", nodesep: 14, ranksep: 44, marginx: 6, marginy: 6,
    });
    graph.setDefaultEdgeLabel(() => ({}));
    for (const node of nodes) {
      graph.setNode(node.key, { width: widthOf(node) + (node.more ? HANDLE : 0), height: HEIGHT });
    }
    for (const node of nodes) {
      for (const need of node.needs) if (graph.hasNode(need)) graph.setEdge(need, node.key);
    }
    dagre.layout(graph);
    const boxes = new Map();
    for (const node of nodes) {
      const { x, y, width } = graph.node(node.key);
      boxes.set(node.key, { x: x - width / 2, y: y - HEIGHT / 2, middle: y, wide: widthOf(node) });
    }
    const lines = graph.edges().map((edge) => {
      const [from, to] = [boxes.get(edge.v), boxes.get(edge.w)];
      const between = graph.edge(edge).points.slice(1, -1);
      return [{ x: from.x + from.wide, y: from.middle }, ...between, { x: to.x, y: to.middle }];
    });
    return { boxes, lines };
  };

  const curve = ([first, ...rest]) => {
    let path = `M${first.x} ${first.y}`;
    rest.forEach((point, index) => {
      const next = rest[index + 1];
      path += next
        ? ` Q${point.x} ${point.y} ${(point.x + next.x) / 2} ${(point.y + next.y) / 2}`
        : ` L${point.x} ${point.y}`;
    });
    return path;
  };

  // What of a node can change while a run goes on; the rest stands until another is drawn.
  const dress = (parts, node) => {
    const { link, title, kind, tests } = parts;
    link.setAttribute("class", `node ${node.tone}${node.here ? " here" : ""}`);
    link.setAttribute("href", node.href);
    const words = `${node.name}: ${node.word}, ${node.kind}${told(node) ? `, tests ${told(node)}` : ""}`;
    link.setAttribute("aria-label", words);
    title.textContent = `${node.title}\n${words}`;
    kind.textContent = below(node);
    tests.replaceChildren(
      ...node.tests.map(([words, tone], index) =>
        make("tspan", { class: tone, dx: index ? 5 : 0 }, words)),
    );
  };

  let drawn = "";
  let shown = new Map();
  const draw = () => {
    const nodes = read();
    picture.hidden = !nodes.length;
    document.getElementById("lineage-legend").hidden = !nodes.length;
    const shape = JSON.stringify(nodes.map((node) => [node.title, node.needs, node.more]));
    if (shape === drawn) {
      for (const node of nodes) dress(shown.get(node.key), node);
      return;
    }
    drawn = shape;
    shown = new Map();
    const { boxes, lines } = place(nodes);
    const ends = nodes.map((node) => {
      const { x, y, wide } = boxes.get(node.key);
      return { x: x + wide + HANDLE, y: y + HEIGHT };
    });
    const heights = [...ends, ...lines.flat()].map((point) => point.y);
    const top = Math.floor(Math.min(0, ...lines.flat().map((point) => point.y))) - 4;
    const width = Math.ceil(Math.max(0, ...ends.map((point) => point.x))) + 6;
    const height = Math.ceil(Math.max(0, ...heights)) + 6 - top;
    const svg = make("svg", {
      class: "lineage", role: "group", width, height, viewBox: `0 ${top} ${width} ${height}`,
      "aria-label": `${document.getElementById("lineage-list").dataset.words}, left to right`,
    });
    for (const line of lines) svg.append(make("path", { class: "edge", d: curve(line) }));
    for (const node of nodes) {
      const { x, y, wide } = boxes.get(node.key);
      const round = ROUND[node.corner] ?? 5;
      const parts = {
        link: make("a"),
        title: make("title"),
        kind: make("text", { class: "kind", x: x + 10, y: y + 35 }),
        tests: make("text", { class: "kind", x: x + wide - 10, y: y + 35, "text-anchor": "end" }),
      };
      parts.link.append(
        parts.title,
        make("rect", { x, y, width: wide, height: HEIGHT, rx: round }),
        make("text", { x: x + 10, y: y + 18 }, short(node.name)),
        parts.kind,
        parts.tests,
      );
      dress(parts, node);
      shown.set(node.key, parts);
      svg.append(parts.link);
      if (node.more) {
        const [words, href, label] = node.more;
        const more = make("a", { class: "more", href, "aria-label": label });
        more.append(
          make("title", {}, label),
          make("rect", { x: x + wide + 2, y: y + 10, width: HANDLE - 4, height: 24, rx: 12 }),
          make("text", { x: x + wide + HANDLE / 2, y: y + 26, "text-anchor": "middle" }, words),
        );
        svg.append(more);
      }
    }
    picture.replaceChildren(svg);
    const first = nodes.find((node) => node.here) ?? nodes.find((node) => node.tone.startsWith("err"));
    if (first) {
      const { x, y } = boxes.get(first.key);
      picture.scrollLeft = x - picture.clientWidth / 2;
      picture.scrollTop = y - top - picture.clientHeight / 2;
    }
  };

  // Beside the picture the list is for who asks for it; on a phone it is all there is.
  const text = () => document.getElementById("lineage-text");
  let open = !matchMedia("(min-width: 861px)").matches;
  const settle = () => {
    if (text()) text().open = open;
    draw();
  };
  document.addEventListener("htmx:beforeSwap", () => { open = text()?.open ?? open; });
  document.addEventListener("htmx:afterSwap", settle);
  settle();
})();
