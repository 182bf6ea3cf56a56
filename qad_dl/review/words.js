// Elements, times and numbers in words. Text reaches the page as text only: names come from outside.

const $ = (id) => document.getElementById(id);

function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes))
    if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? '' : value);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function button(text, title, action) {
  const made = h('button', { type: 'button', title }, text);
  made.addEventListener('click', action);
  return made;
}

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
const WEEKDAYS = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'];
const two = (n) => String(n).padStart(2, '0');

const day = (s) => { const d = new Date(s * 1000); return `${d.getUTCDate()} ${MONTHS[d.getUTCMonth()]}`; };
const weekday = (s) => WEEKDAYS[new Date(s * 1000).getUTCDay()];
const clock = (s) => { const d = new Date(s * 1000); return `${two(d.getUTCHours())}:${two(d.getUTCMinutes())}`; };
const moment = (s) => `${day(s)} ${clock(s)}`;
const iso = (s) => `${new Date(s * 1000).toISOString().slice(0, 16)}Z`;

// "24 Jul 03:40 – 12:10", the second day only where it is another one.
const span = (from, to) => `${moment(from)} – ${day(from) === day(to) ? clock(to) : moment(to)}`;

function duration(seconds) {
  const minutes = Math.round(seconds / 60), hours = Math.floor(minutes / 60), days = Math.floor(hours / 24);
  if (days >= 2) return `${days} d ${hours % 24} h`;
  if (hours >= 10) return `${hours} h`;
  return [hours && `${hours} h`, (minutes % 60 || !hours) && `${minutes % 60} min`].filter(Boolean).join(' ');
}

// A count: whole from ten upwards, as short as the packing is exact.
function count(value) {
  if (value === null) return '–';
  if (value < 10) return String(Math.round(value * 10) / 10);
  return grouped(Math.round(value));
}

// A whole number with thin spaces between thousands.
const grouped = (n) => String(n).replace(/\B(?=(\d{3})+$)/g, '\u202f');

const fixed = (value, digits = 1) => (value === null ? '–' : value.toFixed(digits));
const plural = (n, one, many = `${one}s`) => `${grouped(n)} ${n === 1 ? one : many}`;

const REASON_WORDS = {
  too_short: 'too little history', gap: 'gap in its history', missing_tick: 'tick did not arrive',
  frozen: 'source frozen', retired: 'retired: no rows for 7 days', invalid: 'invalid counts',
};
const reasonWords = (status) => (status & UNKNOWN ? 'not seen yet' : REASON_WORDS[index.reasons[status & REASON]] ?? '');

const ARROWS = { 1: '▲', '-1': '▼' };
const sense = (direction) => (direction > 0 ? 'high' : 'low');

// An event as the index has it, by name.
function eventOf([start, end, score, state, direction, worst, observed, expected, lower, upper, kind]) {
  return {
    start, end, worst, score, direction, observed, expected, lower, upper, kind: index.kinds[kind] ?? null, state: index.states[state] ?? 'unknown state',
    from: times[start], to: times[end - 1] + index.step, ongoing: end === index.ticks,
  };
}

const strongest = (events) => events.reduce((best, event) => (best === null || event.score > best.score ? event : best), null);
const duringWords = (e) => (e.ongoing ? `since ${moment(e.from)}` : `${moment(e.from)}, ${duration(e.to - e.from)}`);
const jobsWords = (e) => (e.observed === null ? '' :
  `${count(e.observed)} ${e.observed === 1 ? 'job' : 'jobs'} observed, ${count(e.expected)} expected (${count(e.lower)} to ${count(e.upper)}) on ${moment(times[e.worst])}`);

// The threshold of a queue: its own where labels gave it one.
const thresholdOf = (line) => line?.h ?? index.threshold;

// The headline: [loud, quiet] pieces of a sentence.
function headline(line) {
  const events = line.e.map(eventOf), worst = strongest(events);
  if (worst === null) return line.top === null
    ? ['Not scored in this range.', '']
    : ['Nothing flagged.', ` Highest score ${fixed(line.top)}, threshold ${fixed(thresholdOf(line))}.`];
  const last = events.at(-1);
  const tail = last.ongoing && last !== worst ? ` Flagged again since ${moment(last.from)}: ${last.state} ${sense(last.direction)}.` : '';
  const lasting = duration(worst.to - worst.from);
  return [
    `${ARROWS[worst.direction] ?? ''} ${worst.state} ${worst.ongoing ? 'is' : 'was'} ${sense(worst.direction)}`,
    `: ${jobsWords(worst)}; flagged ${worst.ongoing ? `since ${moment(worst.from)} UTC, for ${lasting} so far` : `${span(worst.from, worst.to)} UTC, ${lasting}`}.${tail}`,
  ];
}

const KIND_WORDS = {
  site_down: 'site down', pilots_starve: 'pilots starve', harvester_down: 'harvester down', black_hole: 'black-hole node', bad_task: 'bad task',
  storage_writes: 'storage refuses writes', transfer_backlog: 'transfer backlog', input_stuck: 'input transfers stuck', frontier: 'frontier or CVMFS',
  brokerage_stop: 'brokerage stops', slots_lost: 'slots lost', central: 'central services', rollout: 'pilot or container roll-out', other: 'other',
};
const kindWords = (kind) => KIND_WORDS[kind] ?? kind;
const fieldWords = (field) => field.replaceAll('_', ' ');

// What an incident is called: by what its queues share, or by its queue.
const incidentName = (line) => (line.q.length === 1 && line.f === 'panda_queue' ? index.series[line.q[0]].n : line.f ? `${fieldWords(line.f)} ${line.v}` : `${line.q.length} queues`);
const incidentTimes = (line) => ({ from: times[line.a], to: times[line.b - 1] + index.step, ongoing: line.b === index.ticks });
const sizeWords = (line) => (line.of > line.q.length ? `${line.q.length} of ${line.of} queues` : plural(line.q.length, 'queue'));

// [loud, quiet] pieces of a sentence, as `headline` has them for a queue.
function incidentHeadline(line) {
  const [state, direction, tick, observed, expected] = line.w, { from, to, ongoing } = incidentTimes(line);
  const lasting = ongoing ? `${moment(from)} UTC on, for ${duration(to - from)} so far` : `${moment(from)} to ${day(from) === day(to) ? clock(to) : moment(to)} UTC, ${duration(to - from)}`;
  if (state < 0) return [kindWords(line.k), `: from ${lasting}.`];
  const figures = observed === null ? 'from ' : `${plural(Math.round(observed), 'job')} where ${count(expected)} were expected on ${moment(times[tick])}; from `;
  return [`${ARROWS[direction] ?? ''} ${index.states[state]} ${ongoing ? 'is' : 'was'} ${sense(direction)}`, ` in ${sizeWords(line)}: ${figures}${lasting}. Likely kind: ${kindWords(line.k)}.${placeWords(line)}`];
}

// How likely reviewers call it a problem, and what speaks for and against it; where labels order the list.
function placeWords(line) {
  return line.p === undefined ? '' : ` Reviewers called about ${Math.round(100 * line.p)} % of such incidents a problem${line.y ? `: ${line.y}` : ''}.`;
}
