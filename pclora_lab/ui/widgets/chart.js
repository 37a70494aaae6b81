// What draws a chart travels once with plotly's script, not with every chart.
const modules = (globalThis.__pcloraChartModules ??= new Map());

async function drawing(code) {
  const address = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
  try {
    return await import(/* webpackIgnore: true */ address);
  } finally {
    URL.revokeObjectURL(address);
  }
}

async function render(context) {
  const { model } = context;
  const name = model.get("script").slice("IPY_MODEL_".length);
  const code = (await model.widget_manager.get_model(name)).get("code");
  if (!modules.has(code)) modules.set(code, drawing(code));
  return (await modules.get(code)).render(context);
}

export default { render };
