/* Loads two exported classifiers with transformers.js, times them in turns, and shows what they answer. */

import { byId, loadLibrary, loadPipeline, painted, readSettings, sum, tell } from "./library.js";

const ROLES = ["teacher", "student"];
const WARMUPS = 3;
/** Of each model, at the least; every text is asked equally often. */
const TIMINGS = 30;

const part = (id, selector) => byId(id).querySelector(selector);

main().catch((error) => {
  byId("error").textContent = error.message;
  document.querySelector("details").open = true; // where it can be mended
});

async function main() {
  tell("Loading the library …");
  const settings = readSettings();
  const texts = settings.examples.split("\n").map((line) => line.trim()).filter(Boolean);
  if (!texts.length) throw Error("There are no example texts: write some, one a line, into the field “examples”.");
  const library = await loadLibrary(settings.library);
  const models = {};
  for (const role of ROLES) models[role] = await loadModel(library, role, settings[role], settings[`${role}_dtype`]);
  refuseOtherLabels(models);
  showSizes(models);
  showAgreement(texts, await answerAll(models, texts));
  showTimes(await measure(models, texts));
  await answerTyped(models);
  const threads = library.env.backends.onnx.wasm.numThreads || 1;
  tell(`Measured in WebAssembly, ${threads} thread${threads > 1 ? "s" : ""}, over ${texts.length} texts.`);
}

/** The classifier, what to call it, and the bytes that were loaded for it. */
async function loadModel(library, role, name, format) {
  const { model: classify, bytes } = await loadPipeline(library, "text-classification", role, name, format);
  return { classify, title: `${name} · ${format}`, bytes };
}

/** Answers are compared by the names of their labels. */
function refuseOtherLabels(models) {
  const [teacher, student] = ROLES.map((role) => Object.values(models[role].classify.model.config.id2label).sort());
  if (teacher.length === 1) throw Error("These models give a number; this page compares labels.");
  if (teacher.join("\n") === student.join("\n")) return;
  throw Error(`The teacher’s labels are ${teacher.join(", ")}, but the student’s are ${student.join(", ")}.`);
}

// ---- Asking ----

async function answerAll(models, texts) {
  const answers = [];
  for (const text of texts) {
    tell("Comparing answers …", answers.length / texts.length);
    await painted();
    answers.push(await answer(models, text));
  }
  return answers;
}

/** Both models' best label and its probability. */
async function answer(models, text) {
  const [teacher] = await models.teacher.classify(text);
  const [student] = await models.student.classify(text);
  return { teacher, student };
}

/** Milliseconds for one text, the median; in turns, so that what slows the device down slows both. */
async function measure(models, texts) {
  const rounds = Math.ceil(TIMINGS / texts.length) * texts.length;
  const times = { teacher: [], student: [] };
  for (let round = -WARMUPS; round < rounds; round++) {
    tell("Measuring …", Math.max(0, round) / rounds);
    await painted();
    for (const role of ROLES) {
      const start = performance.now();
      await models[role].classify(texts[Math.max(0, round) % texts.length]);
      if (round >= 0) times[role].push(performance.now() - start);
    }
  }
  return { teacher: median(times.teacher), student: median(times.student) };
}

/** Answers what is typed, from now on; of several texts in a hurry only the last. */
async function answerTyped(models) {
  const field = byId("text");
  const update = async () => {
    const text = field.value;
    await painted();
    if (text !== field.value) return;
    const answers = text.trim() && (await answer(models, text));
    if (text === field.value) ROLES.forEach((role) => showAnswer(role, answers && answers[role]));
  };
  field.addEventListener("input", update);
  field.disabled = false;
  await update();
}

// ---- Showing ----

function showSizes(models) {
  const sizes = ROLES.map((role) => models[role].bytes / 1e6);
  showBars("size", sizes, (size) => `${digits(size)} MB`);
  byId("smaller").textContent = `${digits((100 * sizes[1]) / sizes[0])} %`;
  for (const role of ROLES) part(`${role}-answer`, "small").textContent = models[role].title;
}

function showTimes({ teacher, student }) {
  showBars("time", [teacher, student], (time) => `${digits(time)} ms`);
  byId("faster").textContent = `${digits(teacher / student)} ×`;
}

function showBars(what, values, format) {
  ROLES.forEach((role, index) => {
    part(`${role}-${what}`, "dd").textContent = format(values[index]);
    byId(`${role}-${what}`).style.setProperty("--share", values[index] / Math.max(...values));
  });
}

function showAgreement(texts, answers) {
  const same = answers.filter(({ teacher, student }) => teacher.label === student.label).length;
  byId("agreement").textContent = `${same} of ${texts.length}`;
  byId("examples").replaceChildren(...answers.map(({ teacher, student }, index) => {
    const row = document.createElement("li");
    const agree = teacher.label === student.label;
    row.className = agree ? "same" : "other";
    row.textContent = `${texts[index]} `;
    const labels = document.createElement("b");
    labels.textContent = agree ? teacher.label : `${teacher.label} → ${student.label}`;
    row.append(labels);
    return row;
  }));
}

function showAnswer(role, given) {
  part(`${role}-answer`, ".label").textContent = given ? given.label : "–";
  part(`${role}-answer`, ".score").textContent = given ? `${digits(100 * given.score)} % sure` : "";
  byId(`${role}-answer`).style.setProperty("--share", given ? given.score : 0);
}

// ---- Numbers ----

/** Three digits that mean something, none after the point from 100 on. */
const digits = (value) => (value < 100 ? value.toPrecision(3) : value.toFixed(0));

function median(values) {
  const sorted = values.toSorted((one, other) => one - other);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
