// Buttons of which one is pressed. A click is told as a message, so that the same one counts again.

function render({ model, el }) {
  el.classList.add("pclora-pick");
  const label = document.createElement("span");
  label.className = "pclora-pick-label";
  const group = document.createElement("div");
  group.setAttribute("role", "group");
  el.append(label, group);

  function press(value) {
    if (model.get("choices").find(choice => choice.value === value)?.why) return;
    mark(value);
    model.send({ pressed: value });
  }

  function button(choice) {
    const made = document.createElement("button");
    made.type = "button";
    made.dataset.value = choice.value;
    const name = document.createElement("span");
    name.textContent = choice.label;
    made.append(name);
    const words = choice.why || choice.note;
    if (words) {
      const note = document.createElement("small");
      note.textContent = words;
      made.append(note);
    }
    made.disabled = Boolean(choice.why);
    made.addEventListener("click", () => press(choice.value));
    return made;
  }

  const buttons = () => [...group.children];

  // One stop for the Tab key: the pressed one, or the first that can be.
  function mark(value) {
    const open = buttons().filter(each => !each.disabled);
    const stop = open.find(each => each.dataset.value === value) ?? open[0];
    for (const each of buttons()) {
      each.setAttribute("aria-pressed", String(each.dataset.value === value));
      each.tabIndex = each === stop ? 0 : -1;
    }
  }

  function draw() {
    const focused = group.contains(document.activeElement) ? document.activeElement : null;
    const columns = model.get("columns");
    label.textContent = columns ? "" : model.get("label");
    label.hidden = columns > 0;
    group.setAttribute("aria-label", model.get("label"));
    if (model.get("hint")) group.title = model.get("hint");
    group.className = columns ? "pclora-pick-grid" : "pclora-pick-row";
    group.style.gridTemplateColumns = columns ? `repeat(${columns}, minmax(0, 1fr))` : "";
    group.replaceChildren(...model.get("choices").map(button));
    mark(model.get("value"));
    if (focused) buttons().find(each => each.dataset.value === focused.dataset.value)?.focus();
  }

  group.addEventListener("keydown", event => {
    const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
    const open = buttons().filter(each => !each.disabled);
    const place = open.indexOf(document.activeElement);
    if (!(event.key in steps) || place < 0) return;
    const next = open[(place + steps[event.key] + open.length) % open.length];
    for (const each of open) each.tabIndex = each === next ? 0 : -1;
    next.focus();
    event.preventDefault();
    event.stopPropagation();
  });

  const remark = () => mark(model.get("value"));
  for (const trait of ["choices", "label", "columns", "hint"]) model.on(`change:${trait}`, draw);
  model.on("change:value", remark);
  draw();
  return () => {
    for (const trait of ["choices", "label", "columns", "hint"]) model.off(`change:${trait}`, draw);
    model.off("change:value", remark);
  };
}

export default { render };
