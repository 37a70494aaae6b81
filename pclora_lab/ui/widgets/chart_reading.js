// What a chart's curves say, in words and numbers: at one place, in a table, for another program.

const ROWS = 60;
const TINY = "⁰¹²³⁴⁵⁶⁷⁸⁹";

// Whole numbers as they are, others with three digits; no exponent that only programmers read.
function short(value) {
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e15) return value.toLocaleString("en-US").replace("-", "−");
  if (size >= 1e-4 && size < 1e15) {
    return value.toLocaleString("en-US", { maximumSignificantDigits: 3 }).replace(/^-/, "−");
  }
  const [digits, power] = value.toExponential(2).split("e");
  const raised = [...String(Math.abs(power))].map((digit) => TINY[digit]).join("");
  return `${Number(digits)}×10${power < 0 ? "⁻" : ""}${raised}`.replace(/^-/, "−");
}

// As the curve or its axis asks for it: ".1%", ".2f", or three digits and the axis' unit.
function written(value, axis, trace) {
  if (typeof value === "string") return value;
  if (value === null || !Number.isFinite(value)) return "–";
  const format = trace?.yhoverformat || axis?.hoverformat || axis?.tickformat || "";
  const [, digits, kind] = format.match(/^\.(\d)([%f])$/) ?? [];
  if (kind === "%") return `${(100 * value).toFixed(digits)}%`.replace(/^-/, "−");
  const text = kind === "f" ? value.toFixed(digits).replace(/^-/, "−") : short(value);
  return `${text}${axis?.ticksuffix ?? ""}`;
}

// The panels of a chart, each once, with the axes that lie over its own.
function panelsOf(room) {
  // A curve that is drawn behind the others has an entry of its own, such as xyz2.
  const plots = Object.entries(room._fullLayout?._plots ?? {});
  return plots.filter(([id, plot]) => !id.includes("z") && !plot.yaxis.overlaying)
    .map(([, plot]) => plot);
}

function curvesOf(room, panel) {
  return room._fullData.filter((trace) => trace.visible === true
    && trace.xaxis === panel.xaxis._id && trace.x?.length && trace.x[trace.x.length - 1] !== null);
}

// Lines of one run share its name; what else they are stands beside it.
const nameOf = ({ name, meta }) =>
  [plain(name), ...(typeof meta === "string" ? [meta] : [])].join(", ");

const yAxisOf = (room, trace) => room._fullLayout[`yaxis${trace.yaxis.slice(1)}`];

// Number of the last point that is not to the right of x; -1 where all are.
function lastUntil(xs, x) {
  let [low, high] = [-1, xs.length - 1];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (xs[middle] <= x) low = middle;
    else high = middle - 1;
  }
  return low;
}

// Name, color and value of a panel's curves at x, of their last point until there.
function valuesAt(room, panel, x) {
  const values = [];
  for (const trace of curvesOf(room, panel)) {
    const at = lastUntil(trace.x, x);
    const value = at < 0 ? null : trace.y[at];
    const isThere = value !== null && value !== undefined && !Number.isNaN(value);
    const color = trace.line?.color ?? trace.marker?.color;
    if (isThere) values.push([trace.name, color, written(value, yAxisOf(room, trace), trace)]);
  }
  return values;
}

const plain = (text) => new DOMParser().parseFromString(text ?? "", "text/html").body.textContent;

// The first line of what stands above a panel, and what its values are.
function titleOf(room, panel, number, map) {
  // Without a title, the full layout has an invitation to write one.
  const [title, annotations = []] = [room.layout.title, room._fullLayout.annotations];
  const own = annotations.length === panelsOf(room).length ? annotations[number].text : null;
  const above = plain((own ?? title?.text ?? "").split("<br>")[0]) || room.getAttribute("aria-label");
  const beside = map ? map.colorbar?.title?.text : room.layout[panel.yaxis._name]?.title?.text;
  return [above, plain(beside)].filter(Boolean).join(": ");
}

// At most so many, the first and the last among them.
function thinned(values, most) {
  if (values.length <= most) return values;
  const each = (values.length - 1) / (most - 1);
  return Array.from({ length: most }, (_, i) => values[Math.round(i * each)]);
}

const isNumeric = (axis) => axis.type === "linear" || axis.type === "log";

// What was read last since the row before; nothing where nothing was.
function cellOf(trace, x, before, axis) {
  const at = lastUntil(trace.x, x);
  return at >= 0 && trace.x[at] > before ? written(trace.y[at] ?? null, axis, trace) : "–";
}

function curveTable(room, panel) {
  const curves = curvesOf(room, panel);
  const isLine = isNumeric(panel.xaxis);
  // What is measured now and then says when; the rest is there at all these steps too.
  const marked = curves.filter((trace) => /markers/.test(trace.mode) && trace.x.length > 1);
  const asked = isLine && marked.length ? marked : curves;
  const all = [...new Set(asked.flatMap((trace) => Array.from(trace.x)))];
  const xs = isLine ? thinned(all.sort((a, b) => a - b), ROWS) : all.slice(0, ROWS);
  const x = plain(panel.xaxis.title?.text) || "x";
  const cell = (trace, i) => {
    const [axis, before] = [yAxisOf(room, trace), i ? xs[i - 1] : -Infinity];
    if (isLine) return cellOf(trace, xs[i], before, axis);
    return written(trace.y[Array.from(trace.x).indexOf(xs[i])] ?? null, axis, trace);
  };
  const first = (x) => (isLine ? short(x) : String(x));
  const rows = xs.map((at, i) => [first(at), ...curves.map((trace) => cell(trace, i))]);
  return { head: [x, ...curves.map(nameOf)], rows };
}

// Layers down, steps to the right.
function mapTable(trace, corner) {
  const isRead = (column) => trace.z.some((row) => Number.isFinite(row?.[column] ?? NaN));
  const columns = thinned([...Array.from(trace.x ?? []).keys()].filter(isRead), 12);
  const rows = Array.from(trace.y ?? []).slice(0, ROWS).map((name, i) => [
    String(name), ...columns.map((column) => written(trace.z[i]?.[column] ?? null, null)),
  ]);
  return { head: [corner, ...columns.map((column) => written(trace.x[column], null))], rows };
}

// Points that have names of their own, each in a row.
function pointTable(panel, curves) {
  const axes = [panel.xaxis, panel.yaxis];
  const rows = curves.filter((trace) => Array.isArray(trace.text)).flatMap((trace) =>
    trace.text.map((name, i) => [
      plain(name), nameOf(trace), written(trace.x[i], axes[0]), written(trace.y[i], axes[1]),
    ]));
  return { head: ["run", "method", ...axes.map((axis) => plain(axis.title?.text))], rows };
}

function tableOf(panel, curves, map) {
  if (map) return mapTable(map, plain(panel.xaxis.title?.text));
  return curves.some((trace) => Array.isArray(trace.text)) ? pointTable(panel, curves) : null;
}

// All that a chart shows: a caption, a line of headings and the rows of each panel.
function tablesOf(room) {
  return panelsOf(room).map((panel, number) => {
    const curves = curvesOf(room, panel);
    const map = curves.find((trace) => trace.type === "heatmap");
    const table = tableOf(panel, curves, map) ?? curveTable(room, panel);
    return { caption: titleOf(room, panel, number, map), ...table };
  }).filter(({ rows }) => rows.length);
}

// A table of all curves, as another program reads it.
function csv(data, axis) {
  const cell = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const rows = [axis ? ["curve", "step", "seconds", "value"] : ["curve", "x", "y"]];
  for (const trace of data) {
    if (trace.visible === false || (trace.type ?? "scatter") !== "scatter") continue;
    const name = nameOf(trace);
    for (let i = 0; i < (trace.x?.length ?? 0); i += 1) {
      const seconds = axis ? [secondsAt(axis.clock(), trace.x[i]) ?? ""] : [];
      const value = Number.isNaN(trace.y[i]) ? null : trace.y[i];
      rows.push([name, trace.x[i], ...seconds, value ?? ""]);
    }
  }
  return rows.map((row) => row.map((value) => cell(String(value))).join(",")).join("\r\n");
}

// Middle of each value and its neighbors, so that a single reading does not jump out.
function smoothed(values) {
  return values.map((value, i) => {
    if (!Number.isFinite(value)) return value;
    const near = values.slice(Math.max(0, i - 4), i + 5).filter(Number.isFinite);
    return near.sort((a, b) => a - b)[near.length >> 1];
  });
}

// What a person has switched: smooth curves, an axis that is or is not logarithmic.
function switched({ data, layout }, switches) {
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
  const curves = data.map((trace) =>
    (isSmooth(trace) && Array.isArray(trace.y) ? { ...trace, y: smoothed(trace.y) } : trace));
  return { data: curves, layout: changed };
}
