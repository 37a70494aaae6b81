// One layer and the ways through it, drawn from a few numbers; all layers as squares below it. Comes
// after layer_shapes.js and layer_hand.js in one script.
function render({ model, el }) {
  const root = document.createElement("div");
  root.className = "pclora-layer";
  el.append(root);
  const note = document.createElement("div");
  const figure = document.createElement("div");
  root.append(note, figure);
  figure.setAttribute("role", "group");
  const [name, state] = line(figure);
  const [formula, rest] = line(figure);
  const svg = node(figure, "svg", { role: "group", "aria-label": "the layer" });
  const drawn = build(svg);
  const [heading, meaning] = line(figure);
  for (const title of [name, heading]) title.className = "title";
  const grid = node(figure, "svg", { role: "listbox" });
  const own = { lam: inHand(), rank: inHand() };
  let frame = 0, squares = [];

  const get = trait => model.get(trait);
  const index = () => Math.max(0, get("layers").findIndex(l => l.name === get("chosen")));
  const lam = () => own.lam.get() ?? get("lam");
  const rankOf = i => (get("ranks")[i] == null ? null : own.rank.get() ?? get("ranks")[i]);
  const shareOf = i => get("shares")[i] ?? null;
  const tellLambda = seldom(value => model.send({ event: "lambda", value }));
  const tellRank = seldom(value => model.send({ event: "rank", value }));

  const isHeld = {
    lam: slider(drawn.handles.lam, {
      step: 0.01, isUpright: true, low: () => 0, high: () => 1, value: () => lam() ?? 1,
      move(value) { own.lam.take(value); tellLambda(value); soon(); },
    }),
    rank: slider(drawn.handles.rank, {
      step: 1, low: () => 1, high: () => get("largest_rank"), value: () => rankOf(index()) ?? 1,
      move(value) { own.rank.take(value); tellRank(value); soon(); },
    }),
  };

  function shareText(i) {
    const share = shareOf(i), of = get("shares_of");
    if (!of) return get("parts").base ? "shares not measured" : "";
    if (of === "base" && !get("base_held")) return "the base is gone";
    if (share === null) return `share of the ${of} ${get("missing")}`;
    if (of === "base") return `${percent(share)} of the output comes from the base`;
    return `${percent(share)} of the weights may change`;
  }

  function told(i) {
    const layer = get("layers")[i], rank = rankOf(i), level = get("base_held") ? lam() : null;
    return [size(layer), shareText(i), rank === null ? "" : `rank ${rank}`,
      level === null ? "" : `λ ${level.toFixed(2)}`].filter(Boolean).join(", ");
  }

  function drawFlows(at, parts, share) {
    const isKnown = parts.base && get("shares_of") === "base" && share !== null;
    const weights = isKnown ? [share, 1 - share] : [parts.base ? 0.5 : 0, parts.base ? 0.5 : 1];
    const upper = MIDDLE - BAND / 2 * (1 - weights[0]), lower = MIDDLE + BAND / 2 * (1 - weights[1]);
    const [first, last] = parts.factors ? [at.A, at.B] : [at.D, at.D];
    const end = box => box.x + box.width, y = at.second;
    const to = parts.base ? at.plus - 10 : at.plus + 10;
    const paths = [bend(20, upper, at.W.x, TOP), bend(end(at.W), TOP, to, upper),
      bend(20, lower, first.x, y), bend(end(first), y, last.x, y), bend(end(last), y, to, lower)];
    drawn.flows.forEach(([path, kind], i) => {
      const weight = weights[Number(kind === "adapter")];
      const isThere = weight > 0 && (kind === "base" ? parts.base : true)
        && !(i === 3 && !parts.factors);
      const isMeasured = isKnown || !parts.base;
      put(path, { d: isThere ? paths[i] : null, class: `${kind} flow${isMeasured ? "" : " unknown"}`,
        "stroke-width": isMeasured ? Math.max(BAND * weight, 0.75) : 1.5 });
    });
    put(drawn.plus, { cx: at.plus, visibility: parts.base ? "visible" : "hidden" });
    put(drawn.wire, { d: `M${at.plus + 10} ${MIDDLE}H${at.plus + 24}` });
    write(drawn.texts.x, "x", { x: 8, y: MIDDLE + 4 });
    write(drawn.texts.y, "y", { x: at.plus + 28, y: MIDDLE + 4 });
    write(drawn.texts["+"], parts.base ? "+" : "", { x: at.plus, y: MIDDLE + 4, class: "middle" });
    const beside = end(parts.factors ? at.B : at.D) + 12;
    write(drawn.texts.base, isKnown ? percent(share) : "", { x: end(at.W) + 8, y: TOP - 12 });
    write(drawn.texts.adapter, isKnown ? percent(1 - share) : "", { x: beside, y: BOTTOM + 24 });
  }

  function drawBase(at, layer, parts, share) {
    const isGone = parts.fades && !get("base_held"), level = lam();
    const fill = isGone ? 0 : get("shares_of") === "base" ? share : null;
    const middle = at.W.x + at.W.width / 2;
    box(drawn.shapes.W, at.W, parts.base, "base", fill, isGone);
    const label = !parts.base ? "" : isGone ? "W removed" : parts.fades ? "λ·W" : "W, frozen";
    write(drawn.texts.W, label, { x: middle, y: TOP - 3, class: "middle" });
    write(drawn.texts.size, parts.base ? size(layer) : "",
      { x: middle, y: TOP + 12, class: "middle small" });
    const isTold = parts.fades && level !== null && !isGone;
    write(drawn.texts.lam, isTold ? `λ ${level.toFixed(2)}` : "",
      { x: at.W.x - 10, y: TOP - 12, class: "end" });
    const handle = drawn.handles.lam, isFree = isTold && get("lambda_can_be_set");
    handle.toggleAttribute("hidden", !isFree);
    put(handle.firstChild, at.W);
    put(handle.lastChild, { cx: at.W.x, cy: at.W.y + at.W.height * (1 - (level ?? 1)) });
    put(handle, { "aria-valuenow": level ?? 1, "aria-valuetext": `λ ${(level ?? 1).toFixed(2)}` });
  }

  // Filled as far as it is known; hatched where it is there and nothing is known about how much.
  function box(rect, place, isThere, kind, share, isGone) {
    const isUnknown = share === null;
    put(rect, { ...place, class: `${kind} box${isGone ? " gone" : ""}`,
      visibility: isThere ? "visible" : "hidden" });
    rect.style.fill = isUnknown ? drawn.hatch : "";
    rect.style.fillOpacity = isUnknown ? 1 : INK * share;
  }

  function drawAdapter(at, layer, parts, i) {
    const rank = rankOf(i), { A, B, C, D } = drawn.shapes, share = shareOf(i);
    for (const [rect, place] of [[A, at.A], [B, at.B]]) {
      put(rect, { ...place, class: `adapter ${rank === null ? "box unknown" : "solid"}`,
        "fill-opacity": rank === null ? 0 : 1, visibility: parts.factors ? "visible" : "hidden" });
    }
    const below = at.B.y + at.B.height;
    put(C, { x: at.B.x, y: below + 3, width: at.B.width, height: 2, class: "adapter solid",
      visibility: parts.factors && layer.offset ? "visible" : "hidden" });
    box(D, at.D, parts.changes, "adapter", share === null ? 0 : Math.sqrt(share), false);
    const middle = at.A.x + at.A.width / 2;
    const rankText = rank === null ? "rank not known yet" : `rank ${rank}`;
    write(drawn.texts.A, parts.factors ? `A · ${rankText}` : "",
      { x: Math.max(middle - 33, 4), y: at.A.y + at.A.height + 15 });
    write(drawn.texts.B, parts.factors ? `B${layer.offset ? ` + ${layer.offset}` : ""}` : "",
      { x: at.B.x + at.B.width / 2, y: below + (layer.offset ? 20 : 15), class: "middle" });
    const center = { x: at.D.x + at.D.width / 2, class: "middle" };
    write(drawn.texts.D, parts.changes ? "ΔW" : "", { ...center, y: BOTTOM - 3 });
    write(drawn.texts.changes, parts.changes && share !== null ? percent(share) : "",
      { ...center, y: BOTTOM + 12 });
    drawRankHandle(at, rank);
  }

  function drawRankHandle(at, rank) {
    const handle = drawn.handles.rank, edge = at.A.x + at.A.width;
    handle.toggleAttribute("hidden", !(get("rank_can_be_set") && rank !== null));
    put(handle.firstChild, centered(edge - 12, at.second, 24, at.A.height));
    put(handle.lastChild, { cx: edge, cy: at.second });
    put(handle, { "aria-valuenow": rank ?? 1, "aria-valuemax": get("largest_rank"),
      "aria-valuetext": `rank ${rank ?? 1} of at most ${get("largest_rank")}` });
  }

  function stateText(i) {
    const of = get("shares_of"), step = get("measured_at");
    if (!of) return shareText(i);
    if (of === "base" && !get("base_held")) return "the base is gone";
    if (shareOf(i) === null) return `shares ${get("missing")}`;
    if (step === null) return "";
    return of === "base" ? `shares at step ${step}` : `at step ${step}`;
  }

  function makeSquares() {
    const layers = get("layers");
    grid.replaceChildren();
    squares = layers.map(layer => {
      const square = node(grid, "rect", { role: "option", rx: 2 });
      node(square, "title");
      square.addEventListener("click", () => choose(layer.name));
      return square;
    });
  }

  function drawSquares(width) {
    const layers = get("layers"), now = index(), parts = get("parts");
    const most = key => 1 + Math.max(...layers.map(layer => layer[key]));
    const pitch = Math.min(width / most("column"), 44), rows = most("row");
    put(grid, { viewBox: `0 0 ${width} ${15 * rows + 4}` });
    squares.forEach((square, i) => {
      const { column, row, name } = layers[i], share = shareOf(i);
      const isGone = parts.fades && !get("base_held"), of = get("shares_of");
      const fill = isGone || !of || share === null ? 0 : of === "base" ? share : Math.sqrt(share);
      const isUnknown = of && share === null && !isGone;
      const wide = Math.max(pitch - Math.min(4, pitch / 4), 1);
      put(square, { x: pitch * column + 2, y: 15 * row + 2, width: wide - 1, height: 11,
        class: `${parts.base && !parts.changes ? "base" : "adapter"} box${isUnknown ? " unknown" : ""}`,
        "fill-opacity": fill, "aria-selected": i === now, tabindex: i === now ? 0 : -1,
        "aria-label": `${name}, ${told(i)}` });
      write(square.firstChild, `${name}, ${told(i)}`);
    });
  }

  function choose(chosen) {
    model.set("chosen", chosen);
    model.send({ event: "choose", name: chosen });
  }

  // The next layer that way, over holes where a block lacks a kind.
  function neighbor(dx, dy) {
    const layers = get("layers"), { column, row } = layers[index()];
    const ahead = layers.filter(l => (dx ? l.row === row && (l.column - column) * dx > 0
      : l.column === column && (l.row - row) * dy > 0));
    const far = l => Math.abs(l.column - column) + Math.abs(l.row - row);
    return ahead.sort((a, b) => far(a) - far(b))[0];
  }

  grid.addEventListener("keydown", event => {
    const layers = get("layers");
    const goals = {
      ArrowLeft: () => neighbor(-1, 0), ArrowRight: () => neighbor(1, 0),
      ArrowUp: () => neighbor(0, -1), ArrowDown: () => neighbor(0, 1),
      Home: () => layers[0], End: () => layers[layers.length - 1],
    };
    if (!(event.key in goals) || event.ctrlKey || event.metaKey || event.altKey) return;
    const goal = goals[event.key]();
    if (goal) choose(goal.name);
    draw();
    squares[index()].focus();
    event.preventDefault();
    event.stopPropagation();
  });

  function draw() {
    frame = 0;
    const layers = get("layers"), hasPicture = !get("note") && layers.length > 0;
    note.hidden = hasPicture;
    figure.hidden = !hasPicture;
    write(note, get("note"));
    // Hidden in a tab it has no width to be drawn in; it is drawn when it is shown.
    if (!hasPicture || root.clientWidth === 0) return;
    const width = clamp(root.clientWidth, NARROWEST, WIDEST);
    if (squares.length !== layers.length) makeSquares();
    const i = index(), layer = layers[i], parts = get("parts");
    const at = places(width, layer, rankOf(i), parts);
    put(svg, { viewBox: `0 0 ${width} ${HEIGHT}` });
    write(name, layer.name, { title: layer.name });
    write(state, stateText(i));
    drawFlows(at, parts, shareOf(i));
    drawBase(at, layer, parts, shareOf(i));
    drawAdapter(at, layer, parts, i);
    put(figure, { "aria-label": `${layer.name}: ${told(i)}` });
    write(heading, `All ${layers.length} layers`);
    put(grid, { "aria-label": heading.textContent });
    write(formula, layer.table ? "" : get("formula"));
    write(rest, size(layer));
    write(meaning, MEANINGS[get("shares_of")] ?? "");
    drawSquares(width);
  }

  function soon() {
    frame ||= requestAnimationFrame(draw);
  }

  function hear(what, told) {
    if (!isHeld[what]()) own[what].hear(told);
    soon();
  }

  // What may not be set any more, or only now, is where the kernel says.
  function drop(what) {
    own[what].drop();
    soon();
  }

  const traits = ["shares", "shares_of", "missing", "measured_at", "parts", "formula", "note",
    "chosen", "base_held", "largest_rank"];
  const listeners = { ...Object.fromEntries(traits.map(trait => [trait, soon])),
    lam: () => hear("lam", get("lam")),
    ranks: () => hear("rank", get("ranks")[index()]),
    "lambda_can_be_set": () => drop("lam"), "rank_can_be_set": () => drop("rank"),
    layers() { squares = []; soon(); } };
  for (const [trait, listener] of Object.entries(listeners)) model.on(`change:${trait}`, listener);
  const room = new ResizeObserver(soon);
  room.observe(root);
  soon();
  return () => {
    for (const [trait, listener] of Object.entries(listeners)) model.off(`change:${trait}`, listener);
    cancelAnimationFrame(frame);
    room.disconnect();
    tellLambda.stop();
    tellRank.stop();
  };
}

export default { render };
