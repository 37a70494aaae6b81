// JupyterLab and Voilà write their theme on the body; elsewhere the browser's preference counts.
function isDark(preference) {
  const light = document.body.dataset.jpThemeLight;
  return light === undefined ? preference.matches : light === "false";
}

// Or JupyterLab would take a key for one of its own: x cuts the cell. Keys with Control, such as
// Control+S, stay JupyterLab's, and so does Escape, which leads back to the notebook.
function keepKeys(event) {
  const focused = event.target;
  if (!(focused instanceof Element) || !focused.closest(".pclora-lab")) return;
  const isPlain = !(event.ctrlKey || event.metaKey || event.altKey) && event.key !== "Escape";
  // On the focused element itself: JupyterLab's selectors ask for it first.
  focused.toggleAttribute("data-lm-suppress-shortcuts", isPlain || event.key === "Enter");
}

// ipywidgets gives the handle of a slider no name, tells its value with all the digits of a binary
// fraction, and writes the text "null" where a label has no tooltip.
function tidy(root) {
  for (const label of root.querySelectorAll("[title=null]")) label.removeAttribute("title");
  for (const handle of root.querySelectorAll(".noUi-handle:not([aria-label])")) {
    const label = handle.closest(".jupyter-widgets")?.querySelector(".widget-label");
    handle.setAttribute("aria-label", label?.textContent || "slider");
    const round = () => {
      const told = handle.getAttribute("aria-valuetext");
      const short = String(Number(Number(told).toPrecision(10)));
      if (short !== told && short !== "NaN") handle.setAttribute("aria-valuetext", short);
    };
    new MutationObserver(round).observe(handle, { attributeFilter: ["aria-valuetext"] });
    round();
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
  let frame = requestAnimationFrame(function begin() {
    const root = el.closest(".pclora-lab");
    if (root) added = keepTidy(root);
    else if (!el.isConnected) frame = requestAnimationFrame(begin);
  });

  tell();
  return () => {
    window.removeEventListener("keydown", keepKeys, true);
    clearTimeout(timer);
    cancelAnimationFrame(frame);
    added?.disconnect();
    theme.disconnect();
    preference.removeEventListener("change", tellAnew);
  };
}

export default { render };
