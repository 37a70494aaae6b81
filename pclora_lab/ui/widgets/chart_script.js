// plotly's script, and what a chart is told to draw.

// One script of each version for all charts of a page, however many bundles of this file there are.
const scripts = (globalThis.__pcloraPlotly ??= new Map());

// Objects and arrays key by key, everything else as in the second.
function merged(base, more) {
  if (more === undefined) return base;
  if (more === null || typeof more !== "object") return more;
  if (Array.isArray(more)) return (base ?? more).map((value, i) => merged(value, more[i]));
  const both = { ...base };
  for (const [name, value] of Object.entries(more)) both[name] = merged(both[name], value);
  return both;
}

async function unpacked(packed) {
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const text = await new Response(stream).text();
  // As a module, so that neither the page's globals nor its loader of modules sees it.
  const parts = ["const module = {exports: {}}, exports = module.exports, define = undefined;\n",
    text, "\nexport default module.exports;"];
  const address = URL.createObjectURL(new Blob(parts, { type: "text/javascript" }));
  try {
    return (await import(/* webpackIgnore: true */ address)).default;
  } finally {
    URL.revokeObjectURL(address);
  }
}

async function plotly(model) {
  const name = model.get("script").slice("IPY_MODEL_".length);
  const script = await model.widget_manager.get_model(name);
  const version = script.get("version");
  if (!scripts.has(version)) scripts.set(version, unpacked(script.get("packed")));
  try {
    return await scripts.get(version);
  } catch (error) {
    scripts.delete(version);
    throw error;
  }
}

const ARRAYS = {
  f8: Float64Array, f4: Float32Array, i1: Int8Array, i2: Int16Array, i4: Int32Array,
  u1: Uint8Array, u2: Uint16Array, u4: Uint32Array,
};

// numpy's arrays come as the bytes that they are; those of one dimension are unpacked.
function unpackedArray(value) {
  const Kind = ARRAYS[value?.dtype];
  if (!Kind || value.shape !== undefined) return value;
  const bytes = Uint8Array.from(atob(value.bdata), (letter) => letter.charCodeAt(0));
  return Array.from(new Kind(bytes.buffer));
}

function unpackedTrace(trace) {
  const more = {};
  for (const name of ["x", "y"]) if (name in trace) more[name] = unpackedArray(trace[name]);
  return { ...trace, ...more };
}

function unpackedSpec(text) {
  const { data = [], layout = {} } = JSON.parse(text);
  return { data: data.map(unpackedTrace), layout };
}
