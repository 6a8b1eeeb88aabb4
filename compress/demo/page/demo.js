"use strict";

const at = (id) => document.getElementById(id);
let engines = [];
let maxBytes = Infinity;
let picture = null;
let asked = 0; // the newest search; answers to earlier ones are dropped

function element(tag, text, className) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function say(text, isError = false) {
  at("status").textContent = text;
  at("status").className = isError ? "error" : "";
}

async function json(address, options) {
  const response = await fetch(address, options).catch(() => {
    throw new Error("The server does not answer; is “compress demo” still running?");
  });
  const found = await response.json();
  if (!response.ok) throw new Error(found.error);
  return found;
}

function choice(engine, index, ticked) {
  const label = element("label", undefined, "choice");
  const box = element("input");
  box.type = "checkbox";
  box.value = index;
  box.checked = ticked;
  box.disabled = engine.unavailable !== null;
  box.addEventListener("change", () => { count(); search(); });
  label.append(box, element("span", `${engine.artifact} on ${engine.runtime}`));
  const size = `${(engine.bytes / 1e6).toFixed(2)} MB, ${engine.evidence}`;
  label.append(element("small", engine.unavailable === null ? size : engine.unavailable));
  return label;
}

// On a phone the list is closed, so the line above it says what is ticked.
function count() {
  const number = at("artifacts").querySelectorAll("input:checked").length;
  at("chosen").textContent = `${number} of ${at("artifacts").querySelectorAll("input").length} ticked`;
}

// Of one bundle the first file of each format that apps ship and that can run here; of several bundles one file each.
function ticked(able, several) {
  const shipped = able.filter((engine) => engine.shipped);
  if (several) {
    const bundles = [...new Set(able.map((engine) => engine.bundle))];
    const own = (engines, bundle) => engines.find((engine) => engine.bundle === bundle);
    return bundles.map((bundle) => own(shipped, bundle) || own(able, bundle));
  }
  const first = (engine) => shipped.find((other) => other.format === engine.format) === engine;
  return shipped.length ? shipped.filter(first) : able.slice(0, 1);
}

// The false-accept rates for which some artifact has a threshold.
function thresholds(able) {
  const rates = new Set(able.flatMap((engine) => engine.thresholds.filter((each) => each.distance !== null).map((each) => each.rate)));
  for (const rate of rates) {
    const option = element("option", `${rate} false accepts`);
    option.value = rate;
    at("threshold").append(option);
  }
  at("threshold").disabled = rates.size === 0;
}

function about(bundle) {
  return `${bundle.gallery.toLocaleString("en")} gallery images, ${bundle.distance} distance`;
}

async function start() {
  const info = await json("/artifacts");
  const several = info.bundles.length > 1;
  const names = info.bundles.map((each) => each.bundle).join(", ");
  document.title = `${names}: search`;
  at("bundle").textContent = names;
  at("about").textContent = several ? `${info.bundles.length} bundles side by side` : about(info);
  engines = info.artifacts;
  maxBytes = info.max_bytes;
  const able = engines.filter((engine) => engine.unavailable === null);
  const first = ticked(able, several);
  for (const bundle of info.bundles) {
    const list = element("div", undefined, "choices");
    for (const [index, engine] of engines.entries()) {
      if (engine.bundle !== bundle.bundle) continue;
      (engine.unavailable === null ? list : at("absent")).append(choice(engine, index, first.includes(engine)));
    }
    if (several) {
      const heading = element("h3", `${bundle.bundle} `);
      heading.append(element("small", about(bundle)));
      at("artifacts").append(heading);
    }
    at("artifacts").append(list);
  }
  count();
  if (matchMedia("(max-width: 44rem)").matches) at("choose").open = false;
  thresholds(able);
  at("others").hidden = able.length === engines.length;
  at("count").textContent = `${engines.length - able.length} more cannot run here`;
  if (!able.length) say("No artifact of this bundle can run here; the reasons stand beside each.", true);
}

function take(file) {
  if (!file) return;
  at("invitation").textContent = file.name;
  picture = file.size > maxBytes ? null : file;
  const preview = at("preview");
  URL.revokeObjectURL(preview.src);
  preview.src = URL.createObjectURL(file);
  preview.hidden = false;
  search();
  const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
  if (!picture) say(`The picture has ${megabytes(file.size)}; at most ${megabytes(maxBytes)} are taken. Make it smaller.`, true);
}

// Browsers know no type of files that they cannot show, such as HEIC.
function typeOf(file) {
  return file.type || `image/${file.name.split(".").pop().toLowerCase().replace(/[^a-z0-9]/g, "")}`;
}

function distanceOf(match) {
  return Number.isInteger(match.distance) ? String(match.distance) : match.distance.toFixed(4);
}

function row(match, first) {
  const item = element("li", undefined, match.match ? "" : "beyond");
  const thumbnail = element("img");
  thumbnail.src = match.thumbnail;
  thumbnail.alt = "";
  const what = element("div", match.label, "what");
  what.append(element("small", match.name));
  if (first && first.name !== match.name) what.append(element("small", "differs from the first column", "differs"));
  item.append(element("span", String(match.rank), "rank"), thumbnail, what, element("span", distanceOf(match), "distance"));
  return item;
}

function column(engine) {
  const made = element("article", undefined, "column");
  const several = new Set(engines.map((each) => each.bundle)).size > 1;
  const heading = element("h2", `${engine.artifact} on ${engine.runtime}`);
  if (several) heading.prepend(element("span", engine.bundle, "system"));
  made.append(heading, element("p", "searching…", "times"));
  return made;
}

function fill(made, found, first) {
  const { prepare, embed, rank } = found.milliseconds;
  const network = embed === null ? "no time: a reference executor" : `${embed.toFixed(2)} ms network`;
  const times = `${network}, ${prepare.toFixed(1)} ms decode and resize, ${rank.toFixed(1)} ms search in ${found.gallery.toLocaleString("en")} images`;
  made.querySelector(".times").textContent = times;
  if (found.matches.length && !found.matches.some((match) => match.match)) {
    const beyond = `No match: the nearest is at ${distanceOf(found.matches[0])}, beyond ${found.threshold.toFixed(4)}.`;
    made.append(element("p", beyond, "nomatch"));
  }
  const list = element("ol");
  list.append(...found.matches.map((match, index) => row(match, first && first.matches[index])));
  made.append(list);
}

async function search() {
  const mine = ++asked;
  const chosen = [...at("artifacts").querySelectorAll("input:checked")].map((box) => engines[box.value]);
  const columns = chosen.map(column);
  at("results").replaceChildren(...(picture ? columns : []));
  if (!picture) return;
  if (!chosen.length) return say("Tick an artifact.");
  say("Searching…");
  let first = null;
  let failed = 0;
  // One after the other: artifacts that ran at once would slow each other's times.
  for (const [index, engine] of chosen.entries()) {
    const asks = new URLSearchParams({ bundle: engine.bundle, artifact: engine.artifact, runtime: engine.runtime, top: at("top").value });
    if (at("threshold").value) asks.set("threshold", at("threshold").value);
    try {
      const options = { method: "POST", body: picture, headers: { "Content-Type": typeOf(picture) } };
      const found = await json(`/search?${asks}`, options);
      if (mine !== asked) return;
      fill(columns[index], found, first);
      first = first || found;
    } catch (error) {
      if (mine !== asked) return;
      failed += 1;
      columns[index].querySelector(".times").replaceWith(element("p", error.message, "error"));
      say(error.message, true);
    }
  }
  if (!failed) say(`Done: ${chosen.length} ${chosen.length === 1 ? "artifact" : "artifacts"}.`);
}

at("preview").addEventListener("error", () => { at("preview").hidden = true; });
for (const id of ["file", "camera"]) at(id).addEventListener("change", (event) => take(event.target.files[0]));
for (const id of ["top", "threshold"]) at(id).addEventListener("change", search);
document.addEventListener("paste", (event) => take(event.clipboardData.files[0]));
// Also beside the frame: a browser would otherwise leave the page for a dropped file.
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  at("drop").classList.add("over");
});
document.addEventListener("dragleave", () => at("drop").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  at("drop").classList.remove("over");
  take(event.dataTransfer.files[0]);
});
start().catch((error) => say(error.message, true));
