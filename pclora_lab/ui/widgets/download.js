// A file that the kernel makes when the button is pressed. It comes in parts, each a message, and
// is put together here: no server has to reach a folder of the kernel's.

function save(parts, name) {
  const address = URL.createObjectURL(new Blob(parts, { type: "application/zip" }));
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

function render({ model, el }) {
  el.classList.add("pclora-download");
  const button = document.createElement("button");
  button.type = "button";
  button.className = "jupyter-widgets jupyter-button";
  const note = document.createElement("span");
  note.setAttribute("role", "status");
  el.append(button, note);

  // Every page of a kernel hears the parts: only the one that asked keeps them.
  let asked = "";
  let parts = [];

  function draw() {
    button.textContent = model.get("label");
    button.title = model.get("hint");
  }

  function end(text) {
    asked = "";
    parts = [];
    button.disabled = false;
    note.textContent = text;
  }

  function press() {
    asked = String(Math.random());
    parts = [];
    button.disabled = true;
    note.textContent = "packing …";
    model.send({ ask: asked });
  }

  function take(message, buffers) {
    if (!asked || message.ask !== asked) return;
    if (message.failed) return end("");
    parts.push(buffers[0]);
    note.textContent = `${Math.round((100 * parts.length) / message.of)}%`;
    if (parts.length < message.of) return;
    save(parts, message.name);
    end(`saved as ${message.name}`);
  }

  button.addEventListener("click", press);
  model.on("msg:custom", take);
  model.on("change:label change:hint", draw);
  draw();
  return () => {
    model.off("msg:custom", take);
    model.off("change:label change:hint", draw);
  };
}

export default { render };
