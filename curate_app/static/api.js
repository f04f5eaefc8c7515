// The JSON routes, and how long a call goes on trying.
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 8000;
const LONGEST_ASKED_MS = 60000;
const GIVE_UP_MS = 20000;

export class Refused extends Error {
  constructor(status, retryAfter) {
    super(`HTTP ${status}`);
    this.status = status;
    this.waitMs = Math.min(LONGEST_ASKED_MS, 1000 * (Number(retryAfter) || 0));
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
  throw new Refused(response.status, response.headers.get("Retry-After"));
}

// Panels name their ids each in their own way.
function panelParameters() {
  const query = new URLSearchParams(location.search);
  const first = (...names) => names.map((name) => query.get(name)).find((value) => value) ?? null;
  const guess = query.get("PROLIFIC_PID") ? "prolific" : query.get("assignmentId") ? "mturk" : null;
  return {
    panel: first("panel") ?? guess,
    rater_id: first("rater_id", "PROLIFIC_PID", "workerId", "participant_id"),
    study_id: first("study_id", "STUDY_ID", "hitId"),
    session_id: first("session_id", "SESSION_ID"),
    assignment_id: first("assignment_id", "assignmentId"),
    token: first("token"),
  };
}

export const openSession = () => call("POST", "/api/session", panelParameters());
export const consent = (agreed) => call("POST", "/api/consent", { agreed, ...panelParameters() });
export const finishStep = (step, answer) => call("POST", "/api/step", answer === undefined ? { step } : { step, answer });
export const getTurn = () => call("GET", "/api/slate");
export const sendPick = (pick) => call("POST", "/api/pick", pick);
export const sendUndo = (undo) => call("POST", "/api/undo", undo);
export const withdraw = () => call("POST", "/api/withdraw", {});
export const getGenerations = () => call("GET", "/api/generations");
export const getTaste = () => call("GET", "/api/taste");

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

// The server is there and can't save at the moment: its database is locked by another program, or its disk is full.
export const cannotSave = (error) => error instanceof Refused && [503, 507].includes(error.status);

// Calls until the server answers; `onTrouble(true, error)` whenever it doesn't, `onTrouble(false)` when it does again.
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
      onTrouble(true, error);
      await pause(Math.max(wait, error.waitMs ?? 0));
    }
  }
}
