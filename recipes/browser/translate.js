/* Loads an exported translator with transformers.js, and translates what is typed, on this device. */

import { byId, loadLibrary, loadPipeline, painted, readSettings, tell } from "./library.js";

main().catch((error) => {
  byId("error").textContent = error.message;
  document.querySelector("details").open = true; // where it can be mended
});

async function main() {
  tell("Loading the library …");
  const settings = readSettings();
  const library = await loadLibrary(settings.library);
  const { model, bytes } = await loadPipeline(library, "translation", "translator", settings.model, settings.dtype);
  tell(`${settings.model} · ${settings.dtype}: ${(bytes / 1e6).toPrecision(3)} MB, in WebAssembly on this device.`);
  await translateTyped(model, languages(settings));
}

/** Of models that speak many: their names for those of the text and of the translation. */
function languages({ src_lang, tgt_lang }) {
  return tgt_lang ? { src_lang, tgt_lang } : {};
}

/** Translates the text, and each that is typed from now on; of several in a hurry only the last. */
async function translateTyped(model, chosen) {
  const field = byId("text");
  const update = async () => {
    const text = field.value;
    await painted();
    if (text !== field.value) return;
    const start = performance.now();
    const [found] = text.trim() ? await model(text, { ...chosen, num_beams: 1 }) : [{ translation_text: "" }];
    if (text !== field.value) return;
    byId("translation").textContent = found.translation_text;
    byId("time").textContent = text.trim() ? `${Math.round(performance.now() - start)} ms` : "";
  };
  field.addEventListener("input", update);
  field.disabled = false;
  await update();
}
