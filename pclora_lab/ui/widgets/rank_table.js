const STYLE = `
.pclora-ranks { max-height: 262px; max-width: 600px; overflow: auto; line-height: 1.3;
  border: 1px solid var(--jp-border-color1, #bdbdbd); color: var(--jp-ui-font-color1, inherit); }
.pclora-ranks:focus-visible { outline: 2px solid var(--jp-brand-color1, #1976d2); }
.pclora-ranks table { border-collapse: collapse; width: 100%; margin: 0; font-size: 12px; }
.pclora-ranks th, .pclora-ranks td { padding: 2px 8px; text-align: right; white-space: nowrap; }
.pclora-ranks th { position: sticky; top: 0; z-index: 1; font-weight: 600;
  background: var(--jp-layout-color2, #eeeeee); }
.pclora-ranks th:first-child, .pclora-ranks td:first-child { text-align: left; }
.pclora-ranks input { width: 5em; font: inherit; text-align: right; padding: 1px 3px;
  color: inherit; background: var(--jp-layout-color1, white);
  border: 1px solid var(--jp-border-color1, #8a8a8a); }
.pclora-ranks input:focus-visible { outline: 2px solid var(--jp-brand-color1, #1976d2); }
.pclora-ranks input[aria-invalid="true"] { border: 2px solid var(--jp-error-color1, #b00020); }
.pclora-ranks .track { display: inline-block; width: 90px; height: 9px; margin-right: 6px;
  text-align: left; background: var(--jp-border-color2, #dddddd); }
.pclora-ranks .percent { display: inline-block; width: 4em; }
.pclora-ranks .bar { display: block; height: 100%; background: #0072B2; }
.pclora-ranks-alert { min-height: 1.3em; font-size: 12px; color: var(--jp-error-color1, #b00020); }
`;
const HEADINGS = ["layer", "in→out", "break-even", "rank", "parameters left"];

function make(tag, parent, text) {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  parent.append(node);
  return node;
}

function makeRow(body, layer, onRank, refuse) {
  const row = make("tr", body);
  for (const text of [layer.name, layer.shape, String(layer.even)]) make("td", row, text);
  const input = make("input", make("td", row));
  Object.assign(input, { type: "number", min: 1, max: layer.largest, step: 1 });
  input.setAttribute("aria-label", `rank of ${layer.name}, 1 to ${layer.largest}`);
  input.title = `1 to ${layer.largest}; from there on the layer would not shrink`;
  const cell = make("td", row);
  const track = make("span", cell);
  track.className = "track";
  track.setAttribute("aria-hidden", "true");
  const bar = make("span", track);
  bar.className = "bar";
  const percent = make("span", cell);
  percent.className = "percent";

  function commit() {
    const rank = Number(input.value);
    const fits = Number.isInteger(rank) && rank >= 1 && rank <= layer.largest;
    input.setAttribute("aria-invalid", String(!fits));
    if (fits) onRank(layer.name, rank);
    else refuse(`${layer.name}: rank ${input.value || "(none)"} can't be used. `
        + `Give a whole number from 1 to ${layer.largest}.`);
  }
  input.addEventListener("change", commit);
  // Not every page lets Enter through to the field, so that it would count as a change.
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter") commit();
  });
  return (rank) => {
    const share = (100 * (layer.fixed + layer.each * rank)) / layer.dense;
    if (input.value !== String(rank)) input.value = rank;
    input.setAttribute("aria-invalid", "false");
    bar.style.width = `${Math.min(share, 100)}%`;
    percent.textContent = `${share.toFixed(1)} %`;
  };
}

function render({ model, el }) {
  make("style", el, STYLE);
  const box = make("div", el);
  box.className = "pclora-ranks";
  box.tabIndex = 0; // so that the keyboard can scroll it
  box.setAttribute("role", "region");
  box.setAttribute("aria-label", "rank of every layer");
  const table = make("table", box);
  const head = make("tr", make("thead", table));
  for (const text of HEADINGS) make("th", head, text).scope = "col";
  const body = make("tbody", table);
  const alert = make("div", el);
  alert.className = "pclora-ranks-alert";
  alert.setAttribute("role", "alert");
  let show = {};

  function send(name, rank) {
    alert.textContent = "";
    model.set("ranks", { ...model.get("ranks"), [name]: rank });
    model.save_changes();
  }
  function fill() {
    alert.textContent = "";
    const ranks = model.get("ranks");
    for (const [name, showRank] of Object.entries(show)) {
      if (name in ranks) showRank(ranks[name]);
    }
  }
  function build() {
    body.replaceChildren();
    show = {};
    for (const layer of model.get("layers")) {
      show[layer.name] = makeRow(body, layer, send, (text) => { alert.textContent = text; });
    }
    fill();
  }
  model.on("change:layers", build);
  model.on("change:ranks", fill);
  build();
  return () => {
    model.off("change:layers", build);
    model.off("change:ranks", fill);
  };
}

export default { render };
