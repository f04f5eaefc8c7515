// Picks leave the page in order, each until the server has acknowledged it. Until then the browser's storage holds them
// too, by session and slate, so a reload loses none; the server knows a pick that comes twice.
import { persist, Refused, sendPick } from "./api.js";
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

  // Takes up what an earlier page of this session still held; returns its slates' ids.
  resume(session) {
    this.session = session;
    const held = new Set(this.waiting.map(({ pick }) => pick.slate_id));
    const kept = storedEntries(session).filter(({ pick }) => !held.has(pick.slate_id));
    this.waiting.push(...kept);
    this.drain();
    return kept.map(({ pick }) => pick.slate_id);
  }

  put(pick) {
    const entry = { key: `${PREFIX}${this.session}.${pick.slate_id}`, at: Date.now(), pick };
    this.waiting.push(entry);
    stored(() => localStorage.setItem(entry.key, JSON.stringify(entry)));
    this.drain();
  }

  clear() {
    for (const { key } of this.waiting.splice(0)) forget(key);
  }

  async drain() {
    if (this.sending) return;
    this.sending = true;
    while (this.waiting.length) {
      const entry = this.waiting[0];
      const settle = await this.send(entry.pick);
      if (this.waiting[0] === entry) this.waiting.shift();
      forget(entry.key);
      await settle();
    }
    this.sending = false;
  }

  // A session that the server doesn't know any more is opened again, once; if it is the same one, the pick still counts.
  async send(pick, reopen = true) {
    try {
      const answer = await persist(() => sendPick(pick), this.onTrouble);
      return () => this.onSaved(answer);
    } catch (error) {
      const lost = error instanceof Refused && error.status === 401;
      if (lost && reopen && (await this.onUnknown()) === this.session) return this.send(pick, false);
      return () => this.onRefused(error, pick);
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
