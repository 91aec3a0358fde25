// The slider, the buttons, the list of steps and the arrow keys, which all say which stage is shown; and a layer's details.
const number = new Intl.NumberFormat("en");

function put(parent, tag, text, className) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  parent.append(made);
  return made;
}

// A name, with places between its parts where a line may break.
function putName(parent, tag, text, className) {
  const made = put(parent, tag, undefined, className);
  for (const part of text.split(/(?<=[/_])/)) made.append(part, document.createElement("wbr"));
  return made;
}

function three(value) {
  for (const [factor, letter] of [[1e9, " G"], [1e6, " M"], [1e3, " k"]]) {
    if (value < factor * 0.9995) continue;
    const scaled = value / factor;
    return `${scaled < 999.5 ? scaled.toPrecision(3) : number.format(Math.round(scaled))}${letter}`; // not 1.23e+3
  }
  return number.format(value);
}
const bytes = (value) => (value >= 1e3 ? `${three(value)}B` : `${value} B`);

class Scrubber {
  constructor(data) {
    this.data = data;
    byId("graph").hidden = false;
    this.drawing = new Drawing(data, byId("view"), (place) => this.showLayer(place));
    this.map = new Overview(this.drawing, byId("map"));
    this.slider = byId("scrub");
    this.slider.addEventListener("input", () => this.go(Number(this.slider.value)));
    byId("previous").addEventListener("click", () => this.go(this.now - 1));
    byId("next").addEventListener("click", () => this.go(this.now + 1));
    byId("smaller").addEventListener("click", () => this.zoom(this.drawing.scale / 1.3));
    byId("larger").addEventListener("click", () => this.zoom(this.drawing.scale * 1.3));
    byId("fit").addEventListener("click", () => { this.drawing.fit(); this.map.frame(); });
    byId("change").addEventListener("click", () => { this.drawing.setZoom(0); this.drawing.showChange(); this.map.frame(); });
    byId("part").addEventListener("change", () => this.drawing.showBand(byId("part").value));
    byId("graph").addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => { if (this.now !== undefined) { this.drawing.resize(); this.map.show(); } }).observe(byId("view"));
    this.buttons = data.stages.map((stage, index) => this.entry(stage, index));
    this.go(Math.max(data.stages.findIndex((stage) => stage.merged.length), 0)); // the first merge; the original if there is none
  }

  entry(stage, index) {
    const button = put(put(byId("list"), "li"), "button");
    button.type = "button";
    put(button, "span", stage.index === null ? "" : stage.index);
    put(button, "span", stage.title);
    put(button, "span", stage.layers).title = "layers";
    button.addEventListener("click", () => this.go(index));
    return button;
  }

  go(to) {
    const last = this.data.stages.length - 1;
    to = Math.min(Math.max(to, 0), last);
    if (to === this.now) return;
    this.now = to;
    this.slider.value = to;
    this.slider.setAttribute("aria-valuetext", this.caption());
    byId("where").textContent = this.caption();
    byId("what").textContent = this.what();
    byId("previous").disabled = to === 0;
    byId("next").disabled = to === last;
    this.buttons.forEach((button, index) => {
      if (index === to) button.setAttribute("aria-current", "step"); else button.removeAttribute("aria-current");
    });
    const list = byId("list"), entry = this.buttons[to];
    list.scrollTop = Math.min(Math.max(list.scrollTop, entry.offsetTop + entry.offsetHeight - list.offsetTop - list.clientHeight), entry.offsetTop - list.offsetTop);
    const inside = byId("view").contains(document.activeElement);
    this.drawing.chosen = null;
    this.drawing.show(to);
    this.drawing.showChange();
    this.map.show();
    this.parts();
    if (inside) this.drawing.boxes.get(this.drawing.chosen).element.focus({ preventScroll: true });
  }

  parts() {
    const select = byId("part");
    select.replaceChildren();
    const none = put(select, "option", "To a part");
    none.value = "";
    none.disabled = true;
    this.drawing.stage.bands.forEach(([name], index) => { put(select, "option", name).value = index; });
    select.selectedIndex = 0;
  }

  caption() {
    const stage = this.data.stages[this.now];
    const step = stage.index === null ? stage.title : `Step ${stage.index}, ${stage.title}`;
    return `${step}: ${number.format(stage.layers)} layers, ${three(stage.macs)} MACs`;
  }

  what() {
    const { passes, merged, into, exact, title } = this.data.stages[this.now];
    if (!merged.length) return title === "Original" ? "The original network." : "";
    const layers = (names) => `${names.length} layer${names.length === 1 ? "" : "s"}`;
    const after = this.data.trained ? `cost accuracy; the network has been ${this.data.trained} since.` : "costs accuracy until the network is recovered or fine-tuned.";
    const cost = exact ? "The output stays the same." : `Approximate: it ${after}`;
    return `${passes.join(", ")}: ${layers(merged)} into ${layers(into)}. ${cost}`;
  }

  zoom(scale) { this.drawing.setZoom(scale); this.map.frame(); }

  key(event) {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by || event.target === this.slider || event.target === byId("part") || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    this.go(this.now + by);
  }

  showLayer(place) {
    const panel = byId("details"), { stage } = this.drawing;
    const [index, , , mark] = stage.nodes[place];
    const layer = this.data.layers[index];
    panel.replaceChildren();
    putName(panel, "h3", layer.name, "mono");
    put(panel, "p", layer.type);
    if (mark) put(panel, "p", said(mark).slice(2), "mark");
    const list = put(panel, "dl");
    const row = (name, values) => { if (values.length) { put(list, "dt", name); for (const [i, value] of values.entries()) { if (i) put(list, "dt"); putName(list, "dd", value); } } };
    row("settings", layer.settings);
    row(layer.tops.length > 1 ? "tops" : "top", layer.tops);
    row("weights", layer.weights);
    row("parameters", layer.params ? [number.format(layer.params)] : []);
    row("MACs", layer.macs ? [number.format(layer.macs)] : []);
    row("top, bytes", layer.bytes ? [bytes(layer.bytes)] : []);
    row("weights, bytes", layer.weightBytes ? [bytes(layer.weightBytes)] : []);
    const called = (other) => this.data.layers[stage.nodes[other][0]].name;
    row("reads", stage.edges.filter((edge) => edge[1] === place).map((edge) => called(edge[0])));
    row("read by", stage.edges.filter((edge) => edge[0] === place).map((edge) => called(edge[1])));
  }
}

new Scrubber(JSON.parse(byId("data").textContent));
