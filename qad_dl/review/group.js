// Queues together: those of an incident as one picture, and a queue beside others that share something with it.

const PAGE = 40;    // rows of a heat map that are in sight at once
const AT_ONCE = 16; // queues that are unpacked together while a group is added up

const nothing = () => times.map(() => null);

// Add an array to a sum; a tick is missing only where it is missing everywhere.
function addTo(sum, array) {
  for (let t = 0; t < sum.length; t++) if (array[t] !== null) sum[t] = (sum[t] ?? 0) + array[t];
}

// What the plots of some queues together need, in the form of a single queue with `members`. Queues are added one by one
// and only their scores are kept: a group may have hundreds.
const emptyGroup = (key, of) => ({
  key, of, page: 0, members: [], states: [], score: nothing(), status: null, blamed: new Int32Array(times.length), top: 0, downtimes: [], events: [],
});

function addQueue(group, queue) {
  group.members.push({ row: queue.row, score: queue.score, status: queue.status });
  group.status = statusTogether(group.status, queue.status);
  for (let t = 0; t < times.length; t++) {
    if (queue.score[t] === null || (group.score[t] !== null && group.score[t] >= queue.score[t])) continue;
    group.score[t] = queue.score[t];
    group.blamed[t] = queue.blamed[t];
    group.top = Math.max(group.top, queue.score[t]);
  }
  for (const state of queue.states) addState(group, state);
}

// The status of a group at each tick: flagged if any is, expected if all are, a reason only where nobody has a score.
function statusTogether(known, more) {
  const unscored = (s) => (s & (REASON | UNKNOWN)) !== 0;
  if (known === null) return more.map((s) => (unscored(s) ? s : s & (FLAGGED | EXPECTED)));
  return known.map((s, t) => {
    if (unscored(more[t])) return s;
    return unscored(s) ? more[t] & (FLAGGED | EXPECTED) : ((s | more[t]) & FLAGGED) | (s & more[t] & EXPECTED);
  });
}

// One state of all queues: counts and expectations added up; so are the edges of the bands, which is the widest that the
// band can be. Of the parts of scores the largest counts.
function addState(group, state) {
  let sum = group.states.find((known) => known.state === state.state);
  if (!sum) {
    sum = { state: state.state, name: state.name, observed: nothing(), expected: nothing(), lower: nothing(), upper: nothing(), week: null, part: times.map(() => 0) };
    group.states.push(sum);
    group.states.sort((a, b) => a.state - b.state);
  }
  for (const name of ['observed', 'expected', 'lower', 'upper']) addTo(sum[name], state[name]);
  if (state.week) addTo(sum.week ??= nothing(), state.week);
  for (let t = 0; t < times.length; t++) {
    const part = partOf(state, t);
    if (Math.abs(part) > Math.abs(sum.part[t])) sum.part[t] = part;
  }
}

let whole = null;  // the last group that was added up, so that the way back to it is short

// The queues of an incident together: the first at once; `addOthers` adds the others while the reader looks.
async function groupOfIncident(incident) {
  const key = `i${incident.id}`;
  if (whole?.key === key) return whole;
  const group = emptyGroup(key, incident.q.length);
  for (const queue of await Promise.all(incident.q.slice(0, PAGE).map(unpack))) addQueue(group, queue);
  return group;
}

// All queues of an incident; null once `wanted()` says that nobody looks at it any more.
async function addOthers(incident, group, wanted) {
  const all = structuredClone(group);
  while (all.members.length < incident.q.length) {
    const some = incident.q.slice(all.members.length, all.members.length + AT_ONCE);
    for (const queue of await Promise.all(some.map(unfold))) addQueue(all, queue);
    await new Promise((done) => setTimeout(done));
    if (!wanted()) return null;
  }
  return whole = Object.assign(all, { page: group.page });
}

// A queue with what the index says of it.
function queueOf(queue) {
  const line = index.series[queue.row];
  return { ...queue, key: `q${queue.row}`, top: line.top, downtimes: line.d, events: line.e.map(eventOf) };
}

// Nothing below two fifths of the threshold, then ever fuller, full well above it.
function scoreCell(queue) {
  const threshold = thresholdOf(index.series[queue.row]);
  return (t) => {
    const part = (queue.score[t] ?? 0) / threshold;
    return part < 0.4 ? 0 : Math.min(1, 0.62 * part);
  };
}

// Buttons to turn the pages of a heat map of many rows; `turned` is called after each.
function pagerOf(group, turned) {
  const out = h('output', { class: 'page-of', 'aria-live': 'polite' }), last = Math.ceil(group.of / PAGE) - 1;
  const turn = (by) => {
    group.page = Math.min(Math.max(group.page + by, 0), last);
    const from = group.page * PAGE;
    out.textContent = `${from + 1}–${Math.min(from + PAGE, group.of)} of ${group.of}`;
    back.disabled = group.page === 0;
    on.disabled = group.page === last;
  };
  const back = button('◀', 'Queues with higher scores', () => { turn(-1); turned(); }), on = button('▶', 'Queues with lower scores', () => { turn(1); turned(); });
  back.setAttribute('aria-label', back.title);
  on.setAttribute('aria-label', on.title);
  turn(0);
  return h('span', { class: 'pager', role: 'group', 'aria-label': 'Pages of queues' }, back, out, on);
}

// A row for each queue: its score, or the error of one state; of many queues a page of them.
function membersSpec(group, stack, pick, cell = 'score', title = 'score by queue') {
  const from = () => (group.page ?? 0) * PAGE;
  const rowOfQueue = (queue) => {
    const state = queue.states?.find((s) => s.name === cell);
    return { name: index.series[queue.row].n, cell: cell === 'score' ? scoreCell(queue) : state ? errorCell(state) : () => 0 };
  };
  const words = (t, u) => {
    const flagged = group.members.filter((queue) => queue.status[t] & FLAGGED).length, j = u?.cursor.idx === undefined || u.cursor.top < 0 ? -1 : Math.round(u.posToVal(u.cursor.top, 'y'));
    const here = j < 0 ? undefined : group.members[from() + j];
    return [`${flagged} of ${group.members.length} flagged`, ...(here ? [`${index.series[here.row].n} ${fixed(here.score[t])}`] : [])].map((text) => h('span', {}, text));
  };
  let plotted = null;
  const rows = () => group.members.slice(from(), from() + PAGE).map(rowOfQueue), many = (group.of ?? 0) > PAGE;
  const label = many ? `${title}: ${group.of} queues, the highest scores first, ${PAGE} to a page` : `${title}: ${rows().map((row) => row.name).join(', ')}`;
  return heatSpec('members', title, label, rows, stack, {
    words, pick: (j) => group.members[from() + j] && pick(group.members[from() + j].row), after: (u) => { plotted = u; },
    extra: [...(many ? [pagerOf(group, () => plotted?.redraw(false, true))] : []), ...(cell === 'score' ? [key('flag', 'score; full well above the threshold')] : HIGH_LOW())],
  });
}
