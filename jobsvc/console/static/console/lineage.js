// Draws the list of nodes as a picture, from left to right. Without it the list is there.
(() => {
  "use strict";
  const picture = document.getElementById("lineage-picture");
  if (!picture || !window.dagre) return;
  const HEIGHT = 44;
  const LETTERS = 34; // of a name that fit; its title has them all
  const LETTER = 7.2; // width of one, in pixels
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
  const widthOf = (node) => {
    const letters = Math.max(short(node.name).length, below(node).length + told(node).length + 2, 10);
    return Math.round(letters * LETTER + 20);
  };

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
    return graph;
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
    const graph = place(nodes);
    const { width, height } = graph.graph();
    const svg = make("svg", {
      class: "lineage", role: "group", width: Math.ceil(width), height: Math.ceil(height),
      viewBox: `0 0 ${Math.ceil(width)} ${Math.ceil(height)}`,
      "aria-label": `${document.getElementById("lineage-list").dataset.words}, left to right`,
    });
    for (const edge of graph.edges()) {
      svg.append(make("path", { class: "edge", d: curve(graph.edge(edge).points) }));
    }
    for (const node of nodes) {
      const at = graph.node(node.key);
      const wide = widthOf(node);
      const x = at.x - at.width / 2;
      const y = at.y - HEIGHT / 2;
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
      const at = graph.node(first.key);
      picture.scrollLeft = at.x - picture.clientWidth / 2;
      picture.scrollTop = at.y - picture.clientHeight / 2;
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
