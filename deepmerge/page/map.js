// The whole network at the drawing's side, with a frame around what is in view.
class Overview {
  constructor(drawing, place) {
    this.drawing = drawing;
    this.place = place;
    this.root = svg("svg", { preserveAspectRatio: "none" }, place);
    this.parts = ["other", "tensor", "touched"].map((name) => svg("path", { class: name }, this.root));
    this.window = svg("rect", { class: "window" }, this.root);
    drawing.view.addEventListener("scroll", () => this.frame(), { passive: true });
    place.addEventListener("pointerdown", (event) => { place.setPointerCapture(event.pointerId); this.go(event); });
    place.addEventListener("pointermove", (event) => { if (event.buttons) this.go(event); });
  }

  show() {
    const { stage, data } = this.drawing;
    const paths = [[], [], []];
    for (const [index, x, y, mark] of stage.nodes) {
      const { w, h, tensor } = data.layers[index];
      paths[mark ? 2 : tensor].push(`M${x + MARGIN} ${y}h${w}v${h}h${-w}z`);
    }
    paths.forEach((path, i) => this.parts[i].setAttribute("d", path.join("")));
    this.root.setAttribute("viewBox", `${-MARGIN} 0 ${stage.w + 4 * MARGIN} ${stage.h + MARGIN}`);
    this.root.setAttribute("height", Math.min(this.place.clientHeight, (stage.h + MARGIN) / 2));
    this.frame();
  }

  // Where in the drawing the view is.
  frame() {
    const { view, scale, stage } = this.drawing;
    const box = { x: -MARGIN / 2, y: view.scrollTop / scale, width: stage.w + 3 * MARGIN, height: Math.min(view.clientHeight / scale, stage.h + MARGIN) };
    for (const [name, value] of Object.entries(box)) this.window.setAttribute(name, value);
  }

  go(event) {
    const box = this.root.getBoundingClientRect();
    const { view } = this.drawing;
    view.scrollTop = ((event.clientY - box.top) / box.height) * view.scrollHeight - view.clientHeight / 2;
  }
}
