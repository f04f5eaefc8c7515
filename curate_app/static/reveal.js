// Under the slate, in a demo: the first and the latest generation from the same noise, and what changed in one sentence.
import { getGenerations } from "./api.js";
import { fit } from "./slate.js";

const LARGEST_REM = 32;

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

function sentence({ first, latest, moved, unchanged }, total, say, language) {
  const [from, to] = [first.t, latest.t];
  if (from === to) return say("reveal_only", { total });
  if (!moved) return unchanged ? say("reveal_still", { first: from, latest: to }) : "";
  const percent = new Intl.NumberFormat(language, { style: "percent" });
  const shares = { from: percent.format(moved.before), to: percent.format(moved.after) };
  return say("reveal_moved", { first: from, latest: to, name: moved.name, ...shares });
}

// Shows the latest generation against the first; a failure leaves what is there, the next generation tries again.
export async function reveal(section, total, say) {
  const movement = await getGenerations();
  const { first, latest } = movement;
  if (!latest) return;
  const alone = first.t === latest.t;
  const sheets = [await sheet(first, say("reveal_first", { t: first.t }), say)];
  const caption = first.grid === latest.grid ? "reveal_unchanged" : "reveal_latest";
  if (!alone) sheets.push(await sheet(latest, say(caption, { t: latest.t }), say));
  section.querySelector(".moved").textContent = sentence(movement, total, say, section.closest("[lang]").lang);
  section.querySelector(".sheets").replaceChildren(...sheets);
  section.querySelector(".same").hidden = alone;
  section.hidden = false;
  fitSheets(section);
}
