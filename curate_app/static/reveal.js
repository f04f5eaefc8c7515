// Under the slate, in a demo: the first and the latest generation from the same noise, and what changed in one sentence.
import { getGenerations } from "./api.js";
import { fit } from "./slate.js";

const LARGEST_REM = 32;

const percent = (share) => `${Math.round(100 * share)}%`;

// Two sheets beside each other, each as large as fits and crisp.
export function fitSheets(section) {
  const sheets = section?.querySelector(".sheets");
  if (!sheets?.clientWidth) return;
  const gap = parseFloat(getComputedStyle(sheets).columnGap) || 0;
  const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
  const room = Math.min((sheets.clientWidth - gap) / 2, LARGEST_REM * rem);
  for (const image of sheets.querySelectorAll("img")) fit(image, room);
}

async function sheet(generation, caption, say) {
  const figure = document.createElement("figure");
  const image = new Image();
  image.src = generation.grid;
  image.alt = say("reveal_alt", { t: generation.t });
  await image.decode();
  const words = document.createElement("figcaption");
  words.textContent = caption;
  figure.append(words, image);
  return figure;
}

function sentence(found, total, say) {
  if (found.first.t === found.latest.t) return say("reveal_only", { total });
  if (!found.moved) return say("reveal_still");
  const { name, before, after } = found.moved;
  return say("reveal_moved", { name, from: percent(before), to: percent(after) });
}

// Shows generation t against the first; a failure leaves what is there, the next generation tries again.
export async function reveal(section, total, say) {
  const found = await getGenerations();
  if (!found.latest) return;
  const alone = found.first.t === found.latest.t;
  const sheets = [await sheet(found.first, say("reveal_first"), say)];
  if (!alone) sheets.push(await sheet(found.latest, say("reveal_latest", { t: found.latest.t }), say));
  section.querySelector(".moved").textContent = sentence(found, total, say);
  section.querySelector(".sheets").replaceChildren(...sheets);
  section.querySelector(".same").hidden = alone;
  section.hidden = false;
  fitSheets(section);
}
