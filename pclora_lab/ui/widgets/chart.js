// One script of each version for all charts of a page, however many bundles of this file there are.
const scripts = (globalThis.__pcloraPlotly ??= new Map());
// What is drawn in this page, for the crosshair that goes through all panels of a lab.
const drawnCharts = (globalThis.__pcloraCharts ??= new Set());

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

// The panels of a chart whose x axis is one of numbers, each once.
function panelsOf(room) {
  const layout = room._fullLayout;
  const plots = Object.values(layout?._plots ?? {}).filter((plot) => plot.xaxis.type === "linear");
  return plots.filter((plot) => !plot.yaxis.overlaying);
}

function placed(room, line, panel, x) {
  const { xaxis, yaxis } = panel;
  const inside = xaxis.l2p(x);
  const isSeen = Number.isFinite(inside) && inside >= 0 && inside <= xaxis._length;
  line.hidden = !isSeen;
  line.style.left = `${xaxis._offset + inside}px`;
  line.style.top = `${yaxis._offset}px`;
  line.style.height = `${yaxis._length}px`;
  return isSeen;
}

// A line in every panel of a chart, at one x; each panel's line is made once.
function makeLines(room) {
  const lines = [];
  return {
    show(x, text) {
      const panels = x === null ? [] : panelsOf(room);
      for (const line of lines.slice(panels.length)) line.hidden = true;
      panels.forEach((panel, i) => {
        if (!lines[i]) {
          lines[i] = document.createElement("div");
          lines[i].className = "pclora-crosshair";
          lines[i].setAttribute("aria-hidden", "true");
          room.append(lines[i]);
        }
        if (placed(room, lines[i], panel, x)) lines[i].dataset.values = text(panel);
      });
    },
  };
}

function written(value, axis) {
  if (/%$/.test(axis.hoverformat ?? "")) return `${(100 * value).toFixed(1)} %`;
  return String(Number(value.toPrecision(3)));
}

// The values of a panel's curves at x: of the last point that is not to the right of it.
function valuesAt(room, panel, x) {
  const texts = [];
  for (const trace of room._fullData) {
    if (trace.visible !== true || trace.xaxis !== panel.xaxis._id || !trace.x?.length) continue;
    let i = trace.x.length - 1;
    while (i > 0 && trace.x[i] > x) i -= 1;
    const axis = room._fullLayout[`yaxis${trace.yaxis.slice(1)}`];
    if (trace.y[i] !== null) texts.push(`${trace.name} ${written(trace.y[i], axis)}`);
  }
  return texts.join("\n");
}

// A table of all curves, as another program reads it.
function csv(room) {
  const cell = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const rows = [["curve", "x", "y"]];
  for (const trace of room._fullData) {
    if (trace.visible !== true || trace.type !== "scatter") continue;
    for (let i = 0; i < (trace.x?.length ?? 0); i += 1) {
      rows.push([trace.name ?? "", trace.x[i], trace.y[i]]);
    }
  }
  return rows.map((row) => row.map((value) => cell(String(value))).join(",")).join("\r\n");
}

function saved(text, name, type) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}

// Middle of each value and its neighbors, so that a single reading does not jump out.
function smoothed(values) {
  return Array.from(values, (value, i) => {
    const near = Array.from(values).slice(Math.max(0, i - 4), i + 5).filter(Number.isFinite);
    return near.sort((a, b) => a - b)[near.length >> 1] ?? value;
  });
}

// What a person has switched: smooth curves, an axis that is or is not logarithmic.
function switched(spec, switches) {
  const { data = [], layout = {} } = spec;
  const changed = { ...layout };
  if (switches.log) {
    for (const name of Object.keys(layout).filter((key) => /^yaxis\d*$/.test(key))) {
      const isLog = layout[name].type === "log";
      if (!isLog && layout[name].overlaying) continue;
      changed[name] = { ...layout[name], type: isLog ? "linear" : "log" };
      delete changed[name].range;
      delete changed[name].dtick;
    }
  }
  const isSmooth = (trace) => switches.smooth && trace.type === "scatter" && !trace.fill;
  const curves = data.map((trace) => {
    const values = Array.isArray(trace.y) ? trace.y : null;
    return isSmooth(trace) && values ? { ...trace, y: smoothed(values) } : trace;
  });
  return { data: curves, layout: changed };
}

async function render({ model, el }) {
  const room = document.createElement("div");
  room.className = "pclora-chart";
  room.setAttribute("role", "figure");
  room.setAttribute("aria-label", model.get("label"));
  el.append(room);
  const Plotly = await plotly(model);
  const narrow = JSON.parse(model.get("narrow"));
  const switches = { smooth: false, log: false };
  const crosshair = makeLines(room);
  let drawn = null, wasNarrow = false, frame = 0, isGone = false;

  function toggle(name) {
    switches[name] = !switches[name];
    drawn = null;
    soon();
  }

  const file = model.get("label").replaceAll(/\W+/g, "_") || "chart";
  const own = [
    ["Smooth", Plotly.Icons.tonexty, () => toggle("smooth")],
    ["Logarithmic or linear", Plotly.Icons.autoscale, () => toggle("log")],
    ["Download as SVG", Plotly.Icons.camera,
      () => Plotly.downloadImage(room, { format: "svg", filename: file })],
    ["Download as CSV", Plotly.Icons.disk, () => saved(csv(room), `${file}.csv`, "text/csv")],
  ].map(([title, icon, click]) => ({ name: title, title, icon, click }));
  // plotly's own toolbar would offer to upload the chart to a cloud.
  const config = {
    displaylogo: false, showSendToCloud: false, modeBarButtonsToAdd: model.get("group") ? own : [],
    modeBarButtonsToRemove: ["select2d", "lasso2d"], toImageButtonOptions: { filename: file },
  };

  async function draw() {
    frame = 0;
    // Hidden in a tab it has no width to be drawn in; it is drawn when it is shown.
    if (isGone || room.clientWidth === 0 || isDrawn()) return;
    [drawn, wasNarrow] = [model.get("spec"), isNarrow()];
    const spec = JSON.parse(drawn);
    const { data, layout } = switched(wasNarrow ? merged(spec, narrow) : spec, switches);
    const isFirst = room._fullLayout === undefined;
    await Plotly.react(room, data, { ...layout, autosize: true, width: undefined }, config);
    if (isFirst) listen();
  }

  function listen() {
    room.on("plotly_click", tell);
    room.on("plotly_hover", ({ points: [point] }) => cross(point));
    room.on("plotly_unhover", () => cross(null));
  }

  function cross(point) {
    const root = room.closest(".pclora-lab");
    if (!model.get("group") || root === null) return;
    const x = typeof point?.x === "number" ? point.x : null;
    for (const chart of drawnCharts) {
      if (chart.group !== model.get("group") || !root.contains(chart.room)) continue;
      chart.crosshair.show(x, (panel) =>
        panel.xaxis._id === point.xaxis._id && chart.room === room
          ? "" : valuesAt(chart.room, panel, x));
    }
  }

  function isNarrow() {
    return room.clientWidth < model.get("narrow_below");
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
  const self = { group: model.get("group"), room, crosshair };
  drawnCharts.add(self);
  model.on("change:spec", soon);
  soon();
  return () => {
    isGone = true;
    drawnCharts.delete(self);
    size.disconnect();
    model.off("change:spec", soon);
    Plotly.purge(room);
  };
}

export default { render };
