// JupyterLab and Voilà write their theme on the body; elsewhere the browser's preference counts.
function isDark(preference) {
  const light = document.body.dataset.jpThemeLight;
  return light === undefined ? preference.matches : light === "false";
}

// The start of a control's help text, up to its colon, names a control that has no label.
function nameOf(control) {
  const label = control.closest(".jupyter-widgets")?.querySelector(".widget-label");
  return label?.textContent.trim() || (control.title || label?.title || "").split(":")[0];
}

const stepOf = (handle) => handle.closest(".pclora-timeline")?.querySelector(".pclora-step");

// The handle of a slider tells its value with all the digits of a binary fraction, and a place on
// the timeline is a step.
function spokenValue(handle) {
  const step = stepOf(handle);
  if (step) return step.textContent.trim();
  const told = handle.getAttribute("aria-valuetext");
  const short = String(Number(Number(told).toPrecision(10)));
  return short === "NaN" ? told : short;
}

// ipywidgets gives the handle of a slider and a field without a description no name, and writes
// the text "null" where a label has no tooltip.
function tidy(root) {
  for (const label of root.querySelectorAll("[title=null]")) label.removeAttribute("title");
  for (const field of root.querySelectorAll("input[title]:not([aria-label])")) {
    const isNamed = [...(field.labels ?? [])].some((label) => label.textContent.trim());
    if (!isNamed) field.setAttribute("aria-label", nameOf(field));
  }
  for (const number of root.querySelectorAll(".widget-readout:not([aria-label])")) {
    number.setAttribute("role", "textbox");
    number.setAttribute("aria-label", `${nameOf(number)}, as a number`);
  }
  for (const handle of root.querySelectorAll(".noUi-handle:not([aria-label])")) {
    handle.setAttribute("aria-label", nameOf(handle) || "slider");
    const speak = () => {
      const spoken = spokenValue(handle);
      if (spoken !== handle.getAttribute("aria-valuetext")) {
        handle.setAttribute("aria-valuetext", spoken);
      }
    };
    const changes = new MutationObserver(speak);
    changes.observe(handle, { attributeFilter: ["aria-valuetext"] });
    const step = stepOf(handle);
    if (step) changes.observe(step, { subtree: true, childList: true });
    speak();
  }
}

// Whenever something was added, but not more often than twice a second.
function keepTidy(root) {
  let timer = 0;
  const later = () => {
    timer ||= setTimeout(() => {
      timer = 0;
      tidy(root);
    }, 500);
  };
  const added = new MutationObserver(later);
  added.observe(root, { childList: true, subtree: true });
  later();
  return added;
}

function render({ model, el }) {
  const preference = window.matchMedia("(prefers-color-scheme: dark)");
  el.setAttribute("aria-hidden", "true");

  // As a message, and again until the kernel has taken it in: a change of the state would wait for
  // the answer to the one before, for ever if a connection broke meanwhile.
  let timer = 0;
  function tell(delay = 1000) {
    clearTimeout(timer);
    const dark = isDark(preference);
    if (model.get("alive") && model.get("dark") === dark) return;
    model.send({ dark });
    timer = setTimeout(tell, delay, Math.min(2 * delay, 30_000));
  }
  const tellAnew = () => tell();

  const theme = new MutationObserver(tellAnew);
  theme.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
  preference.addEventListener("change", tellAnew);

  // At the window, as JupyterLab listens at the document and was there first.
  window.addEventListener("keydown", keepKeys, true);

  // The page adds a widget to its lab after it has been drawn.
  let added = null;
  let deaf = null;
  let frame = requestAnimationFrame(function begin() {
    const root = el.closest(".pclora-lab");
    if (root) {
      root.setAttribute("role", "region");
      root.setAttribute("aria-label", "PC-LoRA lab");
      added = keepTidy(root);
      deaf = listen(root, (pressed) => model.send(pressed));
    } else if (!el.isConnected) frame = requestAnimationFrame(begin);
  });

  tell();
  return () => {
    window.removeEventListener("keydown", keepKeys, true);
    clearTimeout(timer);
    cancelAnimationFrame(frame);
    added?.disconnect();
    deaf?.();
    theme.disconnect();
    preference.removeEventListener("change", tellAnew);
  };
}

export default { render };
