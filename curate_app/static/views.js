// The three views of the page, one at a time: a slate, a calm word, or a step. On a change its heading gets the focus.
import { startLeaving } from "./endings.js";
import { drawStep } from "./steps.js";

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
    const title = drawStep(this.step, turn, this.say);
    scrollTo(0, 0);
    title.focus({ preventScroll: true });
    startLeaving(this.step, this.say);
  }

  change(view, state) {
    this.root.dataset.view = view;
    if (state) this.root.dataset.state = state;
    this.find(".calm").hidden = view !== "calm";
    this.step.hidden = view !== "step";
    if (view !== "slate") this.find(".badge").hidden = true;
  }
}
