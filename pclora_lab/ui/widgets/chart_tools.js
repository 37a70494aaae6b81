// What stands on a chart: the line at one x through its panels, its buttons, and its tables.

function made(kind, name, more = {}) {
  const part = Object.assign(document.createElement(kind), more);
  if (name) part.className = `pclora-${name}`;
  return part;
}

function placed(line, panel, x) {
  const { xaxis, yaxis } = panel;
  const inside = xaxis.l2p(x);
  const isSeen = Number.isFinite(inside) && inside >= -1 && inside <= xaxis._length + 1;
  line.hidden = !isSeen;
  line.style.left = `${xaxis._offset + inside}px`;
  line.style.top = `${yaxis._offset}px`;
  line.style.height = `${yaxis._length}px`;
  return isSeen;
}

// A line in every panel of a chart, at one x; each panel's line is made once.
function makeLines(room, name, fill = () => {}) {
  const lines = [];
  return {
    show(x) {
      const panels = x === null ? [] : panelsOf(room).filter(({ xaxis }) => isNumeric(xaxis));
      for (const line of lines.slice(panels.length)) line.hidden = true;
      panels.forEach((panel, i) => {
        if (!lines[i]) {
          lines[i] = made("div", name);
          lines[i].setAttribute("aria-hidden", "true");
          room.append(lines[i]);
        }
        if (placed(lines[i], panel, x)) fill(lines[i], panel, x);
      });
    },
  };
}

// The values beside a crosshair, in their curves' colors.
function fillValues(room, heading) {
  return (line, panel, x) => {
    const rows = valuesAt(room, panel, x).map(([name, color, value]) => {
      const row = made("div");
      const mark = made("i");
      mark.style.background = color ?? "currentColor";
      row.append(mark, `${name.replace(/ \(.*\)$/, "")} `, made("b", "", { textContent: value }));
      return row;
    });
    const box = made("div", "values");
    box.append(made("div", "", { textContent: heading(x) }), ...rows);
    line.replaceChildren(box);
    moveInto(room, line, box, panel);
  };
}

// On the side where there is more of the panel, and within the chart.
function moveInto(room, line, box, { xaxis }) {
  const [at, width] = [line.offsetLeft, box.offsetWidth];
  const isRight = at < xaxis._offset + xaxis._length / 2;
  const wanted = isRight ? at + 6 : at - 6 - width;
  const left = Math.max(0, Math.min(wanted, room.clientWidth - width));
  box.style.left = `${left - at}px`;
}

// The panel under the pointer and its x there; null outside of all.
function under(room, event) {
  const { left, top } = room.getBoundingClientRect();
  const [x, y] = [event.clientX - left, event.clientY - top];
  const isIn = (at, axis) => at >= axis._offset && at <= axis._offset + axis._length;
  const panel = panelsOf(room).find((one) => isIn(x, one.xaxis) && isIn(y, one.yaxis));
  return panel ? { panel, x: panel.xaxis.p2l(x - panel.xaxis._offset) } : null;
}

function button(text, click, label = text) {
  const made_ = made("button", "", { type: "button", textContent: text, onclick: click });
  if (label !== text) made_.setAttribute("aria-label", label);
  return made_;
}

// A list that opens below its button, over everything else; Escape and a click elsewhere close it.
function makeMenu(label, entries) {
  const list = made("div", "chart-menu", { popover: "auto" });
  list.append(...entries);
  const opener = button("⋯", null, `options of ${label}`);
  opener.title = "smooth, zoom, download";
  opener.popoverTargetElement = list;
  opener.setAttribute("aria-haspopup", "true");
  list.addEventListener("beforetoggle", () => {
    const { right, bottom } = opener.getBoundingClientRect();
    list.style.top = `${bottom + 2}px`;
    list.style.right = `${document.documentElement.clientWidth - right}px`;
  });
  return [opener, list];
}

// Steps or time, for all charts of the run at once.
function makeUnits(axis, label) {
  const box = made("span", "chart-units");
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", `x axis of ${label}`);
  const why = made("span", "chart-why");
  const units = [["step", "Steps"], ["time", "Time"]];
  const buttons = units.map(([unit, text]) => button(text, () => {
    if (unit === "step" || !axis.missing()) axis.choose(unit);
  }));
  box.append(...buttons, why);
  function update() {
    const missing = axis.missing();
    why.textContent = missing;
    buttons[1].title = missing || "seconds that training has taken";
    buttons[1].setAttribute("aria-disabled", String(Boolean(missing)));
    buttons.forEach((one, i) => one.setAttribute("aria-pressed", String(axis.isTime() === (i === 1))));
  }
  update();
  return { box, update };
}

function tableElement({ caption, head, rows }) {
  const table = made("table");
  table.createCaption().textContent = caption;
  const top = table.createTHead().insertRow();
  head.forEach((text) => top.append(made("th", "", { scope: "col", textContent: text })));
  const body = table.createTBody();
  for (const [first, ...others] of rows) {
    const row = body.insertRow();
    row.append(made("th", "", { scope: "row", textContent: first }));
    for (const text of others) row.insertCell().textContent = text;
  }
  return table;
}

// The same in numbers, for who can't see the chart or wants to read them; made while it is open.
function makeTables(room, label) {
  const view = made("div", "chart-tables", { hidden: true, tabIndex: 0 });
  view.setAttribute("role", "region");
  view.setAttribute("aria-label", `${label} as a table`);
  const opener = button("Table", () => {
    view.hidden = !view.hidden;
    opener.setAttribute("aria-expanded", String(!view.hidden));
    if (view.hidden) view.replaceChildren();
    else fill();
  }, `Table: ${label}`);
  opener.setAttribute("aria-expanded", "false");
  let timer = 0;
  function fill() {
    timer = 0;
    if (view.hidden) return;
    const { scrollTop, scrollLeft } = view;
    view.replaceChildren(...tablesOf(room).map(tableElement));
    Object.assign(view, { scrollTop, scrollLeft });
  }
  // Points come several times a second.
  const update = () => {
    if (!view.hidden) timer ||= setTimeout(fill, 700);
  };
  return { opener, view, update, end: () => clearTimeout(timer) };
}

function saved(text, name, type) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}

// A picture as it is on the page, which shows through the chart itself.
function savedPicture({ Plotly, room, file }, format) {
  const page = getComputedStyle(document.body).getPropertyValue("--jp-layout-color0").trim();
  const [width, height] = [room.clientWidth, room.clientHeight];
  const layout = { ...room.layout, width, height, paper_bgcolor: page || "#fff" };
  const picture = { data: room.data, layout };
  // Twice as many dots, for a slide; an SVG has none.
  const scale = format === "png" ? 2 : 1;
  return Plotly.downloadImage(picture, { format, filename: file, width, height, scale });
}

// What can be switched, and in which formats a chart is taken away.
function chartEntries({ Plotly, room, label, switches, again, reset, csv: text }) {
  const file = label.replaceAll(/\W+/g, "_") || "chart";
  const toggle = (name, words) => {
    const one = button(words, () => {
      switches[name] = !switches[name];
      one.setAttribute("aria-pressed", String(switches[name]));
      again();
    });
    one.setAttribute("aria-pressed", "false");
    return one;
  };
  const own = switches ? [toggle("smooth", "Smooth"), toggle("log", "Swap logarithmic and linear")] : [];
  const picture = (format) =>
    button(`Download ${format.toUpperCase()}`, () => savedPicture({ Plotly, room, file }, format));
  return [
    ...own, button("Reset zoom", reset), picture("png"), picture("svg"),
    button("Download CSV", () => saved(text(), `${file}.csv`, "text/csv")),
  ];
}
