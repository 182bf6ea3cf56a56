// Queues together: those of an incident as one picture, and a queue beside others that share something with it.

const MOST_MEMBERS = 40;

const addUp = (arrays) => times.map((_, t) => arrays.reduce((sum, array) => (array[t] === null ? sum : (sum ?? 0) + array[t]), null));
const highestOf = (arrays) => times.map((_, t) => arrays.reduce((best, array) => (array[t] === null || (best !== null && best >= array[t]) ? best : array[t]), null));

// The status of a group at each tick: flagged if any is, expected if all are, a reason only where nobody has a score.
function statusTogether(queues) {
  return Int32Array.from(times, (_, t) => {
    const each = queues.map((queue) => queue.status[t]);
    const scored = each.filter((s) => !(s & (REASON | UNKNOWN)));
    if (!scored.length) return each[0];
    return (scored.some((s) => s & FLAGGED) ? FLAGGED : 0) | (scored.every((s) => s & EXPECTED) ? EXPECTED : 0);
  });
}

// One state of all queues: counts and expectations added up; so are the edges of the bands, which is the widest that the band can be.
function stateTogether(state, queues) {
  const having = queues.flatMap((queue) => queue.states.filter((s) => s.state === state));
  const sum = (name) => addUp(having.map((s) => s[name]));
  const weeks = having.map((s) => s.week).filter(Boolean);
  return {
    state, name: index.states[state], observed: sum('observed'), expected: sum('expected'), lower: sum('lower'), upper: sum('upper'),
    members: having, week: weeks.length ? addUp(weeks) : null,
  };
}

// What the plots of some queues together need, in the form of a single queue with `members`.
function groupOf(key, queues, downtimes, events) {
  const states = [...new Set(queues.flatMap((queue) => queue.states.map((s) => s.state)))].sort((a, b) => a - b);
  const score = highestOf(queues.map((queue) => queue.score));
  return {
    key, members: queues, states: states.map((state) => stateTogether(state, queues)), score, status: statusTogether(queues),
    blamed: times.map((_, t) => queues.reduce((best, queue) => ((queue.score[t] ?? -1) > (best?.score[t] ?? -1) ? queue : best), null)?.blamed[t] ?? 0),
    top: score.reduce((best, v) => Math.max(best, v ?? 0), 0), downtimes, events,
  };
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

// A row for each queue: its score, or the error of one state.
function membersSpec(group, stack, pick, cell = 'score', title = 'score by queue') {
  const rows = group.members.map((queue) => {
    const state = queue.states.find((s) => s.name === cell);
    return { name: index.series[queue.row].n, cell: cell === 'score' ? scoreCell(queue) : state ? errorCell(state) : () => 0 };
  });
  const words = (t, u) => {
    const flagged = group.members.filter((queue) => queue.status[t] & FLAGGED).length, j = u?.cursor.idx === undefined || u.cursor.top < 0 ? -1 : Math.round(u.posToVal(u.cursor.top, 'y'));
    const here = group.members[j];
    return [`${flagged} of ${group.members.length} flagged`, ...(here ? [`${index.series[here.row].n} ${fixed(here.score[t])}`] : [])].map((text) => h('span', {}, text));
  };
  const extra = cell === 'score' ? [key('flag', 'score; full well above the threshold')] : HIGH_LOW();
  return heatSpec('members', title, `${title}: ${rows.map((row) => row.name).join(', ')}`, rows, stack, { words, extra, pick: (j) => group.members[j] && pick(group.members[j].row) });
}
