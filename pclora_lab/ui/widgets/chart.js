// plotly's own toolbar would offer to upload the chart to a cloud.
const CONFIG = { displaylogo: false, showSendToCloud: false };

// One script of each version for all charts of a page, however many bundles of this file there are.
const scripts = (globalThis.__pcloraPlotly ??= new Map());

const NARROW = 700;

// Objects and arrays key by key, everything else as in the second.
function merged(base, more) {
  if (more === undefined) return base;
  if (more === null || typeof more !== "object") return more;
  if (Array.isArray(more)) return (base ?? more).map((value, i) => merged(value, more[i]));
  const both = { ...base };
  for (const [name, value] of Object.entries(more)) both[name] = merged(both[name], value);
  return both;
}

async function unpacked(packed) {
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const text = await new Response(stream).text();
  // As a module, so that neither the page's globals nor its loader of modules sees it.
  const parts = ["const module = {exports: {}}, exports = module.exports, define = undefined;\n",
    text, "\nexport default module.exports;"];
  const address = URL.createObjectURL(new Blob(parts, { type: "text/javascript" }));
  try {
    return (await import(/* webpackIgnore: true */ address)).default;
  } finally {
    URL.revokeObjectURL(address);
  }
}

async function plotly(model) {
  const name = model.get("script").slice("IPY_MODEL_".length);
  const script = await model.widget_manager.get_model(name);
  const version = script.get("version");
  if (!scripts.has(version)) scripts.set(version, unpacked(script.get("packed")));
  try {
    return await scripts.get(version);
  } catch (error) {
    scripts.delete(version);
    throw error;
  }
}

async function render({ model, el }) {
  const room = document.createElement("div");
  room.style.width = "100%";
  room.setAttribute("role", "figure");
  room.setAttribute("aria-label", model.get("label"));
  el.append(room);
  const Plotly = await plotly(model);
  const narrow = JSON.parse(model.get("narrow"));
  let drawn = null, wasNarrow = false, frame = 0, isGone = false;

  async function draw() {
    frame = 0;
    // Hidden in a tab it has no width to be drawn in; it is drawn when it is shown.
    if (isGone || room.clientWidth === 0 || isDrawn()) return;
    const isFirst = drawn === null;
    [drawn, wasNarrow] = [model.get("spec"), isNarrow()];
    const spec = JSON.parse(drawn);
    const { data, layout } = wasNarrow ? merged(spec, narrow) : spec;
    await Plotly.react(room, data ?? [], { ...layout, autosize: true, width: undefined }, CONFIG);
    if (isFirst) room.on("plotly_click", tell);
  }

  function isNarrow() {
    return room.clientWidth < NARROW;
  }

  function isDrawn() {
    return model.get("spec") === drawn && isNarrow() === wasNarrow;
  }

  function soon() {
    frame ||= requestAnimationFrame(draw);
  }

  function tell({ points: [point] }) {
    // A cell of a heat map is numbered by its row and column.
    const number = point.pointNumber ?? point.pointIndex;
    const at = Array.isArray(number) ? number[0] : number;
    model.send({ event: "click", curve: point.curveNumber, point: at, x: point.x, y: point.y });
  }

  const size = new ResizeObserver(() => {
    if (room.clientWidth === 0) return;
    if (isDrawn()) Plotly.Plots.resize(room);
    else soon();
  });
  size.observe(room);
  model.on("change:spec", soon);
  soon();
  return () => {
    isGone = true;
    size.disconnect();
    model.off("change:spec", soon);
    Plotly.purge(room);
  };
}

export default { render };
