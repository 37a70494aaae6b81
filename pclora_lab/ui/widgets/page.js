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

function render({ model, el }) {
  const preference = window.matchMedia("(prefers-color-scheme: dark)");
  el.setAttribute("aria-hidden", "true");

  function tell(name, value) {
    if (model.get(name) !== value) {
      model.set(name, value);
      model.save_changes();
    }
  }
  const tellTheme = () => tell("dark", isDark(preference));

  const theme = new MutationObserver(tellTheme);
  theme.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
  preference.addEventListener("change", tellTheme);

  // At the window, as JupyterLab listens at the document and was there first.
  window.addEventListener("keydown", keepKeys, true);

  tellTheme();
  tell("alive", true);
  return () => {
    window.removeEventListener("keydown", keepKeys, true);
    theme.disconnect();
    preference.removeEventListener("change", tellTheme);
  };
}

export default { render };
