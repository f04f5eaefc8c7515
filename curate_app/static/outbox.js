// Picks and undos leave the page in order, each until the server has acknowledged it. Until then the browser's storage
// holds them too, by session and slate, so a reload loses none; the server knows what comes twice.
import { persist, Refused, sendPick, sendUndo } from "./api.js";
import { stored } from "./dom.js";

const PREFIX = "curate.pick.";
const OLD_MS = 24 * 3600 * 1000;

export class Outbox {
  constructor({ onSaved, onRefused, onUnknown, onTrouble }) {
    this.waiting = [];
    this.sending = false;
    this.session = null;
    Object.assign(this, { onSaved, onRefused, onUnknown, onTrouble });
  }

  get size() {
    return this.waiting.length;
  }

  // Picks less undos that wait.
  get balance() {
    return this.waiting.reduce((sum, { pick }) => sum + (pick ? 1 : -1), 0);
  }

  // Takes up what an earlier page of this session still held, and returns it: entries with a `pick` or an `undo`.
  resume(session) {
    this.session = session;
    const held = new Set(this.waiting.map(({ key }) => key));
    const kept = storedEntries(session).filter(({ key }) => !held.has(key));
    this.waiting.push(...kept);
    this.drain();
    return kept;
  }

  // `{ pick }` or `{ undo }`; both name their slate, and which of the answers to it they are.
  put(what) {
    const { slate_id, attempt } = what.pick ?? what.undo;
    const last = this.waiting.at(-1)?.at ?? 0; // the clock may have been set back
    const key = `${PREFIX}${this.session}.${slate_id}.${attempt}${what.undo ? ".undo" : ""}`;
    const entry = { key, at: Math.max(Date.now(), last + 1), ...what };
    this.waiting.push(entry);
    stored(() => localStorage.setItem(entry.key, JSON.stringify(entry)));
    this.drain();
  }

  clear() {
    for (const { key } of this.waiting.splice(0)) forget(key);
  }

  // What waits for a slate is not sent.
  drop(slate) {
    for (const { key } of this.waiting.filter(({ pick, undo }) => (pick ?? undo).slate_id === slate)) forget(key);
    this.waiting = this.waiting.filter(({ pick, undo }) => (pick ?? undo).slate_id !== slate);
  }

  async drain() {
    if (this.sending) return;
    this.sending = true;
    while (this.waiting.length) {
      const entry = this.waiting[0];
      const settle = await this.send(entry);
      if (this.waiting[0] === entry) this.waiting.shift();
      forget(entry.key);
      await settle();
    }
    this.sending = false;
  }

  // A session that the server doesn't know any more is opened again, once; if it is the same one, the pick still counts.
  async send(entry, reopen = true) {
    const { pick, undo } = entry;
    try {
      const answer = await persist(() => (pick ? sendPick(pick) : sendUndo(undo)), this.onTrouble);
      return () => this.onSaved(answer);
    } catch (error) {
      const lost = error instanceof Refused && error.status === 401;
      if (lost && reopen && (await this.onUnknown()) === this.session) return this.send(entry, false);
      return () => this.onRefused(error, entry);
    }
  }
}

const forget = (key) => stored(() => localStorage.removeItem(key));

function storedEntries(session) {
  const keys = stored(() => Object.keys(localStorage), []).filter((key) => key.startsWith(PREFIX));
  const entries = keys.map((key) => stored(() => JSON.parse(localStorage.getItem(key)))).filter(Boolean);
  const own = ({ key }) => key.startsWith(`${PREFIX}${session}.`);
  // An own answer is never too old: the clock may have been set.
  for (const entry of entries) if (!own(entry) && Date.now() - entry.at > OLD_MS) forget(entry.key);
  return entries.filter(own).sort((one, other) => one.at - other.at);
}
