// The kernel makes the text when the button is pressed; then it can be read, and copied.

function render({ model, el }) {
  el.classList.add("pclora-copy");
  const button = document.createElement("button");
  button.type = "button";
  button.className = "jupyter-widgets jupyter-button";
  const said = document.createElement("span");
  said.setAttribute("role", "status");
  const area = document.createElement("textarea");
  area.readOnly = true;
  area.spellcheck = false;
  el.append(button, said, area);

  function draw() {
    button.textContent = model.get("label");
    area.setAttribute("aria-label", `${model.get("label")}: the text`);
    area.value = model.get("text");
    area.rows = Math.min(area.value.split("\n").length, 16);
    area.hidden = !area.value;
    if (area.hidden) said.textContent = "";
  }

  async function copy() {
    draw();
    if (area.hidden) return;
    try {
      await navigator.clipboard.writeText(area.value);
      said.textContent = "copied";
    } catch {
      said.textContent = "copy it from here";
      area.select();
    }
  }

  button.addEventListener("click", () => model.send({ press: true }));
  model.on("change:text change:label", draw);
  model.on("change:presses", copy);
  draw();
  return () => {
    model.off("change:text change:label", draw);
    model.off("change:presses", copy);
  };
}

export default { render };
