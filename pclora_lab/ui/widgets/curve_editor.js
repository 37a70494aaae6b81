// A curve whose points are dragged, or moved with the arrow keys. Its traits are its interface.
const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 254, HEIGHT = 104, LEFT = 34, RIGHT = 10, TOP = 10, BOTTOM = 24;
const GAP = 0.01;

const x = share => LEFT + share * (WIDTH - LEFT - RIGHT);
const y = share => TOP + (1 - share) * (HEIGHT - TOP - BOTTOM);
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const round = value => Math.round(value * 1000) / 1000;

function node(parent, name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
}

// Where point i may go: the first keeps its place in time, the last stays at 0.
function allowed(points, i, px, py, monotone) {
  const last = points.length - 1;
  const low = i === 0 ? 0 : points[i - 1][0] + GAP;
  const high = i === 0 ? 0 : i === last ? 1 : points[i + 1][0] - GAP;
  if (i === last) return [round(clamp(px, low, high)), 0];
  const floor = monotone ? points[i + 1][1] : 0;
  const ceiling = monotone && i > 0 ? points[i - 1][1] : 1;
  return [round(clamp(px, low, high)), round(clamp(py, floor, ceiling))];
}

function render({ model, el }) {
  el.classList.add("pclora-curve");
  const svg = node(el, "svg", {
    width: WIDTH, height: HEIGHT, viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "group",
    "aria-label": "Schedule of λ. Tab to a point, move it with the arrow keys, Delete removes it, plus adds one",
  });
  const frame = node(svg, "g", {});
  const curve = node(svg, "polyline", { fill: "none", "stroke-width": 2, class: "pclora-curve-line" });
  const handles = node(svg, "g", {});
  let dragged = null;

  node(frame, "rect", {
    x: x(0), y: y(1), width: x(1) - x(0), height: y(0) - y(1), class: "pclora-curve-frame",
  });
  for (const [px, py, anchor, text] of [
    [x(0) - 4, y(1) + 8, "end", "λ 1"], [x(0) - 4, y(0), "end", "0"],
    [x(0), HEIGHT - 8, "start", "start"], [x(1), HEIGHT - 8, "end", "last step"],
  ]) node(frame, "text", { x: px, y: py, "text-anchor": anchor, class: "pclora-curve-text" }, text);

  const points = () => model.get("points").map(point => [...point]);

  function put(next, focus) {
    model.set("points", next);
    model.save_changes();
    draw();
    if (focus !== undefined) handles.children[focus]?.focus();
  }

  function move(i, px, py) {
    const next = points();
    next[i] = allowed(next, i, px, py, model.get("monotone"));
    put(next, i);
  }

  function add(px, py) {
    const next = points();
    const i = next.findIndex(point => point[0] > px);
    if (i < 1 || next.length >= model.get("most")) return;
    if (px - next[i - 1][0] < GAP || next[i][0] - px < GAP) return;
    next.splice(i, 0, [px, py]);
    next[i] = allowed(next, i, px, py, model.get("monotone"));
    put(next, i);
  }

  function remove(i) {
    const next = points();
    if (i === 0 || i === next.length - 1) return;
    next.splice(i, 1);
    put(next, Math.min(i, next.length - 1));
  }

  function place(event) {
    const box = svg.getBoundingClientRect();
    const across = (event.clientX - box.left) * WIDTH / box.width;
    const down = (event.clientY - box.top) * HEIGHT / box.height;
    return [
      clamp((across - LEFT) / (WIDTH - LEFT - RIGHT), 0, 1),
      clamp(1 - (down - TOP) / (HEIGHT - TOP - BOTTOM), 0, 1),
    ];
  }

  function pressed(event, i) {
    const step = event.shiftKey ? 0.1 : 0.01;
    const [px, py] = points()[i];
    const moves = {
      ArrowLeft: [px - step, py], ArrowRight: [px + step, py],
      ArrowUp: [px, py + step], ArrowDown: [px, py - step],
    };
    if (moves[event.key]) move(i, ...moves[event.key]);
    else if (event.key === "Delete" || event.key === "Backspace") remove(i);
    else if (event.key === "+") {
      const after = points()[i + 1];
      if (after) add((px + after[0]) / 2, (py + after[1]) / 2);
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  function handle(i) {
    const made = node(handles, "circle", { r: 6, tabindex: 0, role: "slider", class: "pclora-curve-point" });
    made.addEventListener("pointerdown", event => {
      dragged = i;
      svg.setPointerCapture(event.pointerId);
      made.focus();
      event.preventDefault();
    });
    made.addEventListener("keydown", event => pressed(event, i));
    made.addEventListener("dblclick", event => { remove(i); event.stopPropagation(); });
  }

  function draw() {
    const now = points();
    while (handles.children.length < now.length) handle(handles.children.length);
    while (handles.children.length > now.length) handles.lastChild.remove();
    const level = [...now, [1, now[now.length - 1][1]]];
    const start = [[0, now[0][1]]];
    curve.setAttribute("points", [...start, ...level].map(([px, py]) => `${x(px)},${y(py)}`).join(" "));
    curve.setAttribute("stroke", model.get("color"));
    now.forEach(([px, py], i) => {
      const circle = handles.children[i];
      circle.setAttribute("cx", x(px));
      circle.setAttribute("cy", y(py));
      circle.setAttribute("fill", model.get("color"));
      circle.setAttribute("aria-label", `point ${i + 1} of ${now.length}`);
      circle.setAttribute("aria-valuemin", 0);
      circle.setAttribute("aria-valuemax", 1);
      circle.setAttribute("aria-valuenow", py);
      circle.setAttribute("aria-valuetext", `λ ${py} at ${Math.round(100 * px)}% of the training`);
    });
  }

  svg.addEventListener("pointermove", event => {
    if (dragged !== null) move(dragged, ...place(event));
  });
  for (const name of ["pointerup", "pointercancel"]) {
    svg.addEventListener(name, () => { dragged = null; });
  }
  svg.addEventListener("dblclick", event => add(...place(event)));
  for (const trait of ["points", "color"]) model.on(`change:${trait}`, draw);
  draw();
  return () => model.off("change:points", draw);
}

export default { render };
