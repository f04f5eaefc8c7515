// Taking the last answer back: for a while after it, until the next one, and not where it ended something.
export class Undo {
  // onUndo({slate, attempt}) when the rater takes the answer to a slate back.
  constructor(root, onUndo) {
    Object.assign(this, { root, onUndo, offered: null, timer: null });
    this.button = root.querySelector(".undo");
  }

  // Offers to take back the answer to a slate, the session's `attempt`-th to it, for some seconds.
  offer(slate, attempt, seconds) {
    clearTimeout(this.timer);
    this.offered = { slate, attempt };
    this.button.disabled = false;
    this.timer = setTimeout(() => this.withdraw(), 1000 * seconds);
  }

  withdraw() {
    clearTimeout(this.timer);
    this.offered = null;
    if (document.activeElement === this.button) this.root.querySelector(".slate").focus({ preventScroll: true });
    this.button.disabled = true;
  }

  press() {
    const { offered } = this;
    if (!offered) return;
    this.withdraw();
    this.onUndo(offered);
  }
}
