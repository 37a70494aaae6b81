// A plotly figure with its buttons, its crosshair and its table; one module with the other chart_*.

// Pixels that the title takes above the legend.
const TITLE = 24;

// What is drawn in this page, for the crosshair that goes through all panels of a run.
const drawnCharts = (globalThis.__pcloraCharts ??= new Set());

export async function render({ model, el }) {
  const [label, run] = [model.get("label"), model.get("axis")];
  const place = made("div", `chart-room${run ? " pclora-in-run" : ""}`);
  const room = made("div", "chart");
  room.setAttribute("role", "figure");
  room.setAttribute("aria-label", label);
  place.append(room);
  el.append(place);
  const [Plotly, axis] = await Promise.all([plotly(model), runAxis(model)]);
  const narrow = JSON.parse(model.get("narrow"));
  const switches = { smooth: false, log: false };
  const zoom = makeZoom(room);
  const tables = makeTables(room, label);
  let reading = readingOf(axis), spec = null, drawn = null, wasNarrow = false, revision = null;
  let top = 0, width = 0, frame = 0, turn = 0, isHeld = false, isGone = false, pressed = null;
  const crosshair = makeLines(room, "crosshair", fillValues(room, (x) => reading.written(x)));
  const cursor = makeLines(room, "cursor");
  const units = axis && model.get("chooses_axis") ? makeUnits(axis, label) : null;

  // plotly's own toolbar can't be reached by keys, and would upload the chart to a cloud.
  const config = { displayModeBar: false, doubleClick: false };

  async function draw() {
    frame = 0;
    // Hidden in a tab it has no width to be drawn in; it is drawn when it is shown. In a hand, it
    // would lose what the hand is about to choose.
    if (isGone || isHeld || room.clientWidth === 0 || isDrawn()) return;
    [drawn, wasNarrow, reading] = [model.get("spec"), isNarrow(), readingOf(axis)];
    spec = unpackedSpec(drawn);
    if (spec.layout.uirevision !== revision) {
      zoom.forget();
      top = 0;
    }
    revision = spec.layout.uirevision;
    place.classList.toggle("pclora-is-narrow", wasNarrow);
    const isFirst = room._fullLayout === undefined;
    const { data, layout } = zoom.applied(shownFigure(), reading, (turn += 1));
    const hover = axis ? { hovermode: false } : {};
    const fit = { autosize: true, width: undefined, ...hover };
    await Plotly.react(room, data, withTop({ ...layout, ...fit }), config);
    if (isFirst) listen();
    fitLegend();
    showCursor();
    tables.update();
  }

  const withTop = (layout) =>
    ({ ...layout, margin: { ...layout.margin, t: Math.max(layout.margin?.t ?? 0, top) } });

  // A legend of one more line would lie over the title above it.
  function fitLegend() {
    const legend = axis && room.querySelector("g.legend .bg");
    if (!legend) return;
    const needed = TITLE + Number(legend.getAttribute("height"));
    const isTooLow = needed > room._fullLayout.margin.t + 1;
    top = Math.max(top, needed);
    if (isTooLow) again();
  }

  function shownFigure() {
    const sized = wasNarrow ? merged(spec, narrow) : spec;
    return switched(reading.unit ? overTime(sized, reading) : sized, switches);
  }

  function listen() {
    room.on("plotly_click", tell);
    room.on("plotly_relayout", (changes) => zoom.note(changes, reading));
    room.on("plotly_doubleclick", () => reset(pressed?.panel));
    room.on("plotly_afterplot", showCursor);
    room.on("plotly_relayouting", showCursor);
    if (!axis) return;
    room.addEventListener("pointermove", (event) => cross(isHeld ? null : under(room, event)));
    room.addEventListener("pointerleave", () => cross(null));
  }

  function cross(found) {
    const x = found && isNumeric(found.panel.xaxis) ? found.x : null;
    for (const chart of drawnCharts) {
      if (chart.run === run) chart.crosshair.show(x);
    }
  }

  function showCursor() {
    const step = axis?.cursor() ?? null;
    cursor.show(step === null ? null : reading.at(step));
  }

  // One panel and what lies over it, or all.
  function reset(panel) {
    const names = (found) => {
      const over = Object.entries(room._fullLayout).filter(([name, one]) =>
        /^yaxis/.test(name) && one?.overlaying === found.yaxis._id).map(([name]) => name);
      return [found.xaxis._name, found.yaxis._name, ...over];
    };
    zoom.forget(panel ? names(panel) : undefined);
    again();
  }

  function again() {
    drawn = null;
    soon();
  }

  function pick(event) {
    if (!room.contains(event.target)) return;
    isHeld = true;
    pressed = under(room, event);
  }

  function drop() {
    if (!isHeld) return;
    isHeld = false;
    // After plotly has taken it in.
    setTimeout(soon);
  }

  function onAxis() {
    units?.update();
    again();
  }

  const stopListening = axis?.listen(onAxis, showCursor);
  const isNarrow = () => room.clientWidth < model.get("narrow_below");
  const isDrawn = () => model.get("spec") === drawn && isNarrow() === wasNarrow;

  function soon() {
    frame ||= requestAnimationFrame(draw);
  }

  function tell({ points: [point] }) {
    // A cell of a heat map is numbered by its row and column.
    const number = point.pointNumber ?? point.pointIndex;
    const at = Array.isArray(number) ? number[0] : number;
    model.send({ event: "click", curve: point.curveNumber, point: at, x: point.x, y: point.y });
  }

  const tools = made("div", "chart-tools");
  const menu = makeMenu(label, chartEntries({
    Plotly, room, label, switches: run ? switches : null, again, reset: () => reset(null),
    csv: () => csv(spec?.data ?? [], axis),
  }));
  tools.append(...(units ? [units.box] : []), tables.opener, ...menu);
  place.append(tools, tables.view);

  const size = new ResizeObserver(() => {
    if (room.clientWidth === 0) return;
    const isOther = room.clientWidth !== width;
    width = room.clientWidth;
    if (isOther && top > 0) {
      top = 0; // the legend may need fewer lines
      again();
    } else if (isDrawn()) Plotly.Plots.resize(room);
    else soon();
  });
  size.observe(room);
  const self = { run, crosshair };
  drawnCharts.add(self);
  window.addEventListener("pointerdown", pick, true);
  for (const name of ["pointerup", "pointercancel"]) window.addEventListener(name, drop, true);
  model.on("change:spec", soon);
  soon();
  return () => {
    isGone = true;
    drawnCharts.delete(self);
    window.removeEventListener("pointerdown", pick, true);
    for (const name of ["pointerup", "pointercancel"]) window.removeEventListener(name, drop, true);
    stopListening?.();
    tables.end();
    size.disconnect();
    model.off("change:spec", soon);
    Plotly.purge(room);
  };
}
