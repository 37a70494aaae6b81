// A slider that may look like anything: it is dragged, or moved with the arrow keys.
// How far a hand moves from one end to the other, in pixels; how long the kernel gets for a message,
// and after how long it has surely answered, in milliseconds.
const TRAVEL = 130, PAUSE = 100, ANSWERED = 1000;

// Something that is moved by hand or with keys; `spec` says its value, ends and steps.
function slider(handle, spec) {
  let from = null;
  const move = value => {
    const next = clamp(Math.round(value / spec.step) * spec.step, spec.low(), spec.high());
    spec.move(Number(next.toFixed(2)));
  };
  const place = event => (spec.isUpright ? -event.clientY : event.clientX);
  handle.addEventListener("pointerdown", event => {
    if (event.button !== 0) return;
    from = { place: place(event), value: spec.value() };
    handle.setPointerCapture(event.pointerId);
    handle.focus();
    event.preventDefault();
  });
  handle.addEventListener("pointermove", event => {
    if (from === null) return;
    move(from.value + (place(event) - from.place) / TRAVEL * (spec.high() - spec.low()));
  });
  for (const name of ["pointerup", "pointercancel"]) {
    handle.addEventListener(name, () => { from = null; });
  }
  handle.addEventListener("keydown", event => {
    const step = event.shiftKey ? 10 * spec.step : spec.step, now = spec.value();
    const moves = {
      ArrowUp: now + step, ArrowRight: now + step, ArrowDown: now - step, ArrowLeft: now - step,
      PageUp: now + 10 * spec.step, PageDown: now - 10 * spec.step,
      Home: spec.low(), End: spec.high(),
    };
    if (!(event.key in moves) || event.ctrlKey || event.metaKey || event.altKey) return;
    move(moves[event.key]);
    event.preventDefault();
    event.stopPropagation();
  });
  return () => from !== null;
}

// Not more often than the kernel can follow, but always the last one.
function seldom(send) {
  let timer = 0, waiting = null, last = 0;
  function flush() {
    timer = 0;
    last = performance.now();
    send(waiting);
  }
  return Object.assign(message => {
    waiting = message;
    timer ||= setTimeout(flush, Math.max(0, PAUSE - (performance.now() - last)));
  }, { stop: () => clearTimeout(timer) });
}

// What a hand has moved; it counts until the kernel tells the same, or something else much later.
function inHand() {
  let value = null, since = 0;
  return {
    get: () => value,
    take(next) { [value, since] = [next, performance.now()]; },
    drop() { value = null; },
    hear(told) { if (told === value || performance.now() - since > ANSWERED) value = null; },
  };
}
