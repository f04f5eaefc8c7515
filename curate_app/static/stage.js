// The slate in view and the one answer it takes: when it was painted, how long that took, how often the rater looked away.
import { BestThenWorst, offerTie } from "./judgements.js";
import { fitSheets } from "./reveal.js";
import { arrange, fill, keyOf, loadAll, plan } from "./slate.js";

const CHOSEN_MS = 140; // the choice stays in view this long
const SETTLE_MS = 300; // and the next slate takes no answer before this, so the second half of a double click hits nothing
const HURRY_S = 5; // with this much left the page says so
const DAY_MS = 86_400_000;
const BESIDE_GAIN = 1.1; // the words go beside the slate where that makes it larger by so much
const ROOMY_REM = 7; // with so much height left over the controls grow

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const painted = () => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));

export class Stage {
  // onAnswer(pick) when an answer is given, onSettled() when it has been in view; onBroken() when an image doesn't load.
  constructor(root, say, { onAnswer, onSettled, onBroken }) {
    Object.assign(this, { root, say, onAnswer, onSettled, onBroken });
    this.group = root.querySelector(".slate");
    this.none = root.querySelector(".none");
    this.twoClicks = new BestThenWorst(root, say);
    this.shown = null;
    this.showing = 0; // each slate's own number, so that what was started for an earlier one is dropped
    this.holdUntil = 0;
    this.blurs = 0;
    this.away = false;
    this.listen();
  }

  get ready() {
    return this.root.dataset.state === "ready";
  }

  // The answer just given is still in view.
  get holds() {
    return this.root.dataset.state === "picked" && performance.now() < this.holdUntil;
  }

  // Resolves to whether the slate came into view; with `timeoutS` an answer must come in as many seconds.
  async show(slate, timeoutS) {
    const token = ++this.showing;
    this.shown = slate;
    this.root.dataset.state = "loading";
    const images = await loadAll(slate).catch(() => null);
    if (token !== this.showing) return false;
    if (!images) {
      this.onBroken(token);
      return false;
    }
    this.draw(slate, images);
    this.settle(token, timeoutS);
    return true;
  }

  draw(slate, images) {
    const held = this.group.contains(document.activeElement);
    this.twoClicks.begin();
    offerTie(this.root, slate);
    fill(this.group, slate, images, this.say);
    delete this.group.dataset.chosen;
    this.group.hidden = false;
    this.none.disabled = false;
    this.ask(slate.condition);
    this.root.querySelector(".pick-keys").innerHTML = `<kbd>1</kbd>…<kbd>${keyOf(slate.items.length - 1).toUpperCase()}</kbd>`;
    this.arrange();
    if (held) this.group.focus({ preventScroll: true });
  }

  // A condition, which all of the slate share, stands under the question.
  ask(condition) {
    const [question, line] = ["h1[data-text]", ".condition"].map((part) => this.root.querySelector(part));
    line.textContent = condition ?? "";
    line.hidden = !condition;
    if (question) question.textContent = this.say(condition ? "fits" : "question");
  }

  async settle(token, timeoutS) {
    await painted();
    if (token !== this.showing) return;
    this.paintedAt = performance.now();
    this.blurs = 0;
    await sleep(SETTLE_MS);
    if (token !== this.showing) return;
    this.root.dataset.state = "ready";
    if (timeoutS) this.countDown(token, timeoutS);
  }

  clear() {
    this.showing += 1;
    this.shown = null;
    this.twoClicks.begin();
    offerTie(this.root, {});
    this.group.hidden = true;
    this.none.disabled = true;
  }

  choose(outcome, position, input) {
    if (!this.ready || this.root.querySelector("dialog[open]")) return;
    if (outcome === "tie" && !this.shown.tie) return;
    if (outcome === "none" && this.none.disabled) return;
    if (outcome !== "pick" || !this.shown.worst) return this.answer(outcome, position, input);
    const both = this.twoClicks.press(position);
    if (both) this.answer(outcome, both.position, input, both.worst);
  }

  async answer(outcome, position, input, worst) {
    this.root.dataset.state = "picked";
    this.showing += 1;
    this.group.dataset.chosen = outcome;
    this.group.querySelector(`[data-position="${position}"]`)?.classList.add("chosen");
    const pick = {
      slate_id: this.shown.slate_id,
      outcome,
      rt_ms: Math.min(Math.round(performance.now() - this.paintedAt), DAY_MS),
      input,
      viewport: `${innerWidth}x${innerHeight}@${Math.round(devicePixelRatio * 100) / 100}`,
      blurs: this.blurs,
    };
    if (outcome === "pick") pick.position = position;
    if (worst !== undefined) {
      pick.worst = worst;
      this.group.querySelector(`[data-position="${worst}"]`)?.classList.add("worst");
    }
    this.tellHurry(null);
    this.holdUntil = performance.now() + CHOSEN_MS;
    this.onAnswer(pick);
    await sleep(CHOSEN_MS + 1);
    this.holdUntil = 0;
    this.onSettled();
  }

  async countDown(token, timeoutS) {
    const leftS = () => timeoutS - (performance.now() - this.paintedAt) / 1000;
    while (token === this.showing && leftS() > 0) {
      this.tellHurry(leftS() <= HURRY_S ? Math.ceil(leftS()) : null);
      await sleep(Math.max(20, 1000 * Math.min(leftS() % 1 || 1, leftS())));
    }
    if (token === this.showing) this.answer("timeout", null, null);
  }

  tellHurry(seconds) {
    this.root.querySelector(".final").textContent = seconds ? this.say("hurry", { n: seconds }) : "undo" in this.root.dataset ? "" : this.say("final");
  }

  // The slate gets all the room that the screen has under or beside the words, whichever makes it larger.
  arrange() {
    fitSheets(this.root.querySelector(".reveal"));
    if (this.group.hidden || !this.group.children.length) return;
    const window = `${innerWidth}x${innerHeight}`;
    if (this.window !== window) this.layOut();
    this.twoClicks.reserve(this.shown?.worst);
    this.window = window; // it stays like that from slate to slate
    this.root.style.removeProperty("--wide");
    arrange(this.group, plan(this.group, ...this.room()));
    this.root.style.setProperty("--wide", this.group.style.maxWidth);
  }

  // Settles where the words go, and whether the controls grow, by slates of the study's usual size.
  layOut() {
    const k = Number(this.root.dataset.k) || 0;
    const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
    this.root.style.removeProperty("--wide");
    delete this.root.dataset.roomy;
    this.root.dataset.placed = "";
    const [beside, under] = ["beside", "under"].map((layout) => {
      this.root.dataset.layout = layout;
      const [width, height] = this.room();
      return { ...plan(this.group, width, height, k), room: height };
    });
    if (innerWidth > innerHeight && beside.area > BESIDE_GAIN * under.area) this.root.dataset.layout = "beside";
    else if (under.room - under.used > ROOMY_REM * rem) this.root.dataset.roomy = "";
  }

  // Width and height that the layout leaves to the slate.
  room() {
    const pixels = (element, ...properties) => {
      const style = getComputedStyle(element);
      return properties.reduce((sum, property) => sum + (parseFloat(style[property]) || 0), 0);
    };
    const [screen, stage, below] = [".screen", ".stage", ".below"].map((name) => this.root.querySelector(name));
    if (!("roomy" in this.root.dataset)) this.least = pixels(screen, "minHeight");
    const least = this.least;
    const around = pixels(stage, "paddingTop", "paddingBottom") + pixels(screen, "paddingBottom");
    const width = stage.clientWidth - pixels(stage, "paddingLeft", "paddingRight");
    if (this.root.dataset.layout === "beside") return [width, Math.max(120, least - around - pixels(screen, "paddingTop"))];
    return [width, Math.max(120, least - around - below.offsetHeight - stage.getBoundingClientRect().top - scrollY)];
  }

  // A slate's blurs: how often the window lost the focus or went out of sight, each absence once.
  listen() {
    const left = () => {
      if (!this.away) this.blurs += 1;
      this.away = true;
    };
    const back = () => {
      this.away = false;
    };
    addEventListener("blur", left);
    addEventListener("focus", back);
    document.addEventListener("visibilitychange", () => (document.hidden ? left() : back()));
    addEventListener("resize", () => this.arrange());
  }
}
