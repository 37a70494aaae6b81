// The keys of a lab, and those that stay JupyterLab's.

const BINDINGS = [
  { key: " ", shown: "Space", does: "pause the run, or let it go on" },
  { key: "ArrowLeft", shown: "←", does: "one step of the timeline back, ten with Shift" },
  { key: "ArrowRight", shown: "→", does: "one step of the timeline ahead, ten with Shift" },
  { key: "[", shown: "[", does: "λ down by 0.05, out of the schedule's hands" },
  { key: "]", shown: "]", does: "λ up by 0.05" },
  { key: "?", shown: "?", does: "show or hide this list" },
];
const TYPED_IN = "input:not([type=checkbox], [type=radio], [type=range]), textarea, select, [contenteditable]";
// What a focused element does with a key by itself; what our own widgets use, they keep from others.
const PRESSED = "button, a, summary, input, [role=button], [role=tab], [role=option], [role=row]";
const ARROWED = "[role=slider], [role=tab], [role=option], [role=row], [role=grid], [role=group] button";

// Or JupyterLab would take a key for one of its own: x cuts the cell. Keys with Control, such as
// Control+S, stay JupyterLab's, and so does Escape, which leads back to the notebook.
function keepKeys(event) {
  const focused = event.target;
  const root = focused instanceof Element ? focused.closest(".pclora-lab") : null;
  if (!root) return;
  const isPlain = !(event.ctrlKey || event.metaKey || event.altKey) && event.key !== "Escape";
  const isPress = event.key === "Enter" && focused !== root;
  // On the focused element itself: JupyterLab's selectors ask for it first.
  focused.toggleAttribute("data-lm-suppress-shortcuts", isPress || (isPlain && event.key !== "Enter"));
}

function isFree(event) {
  const focused = event.target;
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return false;
  if (focused.closest(TYPED_IN)) return false;
  if (event.key === " ") return !focused.closest(PRESSED);
  return !event.key.startsWith("Arrow") || !focused.closest(ARROWED);
}

function makeList() {
  const list = document.createElement("div");
  list.className = "pclora-keys";
  list.hidden = true;
  list.tabIndex = -1;
  list.setAttribute("role", "dialog");
  list.setAttribute("aria-label", "Keys");
  const rows = BINDINGS.map(({ shown, does }) => {
    const row = document.createElement("div");
    const key = document.createElement("kbd");
    key.textContent = shown;
    row.append(key, does);
    return row;
  });
  const note = document.createElement("small");
  note.textContent = "They work while the lab has the focus and no field is typed in. Escape closes this list.";
  list.append(...rows, note);
  return list;
}

// A button that was pressed with the keyboard goes: the focus stays in the bar, or keys would be
// the notebook's again.
function keepFocus(bar) {
  const visible = (element) => element.offsetParent !== null;
  let last = null;
  const note = (event) => (last = event.target);
  const mend = () => {
    const now = document.activeElement;
    const isLost = now === document.body || now === null || now === last;
    if (!last || !isLost || visible(last)) return;
    // Another button may come only with the kernel's next message.
    const next = [...bar.querySelectorAll("button:not(:disabled)")].find(visible);
    next?.focus({ preventScroll: true });
  };
  const forget = (event) => {
    if (event.relatedTarget) last = null;
  };
  bar.addEventListener("focusin", note);
  bar.addEventListener("focusout", forget);
  const changes = new MutationObserver(mend);
  changes.observe(bar, { subtree: true, attributeFilter: ["style", "disabled"] });
  return changes;
}

// Listens to the keys of one lab; tells which was pressed, and whether with Shift.
function listen(root, tell) {
  const bar = root.querySelector(".pclora-bar");
  const list = makeList();
  bar?.append(list);
  // So that a click between the controls leads the keys here.
  root.tabIndex = -1;

  function toggle(isShown = list.hidden) {
    list.hidden = !isShown;
    (isShown ? list : root).focus({ preventScroll: true });
  }

  function press(event) {
    if (event.key === "Escape" && !list.hidden) {
      toggle(false);
      event.preventDefault();
      event.stopPropagation();
      return;
    }
    if (!BINDINGS.some((each) => each.key === event.key) || !isFree(event)) return;
    event.preventDefault();
    if (event.key === "?") toggle();
    else tell({ key: event.key, shift: event.shiftKey });
  }

  const click = (event) => {
    if (event.target.closest(".pclora-keys-button")) toggle();
  };
  root.addEventListener("keydown", press);
  root.addEventListener("click", click);
  const focus = bar ? keepFocus(bar) : null;
  return () => {
    root.removeEventListener("keydown", press);
    root.removeEventListener("click", click);
    focus?.disconnect();
    list.remove();
  };
}
