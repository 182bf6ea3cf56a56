// Labels: what reviewers say. All that is ever written is events; a label is what its events come to.
// Alone, the page keeps its events in the browser and exports them; with a server it sends them there, one by one,
// and keeps what is not yet taken, so that nothing is lost when the server or the page goes away.

const WORDS = ['problem', 'expected', 'unsure'];
const MARKS = { problem: '✖', expected: '✔', unsure: '?' };
const FORMAT = 'qad-labels';
const MINE = live ? 'qad-unsent:' : 'qad-event:';
const ASK_AGAIN = 15000;

const uuid = () => {
  const octets = crypto.getRandomValues(new Uint8Array(16));
  octets[6] = (octets[6] & 15) | 64;
  octets[8] = (octets[8] & 63) | 128;
  const hex = [...octets].map((o) => o.toString(16).padStart(2, '0')).join('');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
};

// The browser's own storage; it may be forbidden, and then what is written lasts as long as the page.
const storage = (() => {
  try {
    localStorage.setItem('qad-try', '1');
    localStorage.removeItem('qad-try');
    return localStorage;
  } catch {
    return null;
  }
})();

const remember = (name, value) => { try { storage?.setItem(name, value); return storage !== null; } catch { return false; } };
const recall = (name) => storage?.getItem(name) ?? null;

const isText = (value, most) => typeof value === 'string' && value.length <= most;
const isTime = (value) => typeof value === 'string' && /^\d{4}-\d\d-\d\d/.test(value) && Number.isFinite(Date.parse(value));
const isRange = ({ start, end }, open) => isTime(start) && ((open && end === null) || (isTime(end) && Date.parse(start) < Date.parse(end)));

const TARGETS = {
  incident: (t) => isText(t.incident, 500) && Array.isArray(t.queues) && t.queues.every((q) => isText(q, 500)) && isRange(t, true),
  queue: (t) => isText(t.panda_queue, 500) && isRange(t),
  group: (t) => isText(t.field, 200) && isText(t.value, 500) && isRange(t),
};

// What is wrong with an event that comes from outside; '' where nothing is.
function faultOf(event) {
  if (typeof event !== 'object' || event === null) return 'is no object';
  if (!isText(event.id, 100) || !event.id || !isText(event.label, 100) || !event.label) return 'has no id or no label';
  if (!isText(event.author, 200) || !event.author.trim()) return 'has no author';
  if (!isTime(event.time)) return 'has no time';
  if (event.op === 'undo') return '';
  if (event.op !== 'put') return `has the unknown op ${JSON.stringify(event.op)}`;
  if (!WORDS.includes(event.word)) return `has the unknown word ${JSON.stringify(event.word)}`;
  if (event.kind !== null && !index.kinds.includes(event.kind)) return `has the unknown kind ${JSON.stringify(event.kind)}`;
  if (!isText(event.comment, 10000)) return 'has no comment, not even an empty one';
  return TARGETS[event.target?.type]?.(event.target) ? '' : 'has a target that cannot be understood';
}

// The order of events, the same for everybody (qad_dl/labels): by time, then what takes back after what puts, then by id.
const inOrder = (a, b) => Date.parse(a.time) - Date.parse(b.time) || (a.op === 'undo') - (b.op === 'undo') || (a.id < b.id ? -1 : 1);

// The labels: of each the newest event that says something, and the history of it; one whose last event takes it back is gone.
function fold(events) {
  const made = new Map();
  for (const event of [...events].sort(inOrder)) made.set(event.label, [...(made.get(event.label) ?? []), event]);
  return [...made.values()].flatMap((history) => {
    const newest = history.findLast((event) => event.op === 'put');
    return newest ? [{ ...newest, history, gone: history.at(-1).op === 'undo' }] : [];
  });
}

const labels = {
  served: [],          // events that the server has, or that came with the page
  mine: new Map(),     // id -> event that was made here: alone all of them, else those that are not yet sent
  known: [],           // the labels in force
  gone: [],            // those that were taken back, with what was said
  touching: new Map(), // row -> its labels
  on: new Map(),       // id of an incident -> its labels
  listeners: [],
  trouble: '',         // what was refused, or cannot be kept
  away: '',            // why the server cannot be reached
  exported: Number(recall('qad-exported') ?? 0),
};

labels.author = () => meta('qad-author') || $('author').value.trim();

// All events. With a server, what is not yet sent comes after all that the server has, which gives it its time.
function events() {
  const known = new Map(labels.served.map((event) => [event.id, event]));
  let last = live ? Math.max(0, ...labels.served.map((event) => Date.parse(event.time))) : 0;
  for (const event of [...labels.mine.values()].sort(inOrder)) {
    if (known.has(event.id)) continue;
    last = live ? Math.max(last + 1, Date.parse(event.time)) : Date.parse(event.time);
    known.set(event.id, live ? { ...event, time: new Date(last).toISOString() } : event);
  }
  return [...known.values()];
}

function labelsChanged() {
  const folded = fold(events()).sort((a, b) => -inOrder(a, b));
  labels.known = folded.filter((label) => !label.gone);
  labels.gone = folded.filter((label) => label.gone);
  labels.touching = new Map();
  labels.on = new Map(index.incidents.map((line) => [line.id, labels.known.filter((label) => isOn(label, line))]));
  for (const label of labels.known) for (const row of rowsOf(label)) {
    if (!labels.touching.has(row)) labels.touching.set(row, []);
    labels.touching.get(row).push(label);
  }
  labels.listeners.forEach((listener) => listener());
}

const seconds = (text) => (text === null ? Infinity : Date.parse(text) / 1000);
const rangeOfTarget = ({ start, end }) => [seconds(start), seconds(end)];
const overlap = (a, b, c, d) => a < d && c < b;

// The rows that a label speaks of, where its time touches the range of the page.
function rowsOf({ target }) {
  const [from, to] = rangeOfTarget(target);
  if (!overlap(from, to, FULL[0], FULL[1])) return [];
  if (target.type === 'queue') return rowsOfQueues([target.panda_queue]);
  if (target.type === 'incident') return rowsOfQueues(target.queues);
  return rowsOfGroup(target.field, target.value);
}

const rowsOfQueues = (names) => names.flatMap((name) => rowsByQueue.get(name) ?? []);

function rowsOfGroup(field, value) {
  if (index.common[field] === value) return index.series.map((_, row) => row);
  const k = index.fields.findIndex((f) => f.name === field), code = k < 0 ? -1 : index.fields[k].values.indexOf(value);
  if (code >= 0) return index.series.flatMap((line, row) => (line.m[k] === code ? [row] : []));
  // What the metadata do not say, an incident may: the queues that shared it.
  return [...new Set(index.incidents.filter((line) => line.f === field && line.v === value).flatMap((line) => line.q))];
}

// Whether a label is a word on this incident: by its name, or, from a page of another range, by what and when it was.
function isOn({ target }, line) {
  const { from, to } = incidentTimes(line), [start, end] = rangeOfTarget(target);
  if (target.type === 'incident' && target.incident === line.id) return true;
  if (!overlap(from, to, start, end)) return false;
  const one = line.f === 'panda_queue' || !line.f;
  if (target.type === 'incident' && one) return target.field === null && target.queues.length === line.q.length && line.q.every((row) => target.queues.includes(index.series[row].n));
  if (target.type === 'incident' || target.type === 'group') return target.field === line.f && target.value === line.v;
  return line.q.length === 1 && index.series[line.q[0]].n === target.panda_queue;
}

// --- writing ------------------------------------------------------------------------------------------------------

let newest = 0;

// Times of one page never stand still, so that the order of its events is theirs.
function timeNow() {
  newest = Math.max(Date.now(), newest + 1);
  return new Date(newest).toISOString();
}

function write(event) {
  const whole = { id: uuid(), ...event, author: labels.author(), time: timeNow() };
  labels.mine.set(whole.id, whole);
  if (!remember(MINE + whole.id, JSON.stringify(whole)) && !live) labels.trouble = 'This browser keeps nothing: export your labels before you close the page.';
  labelsChanged();
  if (live) send();
  return whole;
}

const putLabel = (draft, label) => write({ op: 'put', label: label ?? uuid(), ...draft });
const takeBack = (label) => write({ op: 'undo', label });

// What was done here last, newest last: the label, and what it was before (null where it was not there).
const done = [];

function putAndNote(draft, label) {
  const before = labels.known.find((known) => known.label === label) ?? null;
  done.push({ label: putLabel(draft, label).label, before });
}

function takeBackAndNote(label) {
  done.push({ label, before: labels.known.find((known) => known.label === label) ?? null });
  takeBack(label);
}

// Undo what was done here last: the label is again what it was before. Nothing is lost; the history shows both.
function undoLast() {
  const last = done.pop();
  if (!last) return said('Nothing of yours to undo since the page was opened.');
  if (last.before === null) takeBack(last.label);
  else putLabel(draftOf(last.before), last.label);
  said('Undone.');
}

const draftOf = ({ target, word, kind, comment }) => ({ target, word, kind, comment });

function readStored() {
  for (const name of storage ? Object.keys(storage).filter((n) => n.startsWith(MINE)) : []) {
    let event = null;
    try { event = JSON.parse(storage.getItem(name)); } catch { continue; }
    if (faultOf(event) === '') labels.mine.set(event.id, event);
  }
}

// --- alone: files -------------------------------------------------------------------------------------------------

const exportText = () => JSON.stringify({ format: FORMAT, version: 1, events: events().sort(inOrder) }, null, 1);

// Take in a file; all of it or, with the reason, nothing.
function importText(text) {
  let file;
  try { file = JSON.parse(text); } catch { return 'is no JSON'; }
  if (file?.format !== FORMAT || file.version !== 1 || !Array.isArray(file.events)) return `is no file of labels: its format is not "${FORMAT}", version 1`;
  const bad = file.events.findIndex((event) => faultOf(event) !== '');
  if (bad >= 0) return `event ${bad + 1} ${faultOf(file.events[bad])}`;
  const known = new Set(events().map((event) => event.id)), fresh = file.events.filter((event) => !known.has(event.id));
  for (const event of fresh) { labels.mine.set(event.id, event); remember(MINE + event.id, JSON.stringify(event)); }
  labelsChanged();
  said(`${plural(fresh.length, 'new event')} of ${file.events.length} taken from the file.`);
  return '';
}

function saveFile() {
  const link = h('a', { href: URL.createObjectURL(new Blob([exportText()], { type: 'application/json' })), download: `qad-labels-${new Date().toISOString().slice(0, 16).replace(/[-:]/g, '')}.json` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  labels.exported = events().length;
  remember('qad-exported', labels.exported);
  labelsChanged();
}

// --- with a server ------------------------------------------------------------------------------------------------

let csrf = meta('qad-csrf'), sending = false, pause = 1000;

async function fetchLabels() {
  const answer = await (await ask('labels.json')).json();
  labels.served = [...answer.labels, ...answer.withdrawn].flatMap((label) => label.history);
  labels.away = '';
  labelsChanged();
}

// The token of a server that was started anew.
async function renewToken() {
  const page = new DOMParser().parseFromString(await (await ask('./')).text(), 'text/html');
  csrf = page.querySelector('meta[name="qad-csrf"]')?.content ?? csrf;
}

const post = (event) => fetch('labels', { method: 'POST', headers: { 'Content-Type': 'application/json', 'X-QAD-CSRF': csrf }, body: JSON.stringify(event) });

// Send what is not yet sent, the oldest first, and what is said meanwhile; what the server cannot take now is tried again,
// what it refuses is told.
async function send() {
  if (sending) return;
  sending = true;
  const tried = new Set(), next = () => [...labels.mine.values()].filter((event) => !tried.has(event.id)).sort(inOrder)[0];
  try {
    let signedOut = false;
    for (let event = next(); event && !signedOut; event = next()) {
      tried.add(event.id);
      let response = await post(event);
      if (response.status === 403) { await renewToken(); response = await post(event); }
      if (response.status >= 500 || response.status === 429) throw new Error(`it answers ${response.status}`);
      if (!response.ok) refused(event, (await response.json().catch(() => ({}))).error ?? `it answers ${response.status}`);
      else labels.trouble = '';
      signedOut = response.status === 401 || response.status === 403;  // may do again once somebody has signed in
      if (signedOut) continue;
      if (response.ok) labels.served.push((await response.json()).label?.history?.find((e) => e.id === event.id) ?? event);
      labels.mine.delete(event.id);
      storage?.removeItem(MINE + event.id);
      pause = 1000;
      if (!next()) await fetchLabels();  // something may be said before it is there
    }
    if (signedOut) await fetchLabels();
  } catch (error) {
    labels.away = `Not sent yet: the server cannot be reached (${error.message}). It is tried again.`;
    setTimeout(send, pause);
    pause = Math.min(2 * pause, 30000);
    labels.listeners.forEach((listener) => listener());
  } finally {
    sending = false;
  }
}

function refused(event, why) {
  const text = `The server refused the label of ${moment(Date.parse(event.time) / 1000)}: ${why}`;
  if (labels.trouble !== text) said(text);
  labels.trouble = text;
}

async function startLabels() {
  readStored();
  labels.served = index.labels.filter((event) => faultOf(event) === '');
  labelsChanged();
  addEventListener('storage', (event) => { if (event.key?.startsWith(MINE) && !live) { readStored(); labelsChanged(); } });
  if (!live) {
    addEventListener('beforeunload', (event) => { if (storage === null && labels.mine.size) event.preventDefault(); });
    return;
  }
  const again = () => (labels.mine.size && !sending ? send() : fetchLabels().catch(() => {}));
  setInterval(again, ASK_AGAIN);
  await fetchLabels().catch((error) => { labels.away = `The labels cannot be had: ${error.message}.`; });
  if (labels.mine.size) send();
}

const syncWords = () => {
  if (labels.away || labels.trouble) return labels.away || labels.trouble;
  if (live) return labels.mine.size ? `${plural(labels.mine.size, 'label')} being sent` : plural(labels.known.length, 'label');
  const left = Math.max(0, events().length - labels.exported);
  return `${plural(labels.known.length, 'label')}${left ? `, ${left} not exported` : ''}`;
};
