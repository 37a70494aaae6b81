// The x axis of a run's charts: steps, or the time that training had taken by then; and the step at
// which the run's timeline stands.

const UNITS = [[3 * 3600, 3600, "h"], [300, 60, "min"], [0, 1, "s"]];

// Seconds at a step, on a line between two that are known; null before the first.
function secondsAt({ steps, seconds }, step) {
  if (!steps.length || step < steps[0]) return null;
  let [low, high] = [0, steps.length - 1];
  if (step >= steps[high]) return seconds[high];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (steps[middle] <= step) low = middle;
    else high = middle;
  }
  const share = (step - steps[low]) / (steps[high] - steps[low]);
  return seconds[low] + share * (seconds[high] - seconds[low]);
}

async function runAxis(model) {
  const manager = model.widget_manager;
  const found = (name) => name && manager.get_model(name.slice("IPY_MODEL_".length));
  const axis = await found(model.get("axis"));
  if (!axis) return null;
  const slider = await found(axis.get("slider"));
  const told = "change:unit change:clock change:missing change:steps";
  return {
    isTime: () => axis.get("unit") === "time" && !axis.get("missing"),
    missing: () => axis.get("missing"),
    clock: () => axis.get("clock"),
    // In the page at once, and in the kernel for a page that is loaded later.
    choose(unit) {
      axis.set("unit", unit);
      axis.save_changes();
    },
    cursor() {
      const isKnown = slider && axis.get("steps") > 0;
      return isKnown ? (slider.get("value") / slider.get("max")) * axis.get("steps") : null;
    },
    listen(onAxis, onCursor) {
      axis.on(told, onAxis);
      slider?.on("change:value", onCursor);
      return () => {
        axis.off(told, onAxis);
        slider?.off("change:value", onCursor);
      };
    },
  };
}

// How a chart's x is read: what a step is on it, how it is written, what it is called.
function readingOf(axis) {
  if (!axis?.isTime()) {
    return { size: 1, at: (step) => step, written: (x) => `step ${short(Math.round(x))}`, unit: null };
  }
  const clock = axis.clock();
  const last = clock.seconds.at(-1) ?? 0;
  const [, size, unit] = UNITS.find(([from]) => last >= from);
  const at = (step) => {
    const seconds = secondsAt(clock, step);
    return seconds === null ? null : seconds / size;
  };
  return { size, at, unit, last: last / size, written: (x) => `${short(x)} ${unit}` };
}

// The same figure over time; points from before the first known time are left out.
function overTime({ data, layout }, reading) {
  const isRun = (name) => /^xaxis\d*$/.test(name);
  const curves = data.map((trace) => {
    const placed = Array.from(trace.x ?? [], (step, i) => [reading.at(step), trace.y[i]]);
    const known = placed.filter(([x]) => x !== null);
    return { ...trace, x: known.map(([x]) => x), y: known.map(([, y]) => y) };
  });
  // Before step 0 is the teacher's own training, whose time no row tells.
  const isWhole = !(layout.xaxis?.range?.[0] < 0);
  const text = `training time (${reading.unit})${isWhole ? "" : ", without the teacher's"}`;
  const changed = { ...layout };
  for (const name of Object.keys(layout).filter(isRun)) {
    const title = { ...layout[name].title, text };
    changed[name] = { ...layout[name], title, range: [0, reading.last || 1] };
  }
  changed.shapes = (layout.shapes ?? []).map((shape) => {
    return { ...shape, x0: reading.at(shape.x0), x1: reading.at(shape.x1) };
  });
  return { data: curves, layout: changed };
}

const axesOf = (layout) => Object.keys(layout).filter((name) => /^[xy]axis\d*$/.test(name));

// What a person has zoomed into, by axis; plotly's own memory ends where a range grows.
function makeZoom(room) {
  const chosen = new Map();
  // A range of steps says nothing about time, nor one of a linear axis about a logarithmic one.
  const kind = (name, axis, reading) =>
    (name[0] === "x" ? `time ${reading.unit !== null}` : `log ${axis?.type === "log"}`);
  const scaled = (name, range, size) =>
    (name[0] === "x" && size !== 1 ? range.map((end) => end * size) : range);
  return {
    forget(names = [...chosen.keys()]) {
      for (const name of names) chosen.delete(name);
    },
    // plotly tells "xaxis2.range[0]", or the whole of "xaxis2.range".
    note(changes, reading) {
      const names = Object.keys(changes).filter((key) => /^[xy]axis\d*\.range/.test(key));
      for (const name of new Set(names.map((key) => key.split(".")[0]))) {
        const axis = room._fullLayout[name];
        const range = scaled(name, [...axis.range], reading.size);
        chosen.set(name, { kind: kind(name, axis, reading), range });
      }
    },
    applied({ data, layout }, reading, turn) {
      const changed = { ...layout };
      for (const name of new Set([...axesOf(layout), ...chosen.keys()])) {
        // Another one at each turn, so that plotly takes the range that it is given.
        const axis = { ...layout[name], uirevision: turn };
        const zoomed = chosen.get(name);
        const isKept = zoomed && zoomed.kind === kind(name, axis, reading);
        const range = isKept && scaled(name, zoomed.range, 1 / reading.size);
        changed[name] = isKept ? { ...axis, range, autorange: false } : axis;
      }
      return { data, layout: changed };
    },
  };
}
