// A table to sort, filter, select, open and edit in; table.py describes the traits.
// Data reach the page through textContent and attributes only, never as markup.

const ARROWS = { ascending: " ▲", descending: " ▼", none: "" };
const NEXT = { none: "ascending", ascending: "descending", descending: "none" };
const PAGE = 10;
// A browser lays out a few hundred lines at once; thousands would make every key stroke wait.
const LINES = 300;

function make(tag, attributes = {}, text = "") {
  const element = document.createElement(tag);
  put(element, attributes);
  if (text) element.textContent = text;
  return element;
}

function put(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
}

// A share follows an edit of the row's other value at once, without asking the kernel.
function share(row, column) {
  const times = column.times ? row[column.times] : 1;
  return 100 * (row[column.name] * times + (column.plus ? row[column.plus] : 0));
}

function shown(row, column) {
  const value = row[column.name];
  if (column.kind === "share") return `${share(row, column).toFixed(1)}%`;
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return String(value);
  return format(column.digits).format(value);
}

// Making a formatter takes far longer than using it.
const formats = new Map();
function format(digits) {
  if (!formats.has(digits)) {
    const exactly = { minimumFractionDigits: digits, maximumFractionDigits: digits };
    const about = { maximumFractionDigits: 6 };
    formats.set(digits, new Intl.NumberFormat("en-US", digits === undefined ? about : exactly));
  }
  return formats.get(digits);
}

const collator = new Intl.Collator("en", { numeric: true });

// What is missing stands last in both directions.
function compare(a, b, direction) {
  const none = (value) => value === null || value === undefined || value === "";
  if (none(a) || none(b)) return none(a) - none(b);
  const both = typeof a === "number" && typeof b === "number";
  const order = both ? a - b : collator.compare(String(a), String(b));
  return direction === "descending" ? -order : order;
}

function render({ model, el }) {
  const state = { column: "", direction: "none", words: [], focused: "", found: [], limit: LINES };
  const drawn = new Map(); // id → the row as it was drawn, and its line
  const columns = () => model.get("columns");
  const label = () => model.get("label");
  const selectable = () => model.get("selectable");
  const browsable = () => model.get("browsable");

  // Without this, JupyterLab takes arrow keys and Enter for commands of the notebook.
  const root = make("div", { class: "pclora-table", "data-lm-suppress-shortcuts": "true" });
  const bar = make("div", { class: "pclora-table-bar" });
  const filter = make("input", { type: "search", placeholder: "filter: all words must occur" });
  const count = make("span", { role: "status", class: "pclora-table-count" });
  const scroll = make("div", { class: "pclora-table-scroll" });
  const table = make("table");
  const head = make("thead");
  const body = make("tbody");
  bar.append(filter, count);
  table.append(head, body);
  scroll.append(table);
  const more = make("button", { type: "button", class: "jupyter-button" });
  const alert = make("div", { role: "alert", class: "pclora-table-alert" });
  root.append(...(browsable() ? [bar] : []), scroll, more, alert);
  el.append(root);

  // At once and in order with clicks on buttons, which save_changes is not; see table.py.
  const set = (changes) => {
    for (const [name, value] of Object.entries(changes)) model.set(name, value);
    model.send(changes);
  };

  function forgetWhatIsGone() {
    const known = new Set(model.get("rows").map((row) => row.id));
    for (const id of drawn.keys()) if (!known.has(id)) drawn.delete(id);
    drawBody();
  }

  function rowsInOrder() {
    const text = (row) => columns().map((c) => shown(row, c)).join("\n").toLowerCase();
    const rows = model.get("rows").filter((row) => {
      const all = state.words.length ? text(row) : "";
      return state.words.every((word) => all.includes(word));
    });
    if (state.direction === "none" || !columns().some((c) => c.name === state.column)) return rows;
    return rows.sort((a, b) => compare(a[state.column], b[state.column], state.direction));
  }

  const title = (column) =>
    (column.label || column.name) + (column.unit ? ` (${column.unit})` : "");

  function drawHead() {
    const line = make("tr");
    if (selectable()) line.append(boxForAll());
    for (const column of columns()) {
      const direction = column.name === state.column ? state.direction : "none";
      const kind = column.kind || "text";
      const cell = make("th", { scope: "col", class: kind });
      line.append(cell);
      if (!browsable()) {
        cell.textContent = title(column);
        continue;
      }
      cell.setAttribute("aria-sort", direction);
      const button = make("button", { type: "button", "data-column": column.name });
      const arrow = make("span", { "aria-hidden": "true" }, ARROWS[direction]);
      button.append(title(column), arrow);
      button.addEventListener("click", () => sortBy(column.name));
      cell.append(button);
    }
    head.replaceChildren(line);
  }

  function boxForAll() {
    const cell = make("th", { scope: "col", class: "pclora-table-box" });
    const box = make("input", { type: "checkbox", "aria-label": `select all ${label()} found` });
    box.addEventListener("change", () => {
      const here = new Set(state.found);
      const others = model.get("selected").filter((id) => !here.has(id));
      set({ selected: box.checked ? [...others, ...here] : others });
    });
    cell.append(box);
    return cell;
  }

  function sortBy(name) {
    state.direction = name === state.column ? NEXT[state.direction] : "ascending";
    state.column = name;
    drawHead();
    [...head.querySelectorAll("button")].find((b) => b.dataset.column === name)?.focus();
    drawBody();
  }

  function lineFor(row) {
    const name = columns()[0]?.name;
    let before = drawn.get(row.id);
    if (!before || before.row[name] !== row[name]) before = { line: drawRow(row) };
    // A field may hold what was typed and refused.
    const old = before.row;
    const same = (c) => old && !c.editable_to && !c.times && old[c.name] === row[c.name];
    const first = Number(selectable());
    columns().forEach((c, i) => same(c) || fillCell(before.line.children[first + i], row, c));
    drawn.set(row.id, { row, line: before.line });
    return before.line;
  }

  function fillCell(cell, row, column) {
    const text = shown(row, column);
    if (column.editable_to) {
      const [name, most] = [shown(row, columns()[0]), row[column.editable_to]];
      const field = cell.firstElementChild;
      put(field, { max: most, "aria-label": `${title(column)} of ${name}, 1 to ${most}`,
        title: `1 to ${most}${column.hint ? `; ${column.hint}` : ""}` });
      if (field === root.getRootNode().activeElement) return; // somebody is typing
      field.value = row[column.name];
      field.setAttribute("aria-invalid", "false");
    } else if (column.kind === "share") {
      const track = make("span", { class: "pclora-table-share", "aria-hidden": "true" });
      track.append(make("span", { style: `width: ${Math.min(share(row, column), 100)}%` }));
      cell.replaceChildren(track, make("span", {}, text));
    } else {
      cell.textContent = cell.title = text;
    }
  }

  // A number field that is always open; what it refuses never reaches the kernel.
  function makeField(row, column) {
    const field = make("input", { type: "number", min: 1, step: 1 });
    const commit = () => {
      const value = Number(field.value);
      const fits = Number.isInteger(value) && value >= 1 && value <= Number(field.max);
      field.setAttribute("aria-invalid", String(!fits));
      const edited = (other) => (other.id === row.id ? { ...other, [column.name]: value } : other);
      if (fits) set({ rows: model.get("rows").map(edited) });
      else alert.textContent = `${shown(row, columns()[0])}: ${title(column)} `
        + `${field.value || "(none)"} can't be used. Give a whole number from 1 to ${field.max}.`;
    };
    field.addEventListener("change", commit);
    // Not every page lets Enter through to the field, so that it would count as a change.
    field.addEventListener("keydown", (event) => {
      event.stopPropagation();
      if (event.key === "Enter") commit();
    });
    return field;
  }

  function drawRow(row) {
    const line = make("tr", browsable() ? { tabindex: "-1" } : {});
    line.dataset.id = row.id;
    if (selectable()) {
      const name = shown(row, columns()[0] || {});
      const cell = make("td", { class: "pclora-table-box" });
      const box = make("input",
        { type: "checkbox", tabindex: "-1", "aria-label": `select ${name}` });
      box.addEventListener("change", () => toggle(row.id, box.checked));
      cell.append(box);
      line.append(cell);
    }
    for (const column of columns()) {
      const cell = make("td", { class: column.kind || "text" });
      cell.dataset.column = column.name;
      if (column.editable_to) cell.append(makeField(row, column));
      else if (browsable()) cell.setAttribute("aria-readonly", "true");
      line.append(cell);
    }
    return line;
  }

  function drawBody() {
    const active = root.getRootNode().activeElement;
    const hadFocus = body.contains(active);
    const top = scroll.scrollTop;
    const found = rowsInOrder();
    const rows = found.slice(0, state.limit);
    state.found = found.map((row) => row.id);
    more.hidden = found.length <= rows.length;
    more.textContent = `show ${Math.min(LINES, found.length - rows.length)} more`;
    const now = rows.map(lineFor);
    // A line that is put in anew loses the focus.
    if (now.length !== lines().length || now.some((line, i) => line !== body.children[i]))
      body.replaceChildren(...now);
    scroll.scrollTop = top;
    if (!rows.some((row) => row.id === state.focused)) state.focused = rows[0]?.id || "";
    mark();
    if (hadFocus && root.getRootNode().activeElement !== active)
      (body.contains(active) ? active : lineOf(state.focused))?.focus({ preventScroll: true });
    if (!body.querySelector("[aria-invalid=true]")) alert.textContent = "";
  }

  const lines = () => [...body.children];
  const lineOf = (id) => lines().find((line) => line.dataset.id === id);

  // Selection, current row and focus, without drawing anew.
  function mark() {
    if (!browsable()) return;
    const selected = new Set(model.get("selected"));
    for (const line of lines()) {
      const id = line.dataset.id;
      line.tabIndex = id === state.focused ? 0 : -1;
      line.setAttribute("aria-selected", String(selected.has(id)));
      line.setAttribute("aria-current", String(id === model.get("current")));
      const box = line.querySelector("input[type=checkbox]");
      if (box) box.checked = selected.has(id);
    }
    const here = state.found.filter((id) => selected.has(id)).length;
    const all = head.querySelector("input");
    if (all) {
      all.checked = here > 0 && here === state.found.length;
      all.indeterminate = here > 0 && here < state.found.length;
    }
    const hidden = selected.size - here;
    let words = `${state.found.length} of ${model.get("rows").length}`;
    if (selected.size) words += `, ${selected.size} selected`;
    if (hidden) words += ` (${hidden} hidden by the filter)`;
    if (count.textContent !== words) count.textContent = words;
  }

  function toggle(id, on) {
    const others = model.get("selected").filter((other) => other !== id);
    set({ selected: on ? [...others, id] : others });
  }

  function focusLine(line) {
    if (!line) return;
    state.focused = line.dataset.id;
    for (const other of lines()) other.tabIndex = other === line ? 0 : -1;
    line.focus();
    line.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  function open(id) {
    set({ current: id, opened: { id, n: (model.get("opened").n || 0) + 1 } });
  }

  body.addEventListener("click", (event) => {
    const line = event.target.closest("tr");
    if (!browsable() || !line || event.target.closest("input")) return;
    focusLine(line);
    if (model.get("current") !== line.dataset.id) set({ current: line.dataset.id });
  });
  body.addEventListener("dblclick", (event) => {
    const line = event.target.closest("tr");
    if (browsable() && line && !event.target.closest("input")) open(line.dataset.id);
  });
  body.addEventListener("keydown", (event) => {
    const line = event.target.closest("tr");
    if (!browsable() || !line) return;
    const all = lines();
    const at = all.indexOf(line);
    const last = all.length - 1;
    const places = {
      ArrowDown: Math.min(at + 1, last), ArrowUp: Math.max(at - 1, 0), Home: 0, End: last,
      PageDown: Math.min(at + PAGE, last), PageUp: Math.max(at - PAGE, 0),
    };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in places) focusLine(all[places[event.key]]);
    else if (event.key === " " && selectable())
      toggle(line.dataset.id, !model.get("selected").includes(line.dataset.id));
    else if (event.key === "Enter") open(line.dataset.id);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  more.addEventListener("click", () => {
    const last = body.lastElementChild;
    state.limit += LINES;
    drawBody();
    focusLine(last.nextElementSibling);
  });
  filter.addEventListener("input", () => {
    state.words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    drawBody();
  });
  function drawAll() {
    filter.setAttribute("aria-label", `filter ${label()}`);
    const named = { "aria-label": label() };
    if (browsable()) put(table, { ...named, role: "grid", "aria-multiselectable": "true" });
    else put(scroll, { ...named, role: "region", tabindex: "0" }); // the keyboard can scroll it
    scroll.style.maxHeight = model.get("height");
    drawn.clear();
    drawHead();
    drawBody();
  }

  const watched = [
    ...["columns", "label", "height", "selectable"].map((name) => [name, drawAll]),
    ["rows", forgetWhatIsGone], ["selected", mark], ["current", mark],
  ];
  for (const [name, react] of watched) model.on(`change:${name}`, react);
  drawAll();
  return () => watched.forEach(([name, react]) => model.off(`change:${name}`, react));
}

export default { render };
