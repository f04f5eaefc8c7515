// The rater's page. The server says which slate is shown; the page shows it, sends the answer, and follows the server.
import { getTurn, openSession, Outbox, persist, Refused } from "./api.js";
import { calmWords, isBusy, progressLine, showProgress, showSaved } from "./progress.js";
import { fitSheets, reveal } from "./reveal.js";
import { arrange, fill, keyOf, loadAll, preload } from "./slate.js";
import { speaker } from "./strings.js";

const CHOSEN_MS = 140; // the choice stays in view this long
const SETTLE_MS = 300; // and the next slate takes no answer before this, so the second half of a double click hits nothing
const NOTE_MS = 6000;
const POLL_MS = { calm: 1500, busy: 2500, ready: 12000 };
const REVEAL_PEEK_REM = 3.5;

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const painted = () => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));

class RaterPage {
  constructor(root) {
    this.root = root;
    this.say = speaker(JSON.parse(root.dataset.strings));
    this.group = root.querySelector(".slate");
    this.help = root.querySelector("dialog");
    this.turn = null;
    this.shown = null;
    this.answered = new Set();
    this.paintedAt = 0;
    this.holdUntil = 0;
    this.showing = 0;
    this.spoken = "";
    this.outbox = new Outbox({
      onSaved: (answer) => this.follow(answer.next),
      onRefused: (error, pick) => this.refused(error, pick),
      onTrouble: (trouble) => this.trouble(trouble, "offline"),
    });
    this.listen();
  }

  find(selector) {
    return this.root.querySelector(selector);
  }

  get state() {
    return this.root.dataset.state;
  }

  set state(state) {
    this.root.dataset.state = state;
  }

  // --- following the server ---

  async begin() {
    await this.openSession();
    await this.refetch();
    this.poll();
  }

  async openSession() {
    try {
      await persist(openSession, (is) => this.trouble(is, "unreachable"));
    } catch {
      this.note(this.say("unreachable"), true);
    }
  }

  // The server's present word; a session that ended is opened anew. Never throws: the outbox and the poll go on.
  async refetch() {
    const ask = async () => this.follow(await persist(getTurn, (is) => this.trouble(is, "unreachable")));
    try {
      await ask();
    } catch (error) {
      if (!(error instanceof Refused)) throw error; // a fault of this page: let it be seen
      if (error.status !== 401) return this.note(this.say("unreachable"), true);
      await this.openSession();
      if (this.turn) this.note(this.say("resumed"));
      await ask().catch(() => this.note(this.say("unreachable"), true));
    }
  }

  follow(turn) {
    const before = this.turn?.progress.t;
    this.turn = turn;
    const { t, total, yours } = turn.progress;
    if (before !== undefined && t > before) this.note(this.say("arrived", { t }));
    if (before !== t && this.root.dataset.reveal === "1") this.reveal(total);
    showProgress(this.root, this.say, turn);
    showSaved(this.root, this.say, yours, this.outbox.size > 0);
    // Spoken without the seconds, which would be read out again and again.
    this.speak(progressLine(this.say, { ...turn, worker: { ...turn.worker, left_s: null } }).text);
    this.advance();
  }

  // Shows the first slate that has no answer yet, unless the one in view is still among them.
  advance() {
    // The choice stays in view for a moment; `choose` comes back here after it.
    if (this.state === "picked" && performance.now() < this.holdUntil) return;
    const open = [this.turn, this.turn.upcoming].filter((slate) => slate?.slate_id && !this.answered.has(slate.slate_id));
    const stays = open.some((slate) => slate.slate_id === this.shown?.slate_id);
    if (!stays && open.length) this.show(open[0]);
    else if (!stays && this.outbox.size === 0) this.calm();
    preload(open.find((slate) => slate.slate_id !== this.shown?.slate_id));
  }

  async show(slate) {
    const token = ++this.showing;
    this.shown = slate;
    this.state = "loading";
    let images;
    try {
      images = await loadAll(slate);
    } catch {
      this.note(this.say("image_failed"));
      await sleep(1000);
      if (token !== this.showing) return;
      this.shown = null;
      await this.refetch();
      return;
    }
    if (token !== this.showing) return;
    const held = this.group.contains(document.activeElement);
    fill(this.group, slate, images, this.say);
    delete this.group.dataset.chosen;
    this.find(".calm").hidden = true;
    this.group.hidden = false;
    this.find(".none").disabled = false;
    this.find(".pick-keys").innerHTML = `<kbd>1</kbd>…<kbd>${keyOf(slate.items.length - 1).toUpperCase()}</kbd>`;
    this.arrange();
    if (held) this.group.focus({ preventScroll: true });
    await painted();
    if (token !== this.showing) return;
    this.paintedAt = performance.now();
    await sleep(SETTLE_MS);
    if (token === this.showing) this.state = "ready";
  }

  calm() {
    this.showing += 1;
    this.shown = null;
    const [title, more] = calmWords(this.say, this.turn);
    this.state = this.turn.state === "finished" ? "finished" : "calm";
    this.group.hidden = true;
    this.find(".none").disabled = true;
    this.find(".calm").hidden = false;
    this.find(".calm-title").textContent = this.say(title);
    this.find(".calm-more").textContent = more;
  }

  async poll() {
    for (;;) {
      await sleep(this.state === "calm" ? POLL_MS.calm : isBusy(this.turn) ? POLL_MS.busy : POLL_MS.ready);
      const quiet = this.outbox.size > 0 || document.hidden || this.state === "picked" || this.state === "finished";
      if (quiet) continue;
      const count = this.answered.size;
      try {
        const turn = await getTurn();
        // An answer given meanwhile makes this an old word.
        if (count === this.answered.size) this.follow(turn);
      } catch (error) {
        if (error instanceof Refused && error.status === 401) await this.refetch();
      }
    }
  }

  // --- answering ---

  async choose(outcome, position, input) {
    if (this.state !== "ready" || this.help.open) return;
    this.state = "picked";
    const slate = this.shown;
    const rt = Math.round(performance.now() - this.paintedAt);
    this.answered.add(slate.slate_id);
    this.group.dataset.chosen = outcome;
    this.group.querySelector(`[data-position="${position}"]`)?.classList.add("chosen");
    const body = { slate_id: slate.slate_id, outcome, rt_ms: Math.min(rt, 86400000), input };
    if (outcome === "pick") body.position = position;
    body.viewport = `${innerWidth}x${innerHeight}@${Math.round(devicePixelRatio * 100) / 100}`;
    showSaved(this.root, this.say, this.turn.progress.yours, true);
    this.holdUntil = performance.now() + CHOSEN_MS;
    this.outbox.put(body);
    await sleep(CHOSEN_MS + 1);
    this.holdUntil = 0;
    this.advance();
  }

  async refused(error, pick) {
    this.answered.delete(pick.slate_id);
    if (this.shown?.slate_id === pick.slate_id) this.shown = null;
    const known = error instanceof Refused && [404, 409, 410, 422].includes(error.status);
    if (known) this.note(this.say(`refused_${error.status}`));
    await this.refetch();
  }

  // --- what is said ---

  note(text, stays = false) {
    const note = this.find(".note");
    note.textContent = text;
    note.classList.add("shown");
    clearTimeout(this.noteTimer);
    if (!stays) this.noteTimer = setTimeout(() => note.classList.remove("shown"), NOTE_MS);
  }

  trouble(is, what) {
    this.note(this.say(is ? what : "back"), is);
  }

  speak(text) {
    if (text === this.spoken) return;
    this.spoken = text;
    this.find(".spoken").textContent = text;
  }

  async reveal(total) {
    try {
      await reveal(this.find(".reveal"), total, this.say);
      this.arrange();
    } catch {
      // The section is a bonus: without it the picks go on, and the next generation tries again.
    }
  }

  arrange() {
    const stage = this.find(".stage");
    const below = this.find(".below");
    const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
    const peek = this.find(".reveal:not([hidden])") ? REVEAL_PEEK_REM * rem : 0;
    const top = stage.getBoundingClientRect().top + scrollY;
    const pixels = (element, property) => parseFloat(getComputedStyle(element)[property]);
    const padding = pixels(stage, "paddingTop") + pixels(stage, "paddingBottom") + pixels(this.find(".screen"), "paddingBottom");
    arrange(this.group, stage.clientWidth, Math.max(120, innerHeight - top - below.offsetHeight - padding - peek));
    fitSheets(this.find(".reveal"));
  }

  // --- listening: once, on the root, whatever is drawn inside ---

  listen() {
    this.root.addEventListener("click", (event) => this.clicked(event));
    document.addEventListener("keydown", (event) => this.pressed(event));
    addEventListener("resize", () => this.arrange());
    addEventListener("beforeunload", (event) => {
      if (this.outbox.size) event.preventDefault();
    });
    this.help.addEventListener("click", (event) => {
      if (event.target === this.help) this.help.close();
    });
  }

  clicked(event) {
    const button = event.target.closest("button");
    if (!button) return;
    const input = event.detail === 0 ? "key" : event.pointerType || "mouse";
    if (button.dataset.act === "help") this.help.showModal();
    else if (button.dataset.act === "close") this.help.close();
    else if (event.detail > 1) return;
    else if (button.dataset.act === "none") this.choose("none", null, input);
    else if (button.classList.contains("choice")) this.choose("pick", Number(button.dataset.position), input);
  }

  pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || this.help.open) return;
    if (event.key === "?") {
      event.preventDefault();
      this.help.showModal();
    } else if (event.key === "0") this.choose("none", null, "key");
    else {
      const button = [...this.group.children].find((_, index) => keyOf(index) === event.key.toLowerCase());
      if (button) this.choose("pick", Number(button.dataset.position), "key");
    }
  }
}

// Called when Gradio has drawn the component; a second call for the same element does nothing.
export function start(element) {
  const root = element.querySelector(".rater");
  if (!root || root.dataset.started) return;
  root.dataset.started = "1";
  root.querySelector(".slate").tabIndex = -1;
  new RaterPage(root).begin();
}
