// The JSON routes, and the outbox: picks leave the page in order, each until the server has acknowledged it.
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 8000;
const GIVE_UP_MS = 20000;

export class Refused extends Error {
  constructor(status) {
    super(`HTTP ${status}`);
    this.status = status;
  }
}

async function call(method, path, body) {
  const response = await fetch(path, {
    method,
    headers: body === undefined ? {} : { "Content-Type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
    // A pick under way survives the tab.
    keepalive: method === "POST",
    cache: "no-store",
    signal: AbortSignal.timeout(GIVE_UP_MS),
  });
  if (response.ok) return response.json();
  throw new Refused(response.status);
}

// Panels name their ids each in their own way.
function panelParameters() {
  const query = new URLSearchParams(location.search);
  const first = (...names) => names.map((name) => query.get(name)).find((value) => value) ?? null;
  const rater = first("rater_id", "PROLIFIC_PID", "workerId", "participant_id");
  return {
    panel: first("panel") ?? (query.get("PROLIFIC_PID") ? "prolific" : null),
    rater_id: rater,
    study_id: first("study_id", "STUDY_ID"),
    session_id: first("session_id", "SESSION_ID"),
  };
}

export const openSession = () => call("POST", "/api/session", panelParameters());
export const getTurn = () => call("GET", "/api/slate");
export const getGenerations = () => call("GET", "/api/generations");

// Network failures, a busy or a broken server pass; anything else is an answer.
const passes = (error) => !(error instanceof Refused) || error.status >= 500 || error.status === 429;

// Resolves after `ms`, or at once when the browser says that the connection is back.
function pause(ms) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      removeEventListener("online", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    addEventListener("online", done);
  });
}

// Calls until the server answers; `onTrouble(true)` when it first doesn't, `onTrouble(false)` when it does again.
export async function persist(action, onTrouble) {
  for (let wait = FIRST_WAIT_MS, trouble = false; ; wait = Math.min(wait * 2, LONGEST_WAIT_MS)) {
    try {
      const answer = await action();
      if (trouble) onTrouble(false);
      return answer;
    } catch (error) {
      if (!passes(error)) {
        if (trouble) onTrouble(false);
        throw error;
      }
      trouble = true;
      onTrouble(true);
      await pause(wait);
    }
  }
}

export class Outbox {
  constructor({ onSaved, onRefused, onTrouble }) {
    this.waiting = [];
    this.sending = false;
    Object.assign(this, { onSaved, onRefused, onTrouble });
  }

  get size() {
    return this.waiting.length;
  }

  put(pick) {
    this.waiting.push(pick);
    this.drain();
  }

  async drain() {
    if (this.sending) return;
    this.sending = true;
    while (this.waiting.length) {
      const pick = this.waiting[0];
      let settle;
      try {
        const answer = await persist(() => call("POST", "/api/pick", pick), this.onTrouble);
        settle = () => this.onSaved(answer, pick);
      } catch (error) {
        settle = () => this.onRefused(error, pick);
      }
      this.waiting.shift();
      await settle();
    }
    this.sending = false;
  }
}
