// JupyterLab and Voilà write their theme on the body; elsewhere the browser's preference counts.
function isDark(preference) {
  const light = document.body.dataset.jpThemeLight;
  return light === undefined ? preference.matches : light === "false";
}

// The same as long as the page is not loaded anew.
const LOAD = String(performance.timeOrigin);

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
  const room = new ResizeObserver(([entry]) => {
    const width = Math.round(entry.contentRect.width);
    if (width > 0) tell("width", width); // 0 while a tab hides it
  });
  room.observe(el);

  tellTheme();
  tell("load", LOAD);
  tell("alive", true);
  return () => {
    theme.disconnect();
    room.disconnect();
    preference.removeEventListener("change", tellTheme);
  };
}

export default { render };
