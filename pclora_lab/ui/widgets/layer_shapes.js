// What the picture of a layer is made of, and where it stands; layer_picture.js fills in numbers.
const SVG = "http://www.w3.org/2000/svg";
const NARROWEST = 280, WIDEST = 460, HEIGHT = 197;
// Where the ways through W and through A and B lie, and the one that they come from and go to.
const TOP = 43, MIDDLE = 91, BOTTOM = 139, LEFT = 54, RIGHT = 74, GAP = 18;
const TALLEST = 78, LOWEST = 38, NARROW = 74, WIDE = 150;
// The width of both ways together.
const BAND = 14;
// Text on W stays readable wherever W is not quite opaque.
const INK = 0.65;
const MEANINGS = { base: "shade: share of the base", changes: "shade: weights that may change" };
let pictures = 0;

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

function node(parent, name, attributes = {}, text) {
  const made = document.createElementNS(SVG, name);
  put(made, attributes);
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
}

function put(element, attributes) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null) element.removeAttribute(key);
    else if (element.getAttribute(key) !== String(value)) element.setAttribute(key, value);
  }
}

function write(element, text, attributes = {}) {
  if (element.textContent !== text) element.textContent = text;
  put(element, attributes);
}

function percent(share) {
  if (share === 0 || share === 1) return `${100 * share}%`;
  const digits = share < 0.1 || share > 0.9 ? 1 : 0;
  return `${clamp(100 * share, 0.1, 99.9).toFixed(digits)}%`;
}

const size = layer => `${layer.ins} × ${layer.outs}`;
const centered = (x, y, width, height) => ({ x, y: y - height / 2, width, height });
const bend = (x0, y0, x1, y1) => `M${x0} ${y0} C${(x0 + x1) / 2} ${y0} ${(x0 + x1) / 2} ${y1} ${x1} ${y1}`;

// W is as high as its inputs and as wide as its outputs are many, as far as there is room; A and B
// are drawn to the same two scales, so that areas are numbers of weights.
function places(width, layer, rank, parts) {
  const room = width - LEFT - RIGHT, most = Math.min((room - GAP) / 2, WIDE);
  const scale = Math.min(most / layer.outs, TALLEST / layer.ins);
  const wide = clamp(layer.outs * scale, Math.min(NARROW, most), most);
  const high = clamp(layer.ins * scale, LOWEST, TALLEST);
  const second = parts.base ? BOTTOM : MIDDLE;
  const inside = LEFT + (room - wide) / 2;
  const known = rank ?? 0;
  return {
    plus: width - 42, second,
    W: centered(inside, TOP, wide, high),
    D: centered(inside, BOTTOM, wide, high),
    A: centered(LEFT, second, clamp(known / layer.outs * wide, 2, wide), high),
    B: centered(width - RIGHT - wide, second, wide, clamp(known / layer.ins * high, 2, high)),
  };
}

function line(parent) {
  const made = document.createElement("div");
  made.className = "pclora-layer-line";
  const parts = [document.createElement("span"), document.createElement("span")];
  made.append(...parts);
  parent.append(made);
  return parts;
}

// All elements of the drawing, without numbers.
function build(svg) {
  const hatch = `pclora-hatch-${++pictures}`;
  const pattern = node(node(svg, "defs"), "pattern", {
    id: hatch, width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)",
  });
  node(pattern, "line", { x1: 0, y1: 0, x2: 0, y2: 6, class: "hatch" });
  const still = node(svg, "g", { "aria-hidden": "true" });
  const flows = ["base", "base", "adapter", "adapter", "adapter"].map(kind =>
    [node(still, "path"), kind]);
  const wire = node(still, "path", { class: "wire" });
  const shapes = Object.fromEntries(["W", "D", "A", "B", "C"].map(name =>
    [name, node(still, "rect", { rx: name.match(/[WD]/) ? 2 : 0 })]));
  const plus = node(still, "circle", { r: 10, cy: MIDDLE, class: "wire" });
  const names = ["x", "y", "+", "W", "size", "D", "changes", "A", "B", "lam", "base", "adapter"];
  const texts = Object.fromEntries(names.map(name => [name, node(still, "text")]));
  const handles = {
    lam: node(svg, "g", { class: "base", role: "slider", tabindex: 0, "aria-label": "λ",
      "aria-orientation": "vertical", "aria-valuemin": 0, "aria-valuemax": 1 }),
    rank: node(svg, "g", { class: "adapter", role: "slider", tabindex: 0,
      "aria-label": "rank of all layers", "aria-valuemin": 1 }),
  };
  const hints = ["drag up or down to set λ", "drag left or right to set the rank"];
  for (const [i, handle] of Object.values(handles).entries()) {
    node(handle, "rect");
    node(handle, "title", {}, `${hints[i]}, or use the arrow keys`);
    node(handle, "circle", { r: 5 });
  }
  return { hatch: `url(#${hatch})`, flows, wire, shapes, plus, texts, handles };
}
