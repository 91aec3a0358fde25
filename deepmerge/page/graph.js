// The drawing: layers as boxes that keep their element from stage to stage, so that they move instead of jumping.
const SVG = "http://www.w3.org/2000/svg";
const NEW = 1, GOING = 2;
const MARGIN = 14;
const LEAST = 0.2; // the scale at which boxes can still be distinguished
const still = matchMedia("(prefers-reduced-motion: reduce)");

function svg(tag, attributes, parent) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (parent) parent.append(made);
  return made;
}

class Drawing {
  constructor(data, view, onSelect) {
    this.data = data;
    this.view = view;
    this.onSelect = onSelect;
    this.zoom = 0;
    this.boxes = new Map(); // id of a layer's name → its element and what it shows
    this.chosen = null;
    this.root = svg("svg", { role: "listbox", "aria-label": "Layers of the network, from the input down", tabindex: "0" }, view);
    this.bands = svg("g", {}, this.root);
    this.edges = svg("g", {}, this.root);
    this.nodes = svg("g", {}, this.root);
    this.root.addEventListener("click", (event) => this.pick(event.target.closest(".node")));
    this.root.addEventListener("focus", () => this.focus(this.chosen));
    this.root.addEventListener("keydown", (event) => this.key(event));
  }

  show(number) {
    this.number = number;
    this.stage = this.data.stages[number];
    this.placeNodes();
    this.drawEdges();
    this.drawBands();
    this.resize();
    const kept = this.chosen !== null && this.at(this.chosen) >= 0;
    this.select(kept ? this.chosen : this.idOf(this.firstChange()));
  }

  idOf(place) { return this.data.layers[this.stage.nodes[place][0]].id; }
  at(id) { return this.stage.nodes.findIndex(([layer]) => this.data.layers[layer].id === id); }

  firstChange() {
    const wanted = (mark) => this.stage.nodes.findIndex((node) => node[3] & mark);
    return Math.max(wanted(NEW) >= 0 ? wanted(NEW) : wanted(GOING), 0);
  }

  placeNodes() {
    const here = new Set();
    this.stage.nodes.forEach(([index, x, y, mark], place) => {
      const layer = this.data.layers[index];
      here.add(layer.id);
      let box = this.boxes.get(layer.id);
      if (!box) {
        box = { element: svg("g", { role: "option", tabindex: "-1" }), look: -1 };
        box.element.dataset.id = layer.id;
        this.boxes.set(layer.id, box);
      }
      if (box.look !== index) this.draw(box, layer, index);
      const classes = ["node", layer.tensor ? "tensorial" : "plain", mark & NEW ? "new" : "", mark & GOING ? "going" : ""];
      box.element.setAttribute("class", classes.filter(Boolean).join(" "));
      box.element.setAttribute("aria-label", `${layer.name}, ${layer.type}${said(mark)}`);
      box.element.style.transform = `translate(${x + MARGIN}px, ${y}px)`;
      box.place = place;
      if (this.nodes.children[place] !== box.element) this.nodes.insertBefore(box.element, this.nodes.children[place] || null);
    });
    for (const [id, box] of this.boxes) if (!here.has(id)) { box.element.remove(); }
  }

  draw(box, layer, index) {
    box.look = index;
    box.element.replaceChildren();
    svg("rect", { width: layer.w, height: layer.h }, box.element);
    layer.lines.forEach((line, row) => {
      const y = layer.lines.length > 1 ? 14 + 13 * row : layer.h / 2 + 3.5;
      svg("text", { x: layer.w / 2, y }, box.element).textContent = line;
    });
  }

  drawEdges() {
    this.edges.replaceChildren();
    this.lines = this.stage.edges.map((edge) => {
      const line = svg("path", { class: "edge", d: this.route(edge) }, this.edges);
      return [edge[0], edge[1], line];
    });
  }

  route([source, target, ...bends]) {
    const [from, fromX, fromY] = this.stage.nodes[source], [to, toX, toY] = this.stage.nodes[target];
    const start = this.data.layers[from], end = this.data.layers[to];
    let x = fromX + start.w / 2 + MARGIN, y = fromY + start.h;
    let path = `M${x} ${y}`;
    const points = [];
    for (let i = 0; i < bends.length; i += 2) points.push([bends[i] + MARGIN, bends[i + 1]]);
    points.push([toX + end.w / 2 + MARGIN, toY]);
    for (const [nextX, nextY] of points) {
      const half = (y + nextY) / 2;
      path += Math.abs(nextX - x) < 1 ? `L${nextX} ${nextY}` : `C${x} ${half} ${nextX} ${half} ${nextX} ${nextY}`;
      [x, y] = [nextX, nextY];
    }
    return path;
  }

  drawBands() {
    this.bands.replaceChildren();
    for (const [name, y] of this.stage.bands) {
      const group = svg("g", { class: "band", "aria-hidden": "true" }, this.bands);
      svg("line", { x1: 0, x2: this.stage.w + 2 * MARGIN, y1: y + 4.5, y2: y + 4.5 }, group);
      svg("text", { x: 2, y: y + 15 }, group).textContent = name;
    }
  }

  resize() {
    const width = this.stage.w + 2 * MARGIN, height = this.stage.h + MARGIN;
    const scale = this.zoom || Math.min(1, this.view.clientWidth / width);
    this.scale = scale;
    this.root.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.root.setAttribute("width", width * scale);
    this.root.setAttribute("height", height * scale);
  }

  setZoom(zoom) {
    const middle = (this.view.scrollTop + this.view.clientHeight / 2) / this.scale;
    this.zoom = zoom && Math.min(Math.max(zoom, 0.04), 3);
    this.resize();
    this.view.scrollTop = middle * this.scale - this.view.clientHeight / 2;
  }

  fit() {
    const width = this.stage.w + 2 * MARGIN, height = this.stage.h + MARGIN;
    this.setZoom(Math.min(this.view.clientWidth / width, Math.max(this.view.clientHeight / height, LEAST), 1));
  }

  // Brings what changes into view: what this stage has made, or what the next one takes.
  showChange() {
    const marked = this.stage.nodes.filter((node) => node[3] & NEW);
    const nodes = marked.length ? marked : this.stage.nodes.filter((node) => node[3] & GOING);
    if (!nodes.length) return;
    const top = Math.min(...nodes.map((node) => node[2])) * this.scale;
    const bottom = Math.max(...nodes.map((node) => node[2])) * this.scale + 40;
    const room = this.view.clientHeight;
    const to = bottom - top < room ? (top + bottom - room) / 2 : top - 60;
    this.view.scrollTo({ top: to, behavior: still.matches ? "auto" : "smooth" });
  }

  // Brings the band of this number to the top, and selects its first layer.
  showBand(number) {
    const y = this.stage.bands[number][1];
    const below = this.stage.nodes.map((node, place) => [node[2], place]).filter(([top]) => top >= y);
    this.select(this.idOf(below.sort((a, b) => a[0] - b[0] || a[1] - b[1])[0][1]));
    this.view.scrollTo({ top: y * this.scale, behavior: still.matches ? "auto" : "smooth" });
  }

  select(id) {
    for (const box of this.boxes.values()) box.element.removeAttribute("aria-selected");
    this.chosen = id;
    const place = this.at(id);
    this.boxes.get(id).element.setAttribute("aria-selected", "true");
    for (const [source, target, line] of this.lines) line.classList.toggle("near", source === place || target === place);
    this.onSelect(place);
  }

  pick(element) {
    if (element) this.focus(Number(element.dataset.id));
  }

  focus(id) {
    this.select(id);
    const element = this.boxes.get(id).element;
    element.focus({ preventScroll: true });
    element.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  key(event) {
    const place = this.at(this.chosen), last = this.stage.nodes.length - 1;
    const to = { ArrowUp: place - 1, ArrowDown: place + 1, Home: 0, End: last }[event.key];
    if (to === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    this.focus(this.idOf(Math.min(Math.max(to, 0), last)));
  }
}

function said(mark) {
  return (mark & NEW ? ", new or changed in this step" : "") + (mark & GOING ? ", merged or changed in the next step" : "");
}
