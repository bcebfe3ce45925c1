/* What the pages share: their settings, transformers.js, and models loaded with it. */

const CDN = "https://cdn.jsdelivr.net/npm/@huggingface/transformers@4/dist/transformers.min.js";
/** What the command `hfdistill export` calls a format, and transformers.js. */
const DTYPES = { fp32: "fp32", int8: "q8" };

export const byId = (id) => document.getElementById(id);
/** Leaves the browser a moment to paint: the models run where the page does. */
export const painted = () => new Promise((done) => setTimeout(done));
export const sum = (values) => values.reduce((total, value) => total + value, 0);

/** The form's fields hold the defaults; the address changes them. */
export function readSettings() {
  const form = byId("settings");
  for (const [name, value] of new URLSearchParams(location.search)) {
    if (form.elements[name]) form.elements[name].value = value;
  }
  return Object.fromEntries(new FormData(form));
}

export async function loadLibrary(folder) {
  const modules = folder && new URL(`${folder}/`, location);
  // Whoever may write a link to this page must not choose the code that it runs.
  if (modules && modules.origin !== location.origin) throw Error(`The library ${folder} is not on this server.`);
  const address = modules ? new URL("@huggingface/transformers/dist/transformers.min.js", modules).href : CDN;
  const library = await import(address).catch(() => {
    throw Error(`The library could not be loaded from ${address}.`);
  });
  if (modules) library.env.backends.onnx.wasm.wasmPaths = new URL("onnxruntime-web/dist/", modules).href;
  return library;
}

/** A model by a folder on this server or its name on the Hub, and the bytes that were loaded for it. */
export async function loadPipeline({ env, pipeline }, task, role, name, format) {
  if (!DTYPES[format]) throw Error(`The ${role}’s format is fp32 or int8.`);
  const local = /^[./]/.test(name);
  env.allowLocalModels = local;
  env.allowRemoteModels = !local;
  env.useBrowserCache = !local; // a folder may have been exported anew
  const files = {};
  const model = await pipeline(task, local ? new URL(name, location).pathname : name, {
    dtype: DTYPES[format],
    device: "wasm",
    progress_callback: (event) => event.status === "progress" && showLoading(role, files, event),
  }).catch((error) => {
    throw Error(`The ${role} ${name} could not be loaded: ${reason(error)}`);
  });
  return { model, bytes: sum(Object.values(files).map((file) => file.loaded)) };
}

function showLoading(role, files, { file, loaded, total }) {
  files[file] = { loaded, total };
  const all = Object.values(files);
  tell(`Loading the ${role} …`, sum(all.map((one) => one.loaded)) / sum(all.map((one) => one.total)));
}

function reason({ name, message }) {
  const path = message.match(/"([^"]+)"\.?$/)?.[1];
  return name === "ModelFileNotFoundError" && path ? `${path} is not there; “hfdistill export” writes it.` : message;
}

/** One sentence on what is going on, and how much of it is done. */
export function tell(sentence, share) {
  byId("status").textContent = sentence;
  byId("progress").hidden = share === undefined;
  byId("progress").value = share ?? 0;
}
