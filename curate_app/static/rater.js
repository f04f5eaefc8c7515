// The rater's page. The server says where the rater is; the page shows it, sends the answers, and follows the server.
import { cannotSave, consent, finishStep, getTurn, openSession, persist, Refused, withdraw } from "./api.js";
import { listen } from "./controls.js";
import { copyCode, stopLeaving } from "./endings.js";
import { howTo } from "./judgements.js";
import { Outbox } from "./outbox.js";
import { calmWords, isBusy, progressLine, showProgress, showSaved } from "./progress.js";
import { reveal } from "./reveal.js";
import { showTaste } from "./taste.js";
import { preload } from "./slate.js";
import { sleep, Stage } from "./stage.js";
import { isStep } from "./steps.js";
import { chosenLanguage, speaker, translate } from "./strings.js";
import { Undo } from "./undo.js";
import { Views } from "./views.js";
import { Voice } from "./voice.js";
import { Zoom } from "./zoom.js";

const POLL_MS = { calm: 1500, busy: 2500, slow: 12000, paused: 5000 };
const MOST_LAPSES = 2; // after as many slates without an answer in time the page asks whether anyone is there
const SLATES = ["picking", "practice"];
const OUTSIDE = ["consent", "declined", "preview", "uninvited", "incomplete", "elsewhere", "full", "withdrawn"]; // nothing left to withdraw
const OVER = ["finished", "failed"];
const ENDED = [...OUTSIDE, ...OVER];
const RIGHT_MS = 1200; // "That is right." stays in view this long, and leaves with its step

class RaterPage {
  constructor(root) {
    this.root = root;
    this.say = this.translated();
    this.turn = null;
    this.answered = new Set();
    this.returned = null; // the slate whose answer was taken back
    this.attempts = new Map(); // the number of the next answer to a slate whose undo may not have been heard yet
    this.acts = 0; // what the server was asked before the last act is an old word
    this.acting = false;
    this.lapses = 0;
    this.voice = new Voice(root);
    this.views = new Views(root, this.say);
    this.undo = "undo" in root.dataset ? new Undo(root, (offered) => this.takeBack(offered)) : null;
    this.zoom = new Zoom(root, this.say);
    this.stage = new Stage(root, this.say, {
      onAnswer: (pick) => this.answer(pick),
      onSettled: () => this.advance(),
      onBroken: (token) => this.broken(token),
    });
    this.outbox = new Outbox({
      onSaved: (answer) => this.follow(answer.next),
      onRefused: (error, { pick, undo }) => (pick ? this.refused(error, pick) : this.undoRefused(error, undo)),
      onUnknown: () => this.enter().then((turn) => turn?.session),
      onTrouble: (is, error) => this.trouble(is, "offline", error),
    });
    this.listen();
  }

  translated() {
    const languages = JSON.parse(this.root.dataset.languages);
    const language = chosenLanguage(languages);
    Object.assign(this.root, { lang: language, dir: languages[language].dir });
    const say = speaker(languages[language]);
    translate(this.root, say);
    return say;
  }

  get over() {
    return OVER.includes(this.turn?.state);
  }

  get state() {
    return this.root.dataset.state;
  }

  // --- the server's word ---

  async begin() {
    if (!navigator.cookieEnabled) {
      this.views.calm("stuck", this.say("cookies_title"), this.say("cookies_more"));
      return;
    }
    const turn = await this.enter();
    if (turn) this.arrive(turn);
    this.poll();
  }

  patiently(action) {
    return persist(action, (is, error) => this.trouble(is, "unreachable", error));
  }

  // Opens the session of this browser, or of the panel's ids; null when the server refuses to.
  async enter() {
    try {
      return await this.patiently(openSession);
    } catch (error) {
      if (!(error instanceof Refused)) throw error; // a fault of this page: let it be seen
      this.voice.note(this.say("not_opened"), true);
      return null;
    }
  }

  // Takes up the turn with which a session begins or goes on.
  arrive(turn) {
    if (turn.session) {
      for (const { pick, undo } of this.outbox.resume(turn.session)) {
        if (pick) this.answered.add(pick.slate_id);
        else this.answered.delete(undo.slate_id);
        if (undo) this.attempts.set(undo.slate_id, undo.attempt + 1);
      }
    }
    this.follow(turn);
  }

  // Asks for the present turn; a session that ended is opened anew. Never throws: the outbox and the poll go on.
  async refetch() {
    try {
      this.follow(await this.patiently(getTurn));
    } catch (error) {
      if (!(error instanceof Refused)) throw error; // a fault of this page: let it be seen
      if (error.status === 401) await this.reopen();
      else this.voice.note(this.say("unreachable"), true);
    }
  }

  async reopen() {
    const turn = await this.enter();
    if (!turn) return;
    if (this.turn && turn.session !== this.outbox.session) this.voice.note(this.say("resumed"));
    this.arrive(turn);
  }

  async poll() {
    for (;;) {
      await sleep(this.pollMs());
      const quiet = this.outbox.size > 0 || this.acting || document.hidden || ["picked", "away"].includes(this.state);
      if (quiet || !this.turn || ENDED.includes(this.turn.state)) continue;
      const act = this.acts;
      try {
        const turn = await getTurn();
        if (act === this.acts) this.follow(turn);
      } catch (error) {
        if (error instanceof Refused && error.status === 401) await this.refetch();
      }
    }
  }

  pollMs() {
    if (this.state === "calm" || this.state === "paused") return POLL_MS[this.state];
    return isBusy(this.turn) && this.root.dataset.view === "slate" ? POLL_MS.busy : POLL_MS.slow;
  }

  // --- showing it ---

  follow(turn) {
    const before = this.turn?.progress.t;
    const { t, total } = turn.progress;
    this.turn = turn;
    if (!["picking", "waiting"].includes(turn.state)) this.undo?.withdraw(); // that answer ended something
    if (before !== undefined && t > before && SLATES.includes(turn.state)) this.voice.note(this.say("arrived", { t }));
    const published = t > 0 || SLATES.includes(turn.state); // before generation 0 is, t is 0 as well
    if (published && this.revealed !== t && this.root.dataset.reveal === "1") this.reveal(t, total);
    const { yours } = turn.progress;
    if (yours !== this.judged && this.root.querySelector(".taste")) this.tastes(yours);
    showProgress(this.root, this.say, turn);
    showSaved(this.root, this.say, turn.progress, this.outbox.size > 0);
    this.advance();
  }

  // Shows the first slate that has no answer yet, unless the one in view is still among them; else what the turn says.
  advance() {
    if (!this.turn || this.stage.holds || this.state === "away") return;
    const slates = SLATES.includes(this.turn.state) ? [this.returned, this.turn, this.turn.upcoming] : [];
    const open = slates.filter((slate) => slate?.slate_id && !this.answered.has(slate.slate_id));
    const stays = open.some((slate) => slate.slate_id === this.stage.shown?.slate_id);
    if (!stays && open.length) this.show(open[0]);
    else if (!stays && this.outbox.size === 0) this.rest();
    this.views.offerLeaving(OUTSIDE.includes(this.turn.state), this.over);
    preload(open.find((slate) => slate.slate_id !== this.stage.shown?.slate_id));
  }

  async show(slate) {
    if (this.lapses >= MOST_LAPSES) return this.askWhetherThere();
    const { practice } = this.turn;
    const n = practice && practice.done + (slate === this.turn ? 1 : 2);
    const badge = practice ? this.say("practice_badge", { n, total: practice.total }) : "";
    const how = practice ? howTo(slate, this.say) : "";
    this.views.explain(how);
    const came = this.views.slate(badge);
    if (!(await this.stage.show(slate, this.turn.timeout_s))) return;
    if (came) this.views.asked();
    const words = this.say(slate.items.some((item) => !item.image) ? "group_text" : "group", { k: slate.k });
    this.voice.speak([badge, how, this.progressWords(), slate.condition, words].filter(Boolean).join(". "));
  }

  // No slate to show: a step, or a calm word.
  rest() {
    this.stage.clear();
    if (this.turn.state === "consent") this.asked = this.turn;
    if (ENDED.includes(this.turn.state)) this.voice.hush(); // nothing about old images lies over an ending
    if (isStep(this.turn.state)) this.views.show(this.turn);
    else this.views.calm(this.turn.state === "paused" ? "paused" : "calm", ...calmWords(this.say, this.turn));
  }

  async broken(token) {
    this.voice.note(this.say("image_failed"));
    await sleep(1000);
    if (token !== this.stage.showing) return;
    this.stage.shown = null;
    await this.refetch();
  }

  askWhetherThere() {
    this.stage.clear();
    this.views.calm("away", this.say("there_title"), this.say("there_more"), true);
  }

  goOn() {
    this.lapses = 0;
    this.root.dataset.state = "calm";
    this.advance();
  }

  async reveal(t, total) {
    this.revealed = t;
    try {
      await reveal(this.root.querySelector(".reveal"), total, this.say);
      this.stage.arrange();
    } catch {
      // The section is a bonus: without it the picks go on, and the next generation tries again.
    }
  }

  async tastes(picks) {
    this.judged = picks;
    try {
      await showTaste(this.root.querySelector(".taste"), this.say);
    } catch {
      // As with the sheets: the next pick tries again.
    }
  }

  trouble(is, what, error) {
    if (is) this.slow = cannotSave(error);
    this.voice.note(this.say(is ? (this.slow ? "saving_slow" : what) : this.slow ? "saving_again" : "back"), is);
  }

  // Without the seconds, which would be read out again and again.
  progressWords() {
    return progressLine(this.say, { ...this.turn, worker: { ...this.turn.worker, left_s: null } }).text;
  }

  // --- answering ---

  answer(pick) {
    this.acts += 1;
    const timeout = pick.outcome === "timeout";
    this.lapses = timeout ? this.lapses + 1 : 0;
    if (timeout) this.voice.note(this.say("timed_out"));
    const { shown } = this.stage;
    const attempt = Math.max(this.attempts.get(pick.slate_id) ?? 1, shown.attempt ?? 1);
    this.answered.add(pick.slate_id);
    this.returned = null;
    showSaved(this.root, this.say, this.turn.progress, true);
    if (timeout || !this.undoable()) this.undo?.withdraw();
    else this.undo.offer(shown, attempt, this.turn.undo_s);
    this.outbox.put({ pick: { ...pick, attempt } });
  }

  // Whether the answer that is given now may be taken back: no practice, and not the last of the session.
  undoable() {
    const { undo_s, practice, progress } = this.turn;
    const left = progress.mine ? progress.mine.total - progress.mine.done - this.outbox.balance : Infinity;
    return Boolean(this.undo && undo_s && !practice && left > 1);
  }

  // The slate comes back at once; the server hears of it in turn.
  takeBack({ slate, attempt }) {
    this.acts += 1;
    this.answered.delete(slate.slate_id);
    this.attempts.set(slate.slate_id, attempt + 1);
    this.returned = slate;
    this.stage.shown = null;
    showSaved(this.root, this.say, this.turn.progress, true);
    this.outbox.put({ undo: { slate_id: slate.slate_id, attempt } });
    this.voice.note(this.say("undone"));
    this.advance();
  }

  async undoRefused(error, { slate_id }) {
    this.outbox.drop(slate_id); // the answer stands
    this.attempts.delete(slate_id);
    this.returned = null;
    if ([409, 410].includes(error.status)) this.answered.add(slate_id);
    if (this.stage.shown?.slate_id === slate_id) this.stage.shown = null;
    await this.refetch();
    const known = error instanceof Refused && [404, 409, 410].includes(error.status);
    if (known && !ENDED.includes(this.turn.state)) this.voice.note(this.say(`undo_${error.status}`));
  }

  async refused(error, pick) {
    this.answered.delete(pick.slate_id);
    if (this.stage.shown?.slate_id === pick.slate_id) this.stage.shown = null;
    await this.refetch();
    const known = error instanceof Refused && [404, 409, 410, 422].includes(error.status);
    if (known && !ENDED.includes(this.turn.state)) this.voice.note(this.say(`refused_${error.status}`));
  }

  // Sends what a step's button asks for, once; a step that is behind or ahead of the server's follows the server.
  async act(action) {
    if (this.acting) return;
    this.acting = true;
    this.acts += 1;
    this.views.step.setAttribute("aria-busy", "true");
    const asked = this.turn.state;
    try {
      const turn = await this.patiently(action);
      if (asked === "question") await this.judged(turn);
      this.arrive(turn);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      if (error.status === 422) this.voice.note(this.say("not_taken"));
      else await this.refetch();
    } finally {
      this.acting = false;
      this.views.step.removeAttribute("aria-busy");
    }
  }

  // A remark on the answer to the question; a redrawn step makes its own when the answer was wrong.
  async judged(turn) {
    const same = turn.state === "question" && turn.tries_left === this.turn.tries_left;
    if (same) this.views.remark("tried", "wrong");
    if (["question", "failed", "withdrawn"].includes(turn.state)) return;
    this.views.remark("right", "good");
    await sleep(RIGHT_MS);
  }

  submit(step, answer) {
    if (step === "question" && answer === null) this.views.remark("choose", "wrong");
    else this.act(() => finishStep(step, answer));
  }

  async leave() {
    const turn = await withdraw();
    this.outbox.clear();
    return turn;
  }

  listen() {
    const press = {
      "go-on": () => this.goOn(),
      undo: () => this.undo?.press(),
      zoom: () => this.zoom.toggle(),
      agree: () => this.act(() => consent(true)),
      decline: () => this.act(() => consent(false)),
      reconsider: () => (this.asked ? this.follow(this.asked) : location.reload()),
      instructed: () => this.act(() => finishStep("instructions")),
      leave: () => this.views.askToLeave(this.turn, this.over),
      withdraw: () => this.act(() => this.leave()),
      stay: () => stopLeaving(this.views.step),
      copy: async () => this.voice.note(this.say((await copyCode(this.root.querySelector(".code"))) ? "copied" : "copy_by_hand")),
    };
    const choose = (...answer) => this.stage.choose(...answer);
    listen(this.root, { press, choose, submit: (step, answer) => this.submit(step, answer) });
    addEventListener("beforeunload", (event) => {
      if (this.outbox.size) event.preventDefault();
    });
    // Back to a page that the browser had put away: what it shows may be old.
    addEventListener("pageshow", (event) => {
      if (event.persisted && this.turn && !ENDED.includes(this.turn.state)) this.refetch();
    });
  }
}

// Called when Gradio has drawn the component; a second call for the same element does nothing.
export function start(element) {
  const root = element.querySelector(".rater");
  if (!root || root.dataset.started) return;
  root.dataset.started = "1";
  new RaterPage(root).begin();
}
