// A heading that is a button: it says whether what stands below it is open.

function render({ model, el }) {
  el.classList.add("pclora-fold-heading");
  const button = document.createElement("button");
  button.type = "button";
  el.append(button);

  function draw() {
    button.setAttribute("aria-expanded", String(model.get("is_open")));
    button.textContent = model.get("label");
  }

  button.addEventListener("click", () => model.send({ open: !model.get("is_open") }));
  model.on("change:is_open", draw);
  model.on("change:label", draw);
  draw();
  return () => {
    model.off("change:is_open", draw);
    model.off("change:label", draw);
  };
}

export default { render };
