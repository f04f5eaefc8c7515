// The line and the bar above the slate: how far to the next generation, or what the worker does meanwhile.
import { counted, timeLeft } from "./strings.js";

const BUSY = ["curating", "training", "publishing"];

export const isBusy = (turn) => Boolean(turn?.worker && [...BUSY, "preparing"].includes(turn.worker.phase));

// {text, share 0..1 or null} for a turn.
// Where a rater answers a fixed number of slates that is what counts, not the generation's progress.
export function progressLine(say, { progress, worker, state }) {
  const { done, total, t, mine } = progress;
  if (mine) return { text: state === "practice" ? say("mine_practice", mine) : say("mine", mine), share: mine.done / mine.total, busy: false };
  const left = timeLeft(say, worker.left_s);
  const compared = (text) => (["waiting", "paused"].includes(state) ? text : `${text} ${say("comparing")}`); // where there is a slate
  if (BUSY.includes(worker.phase)) return { text: compared(say(worker.phase, { t: t + 1, left })), share: worker.done, busy: true };
  if (worker.phase === "preparing") return { text: say("preparing", { left }), share: worker.done, busy: true };
  if (worker.phase === "starting") return { text: say("starting"), share: Math.min(1, done / total), busy: true };
  if (worker.phase === "absent") return { text: say("absent"), share: Math.min(1, done / total), busy: false };
  if (done >= total) return { text: compared(counted(say, "soon", total, { t: t + 1 })), share: 1, busy: true };
  return { text: counted(say, "to_next", total, { done, t: t + 1 }), share: done / total, busy: false };
}

export function showProgress(root, say, turn) {
  const { text, share, busy } = progressLine(say, turn);
  const bar = root.querySelector(".bar");
  const known = Number.isFinite(share) && share !== null;
  bar.classList.toggle("busy", busy);
  bar.classList.toggle("unknown", !known);
  bar.firstElementChild.style.transform = `scaleX(${known ? share : 1})`;
  if (known) bar.setAttribute("aria-valuenow", Math.round(100 * share));
  else bar.removeAttribute("aria-valuenow");
  root.querySelector(".line").textContent = text;
  root.querySelector(".progress").hidden = false;
}

export function showSaved(root, say, { yours, mine }, sending) {
  const saved = mine && yours ? say("saved_all") : counted(say, "saved", yours);
  root.querySelector(".saved").textContent = sending ? say("sending") : saved;
}

// What the stage says when there is no slate: a title, and more.
export function calmWords(say, turn) {
  const phase = turn.worker?.phase;
  if (turn.state === "paused") return [say("paused_title"), say("paused_more")];
  if (phase === "preparing") return [say("prepare_title"), say("prepare_more", { left: timeLeft(say, turn.worker.left_s) })];
  if (phase === "starting") return [say("starting_title"), say("starting_more")];
  if (phase === "absent") return [say("absent_title"), say("absent_more")];
  return [say("wait_title"), say("wait_more")];
}
