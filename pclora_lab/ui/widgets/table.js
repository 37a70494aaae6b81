// A table to sort, filter, select, open and edit in; table.py describes the traits.
// Data reach the page through textContent and attributes only, never as markup.

const ARROWS = { ascending: " ▲", descending: " ▼", none: "" };
const NEXT = { none: "ascending", ascending: "descending", descending: "none" };
const PAGE = 10;
// A browser lays out a few hundred lines at once; thousands would make every key stroke wait.
const LINES = 300;

function make(tag, attributes = {}, text = "") {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text) element.textContent = text;
  return element;
}

function shown(value, column) {
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
  const state = { column: "", direction: "none", words: [], focused: "", editing: false,
    found: [], limit: LINES };
  const drawn = new Map(); // id → the row as it was drawn, and its line
  const columns = () => model.get("columns");
  const label = () => model.get("label");

  // Without this, JupyterLab takes arrow keys and Enter for commands of the notebook.
  const root = make("div", { class: "pclora-table", "data-lm-suppress-shortcuts": "true" });
  const bar = make("div", { class: "pclora-table-bar" });
  const filter = make("input", { type: "search", placeholder: "filter: all words must occur" });
  const count = make("span", { role: "status", class: "pclora-table-count" });
  const scroll = make("div", { class: "pclora-table-scroll" });
  const table = make("table", { role: "grid", "aria-multiselectable": "true" });
  const head = make("thead");
  const body = make("tbody");
  bar.append(filter, count);
  table.append(head, body);
  scroll.append(table);
  const more = make("button", { type: "button", class: "jupyter-button" });
  root.append(bar, scroll, more);
  el.append(root);

  function set(name, value) {
    model.set(name, value);
    model.save_changes();
  }

  function forgetWhatIsGone() {
    const known = new Set(model.get("rows").map((row) => row.id));
    for (const id of drawn.keys()) if (!known.has(id)) drawn.delete(id);
    drawBody();
  }

  function told(name, facts) {
    set(name, { ...facts, n: (model.get(name).n || 0) + 1 });
  }

  function rowsInOrder() {
    const text = (row) => columns().map((c) => shown(row[c.name], c)).join("\n").toLowerCase();
    const rows = model.get("rows").filter((row) => {
      const all = state.words.length ? text(row) : "";
      return state.words.every((word) => all.includes(word));
    });
    if (state.direction === "none" || !columns().some((c) => c.name === state.column)) return rows;
    return rows.sort((a, b) => compare(a[state.column], b[state.column], state.direction));
  }

  function title(column) {
    const words = column.label || column.name;
    return column.unit ? `${words} (${column.unit})` : words;
  }

  function drawHead() {
    const line = make("tr");
    if (model.get("selectable")) line.append(boxForAll());
    for (const column of columns()) {
      const direction = column.name === state.column ? state.direction : "none";
      const kind = column.kind || "text";
      const cell = make("th", { scope: "col", "aria-sort": direction, class: kind });
      const button = make("button", { type: "button", "data-column": column.name });
      const arrow = make("span", { "aria-hidden": "true" }, ARROWS[direction]);
      button.append(title(column), arrow);
      button.addEventListener("click", () => sortBy(column.name));
      cell.append(button);
      line.append(cell);
    }
    head.replaceChildren(line);
  }

  function boxForAll() {
    const cell = make("th", { scope: "col", class: "pclora-table-box" });
    const box = make("input", { type: "checkbox", "aria-label": `select all ${label()} found` });
    box.addEventListener("change", () => {
      const here = new Set(state.found);
      const others = model.get("selected").filter((id) => !here.has(id));
      set("selected", box.checked ? [...others, ...here] : others);
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
    const before = drawn.get(row.id);
    const same = before && columns().every((c) => before.row[c.name] === row[c.name]);
    if (!same) drawn.set(row.id, { row, line: drawRow(row) });
    return drawn.get(row.id).line;
  }

  function drawRow(row) {
    const line = make("tr", { tabindex: "-1" });
    line.dataset.id = row.id;
    if (model.get("selectable")) {
      const name = shown(row[columns()[0]?.name], columns()[0] || {});
      const cell = make("td", { class: "pclora-table-box" });
      const facts = { type: "checkbox", tabindex: "-1", "aria-label": `select ${name}` };
      const box = make("input", facts);
      box.addEventListener("change", () => toggle(row.id, box.checked));
      cell.append(box);
      line.append(cell);
    }
    for (const column of columns()) {
      const text = shown(row[column.name], column);
      const cell = make("td", { class: column.kind || "text", title: text }, text);
      cell.dataset.column = column.name;
      if (!column.editable) cell.setAttribute("aria-readonly", "true");
      line.append(cell);
    }
    return line;
  }

  function drawBody() {
    if (state.editing) return; // drawn when the edit is over
    const hadFocus = body.contains(root.getRootNode().activeElement);
    const top = scroll.scrollTop;
    const found = rowsInOrder();
    const rows = found.slice(0, state.limit);
    state.found = found.map((row) => row.id);
    more.hidden = found.length <= rows.length;
    more.textContent = `show ${Math.min(LINES, found.length - rows.length)} more`;
    body.replaceChildren(...rows.map(lineFor));
    scroll.scrollTop = top;
    if (!rows.some((row) => row.id === state.focused)) state.focused = rows[0]?.id || "";
    mark();
    if (hadFocus) lineOf(state.focused)?.focus({ preventScroll: true });
  }

  function lines() {
    return [...body.children];
  }

  function lineOf(id) {
    return lines().find((line) => line.dataset.id === id);
  }

  // Selection, current row and focus, without drawing anew.
  function mark() {
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
    set("selected", on ? [...others, id] : others);
  }

  function focusLine(line) {
    if (!line) return;
    state.focused = line.dataset.id;
    for (const other of lines()) other.tabIndex = other === line ? 0 : -1;
    line.focus();
    line.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  function open(id) {
    model.set("current", id);
    told("opened", { id });
  }

  function edit(cell) {
    const column = columns().find((c) => c.name === cell?.dataset.column);
    if (!column?.editable || state.editing) return;
    const id = cell.parentElement.dataset.id;
    const before = model.get("rows").find((row) => row.id === id)?.[column.name];
    const input = make("input", { class: "pclora-table-cell-input", "aria-label": title(column) });
    input.value = before === null || before === undefined ? "" : String(before);
    state.editing = true;
    cell.replaceChildren(input);
    input.focus();
    input.select();
    const end = (keep) => {
      if (!state.editing) return;
      const words = input.value.trim();
      const value = column.kind === "number" ? (words === "" ? null : Number(words)) : input.value;
      if (keep && typeof value === "number" && !Number.isFinite(value)) {
        input.setAttribute("aria-invalid", "true");
        count.textContent = `${input.value} is no number: correct it, or press Escape`;
        return;
      }
      const focused = root.getRootNode().activeElement === input;
      state.editing = false;
      state.focused = id;
      drawn.delete(id);
      drawBody();
      if (focused) lineOf(id)?.focus();
      if (keep && value !== before) told("edited", { id, column: column.name, value });
    };
    input.addEventListener("keydown", (event) => {
      event.stopPropagation();
      if (event.key === "Enter") end(true);
      if (event.key === "Escape") end(false);
    });
    input.addEventListener("blur", () => end(false));
  }

  body.addEventListener("click", (event) => {
    const line = event.target.closest("tr");
    if (!line || event.target.closest("input")) return;
    focusLine(line);
    if (model.get("current") !== line.dataset.id) set("current", line.dataset.id);
  });
  body.addEventListener("dblclick", (event) => {
    const cell = event.target.closest("td");
    if (!cell || event.target.closest("input")) return;
    if (columns().find((c) => c.name === cell.dataset.column)?.editable) edit(cell);
    else open(cell.parentElement.dataset.id);
  });
  body.addEventListener("keydown", (event) => {
    const line = event.target.closest("tr");
    if (!line || state.editing) return;
    const all = lines();
    const at = all.indexOf(line);
    const last = all.length - 1;
    const places = {
      ArrowDown: Math.min(at + 1, last), ArrowUp: Math.max(at - 1, 0), Home: 0, End: last,
      PageDown: Math.min(at + PAGE, last), PageUp: Math.max(at - PAGE, 0),
    };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in places) focusLine(all[places[event.key]]);
    else if (event.key === " " && model.get("selectable"))
      toggle(line.dataset.id, !model.get("selected").includes(line.dataset.id));
    else if (event.key === "Enter") open(line.dataset.id);
    else if (event.key === "F2") {
      const first = columns().find((c) => c.editable);
      edit([...line.children].find((cell) => cell.dataset.column === first?.name));
    } else return;
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
    table.setAttribute("aria-label", label());
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
