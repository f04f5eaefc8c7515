// The three views of the page, one at a time: a slate, a calm word, or a step. On a change its heading gets the focus.
import { startLeaving, stopLeaving } from "./endings.js";
import { drawStep, remark } from "./steps.js";

export class Views {
  constructor(root, say) {
    Object.assign(this, { root, say });
    this.step = root.querySelector(".step");
    this.drawn = "";
  }

  find(selector) {
    return this.root.querySelector(selector);
  }

  // `badge` stands above the slate, where it isn't one that counts. The question gets the focus on `arrived`.
  slate(badge) {
    this.change("slate");
    this.find(".badge").textContent = badge;
    this.find(".badge").hidden = !badge;
    const came = !["", "slate"].includes(this.drawn);
    this.drawn = "slate";
    return came;
  }

  // Words under the question, while it is practised.
  explain(words) {
    this.find(".how").textContent = words;
    this.find(".how").hidden = !words;
  }

  asked() {
    this.find("h1").focus({ preventScroll: true });
  }

  calm(state, title, more, goOn = false) {
    this.change("calm", state);
    this.find(".calm .primary").hidden = !goOn;
    this.find(".calm-title").textContent = title;
    this.find(".calm-more").textContent = more;
    if (this.drawn !== state) this.find(".calm-title").focus({ preventScroll: true });
    this.drawn = state;
  }

  // A step that is there already stays as it is: someone may be writing in it.
  show(turn) {
    this.change("step", turn.state);
    const drawn = `${turn.state} ${turn.tries_left ?? ""}`;
    if (drawn === this.drawn) return;
    this.drawn = drawn;
    const title = drawStep(this.step, turn, this.say, this.root.dataset.panel);
    scrollTo(0, 0);
    title.focus({ preventScroll: true });
    startLeaving(this.step, this.say);
  }

  remark(key, tone) {
    remark(this.step, this.say(key), tone);
  }

  // The button under everything: out of the study, or with the answers out of a study that has ended for the rater.
  offerLeaving(outside, over) {
    const button = this.find(".foot .quiet");
    button.hidden = outside;
    button.textContent = this.say(over ? "withdraw_answers" : "withdraw");
  }

  askToLeave(turn, over) {
    stopLeaving(this.step);
    const more = this.say(over ? "leave_ended_more" : "leave_more");
    this.find("#leave-title").textContent = this.say(over ? "leave_ended_title" : "leave_title");
    this.find("#leave-more").textContent = turn.completed && turn.completion ? `${more} ${this.say("leave_code_holds")}` : more;
    this.find("dialog.leave .primary").textContent = this.say(over ? "leave_ended_stay" : "leave_stay");
    this.find("dialog.leave").showModal();
  }

  change(view, state) {
    this.root.dataset.view = view;
    if (state) this.root.dataset.state = state;
    this.find(".calm").hidden = view !== "calm";
    this.step.hidden = view !== "step";
    if (view !== "slate") this.find(".badge").hidden = true;
  }
}
