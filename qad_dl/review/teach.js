// Which incident's label would teach most: the one that would settle most of what is not known of all the others.
//
// What is known of an incident is a Beta distribution of its being a problem. It begins with what its score says, an even
// chance at the threshold, and each label on another incident counts as far as the two are alike. A label on one incident
// takes from the variance of every other k / (n + k) of it, k being how alike they are and n what is known already. The
// incident that takes most is offered first, then the one that takes most of what that one leaves, and so on: what is
// near the decision, what is unlike anything labelled, and what many others are like.

const PRIOR = 1;           // what a score is worth, in labels
const SURE = 2;            // the chance of a problem is 1 / (1 + exp(-SURE * decades above the threshold))
const WIDTH = 2;           // so many notable differences, in the root of the sum of squares, leave 1 / e of the likeness
const OTHER_KIND = 0.3, OTHER_STATE = 0.5;  // how alike incidents are of other kinds, of other states or directions
const NEAR_THRESHOLD = 0.5, ALIKE = 0.4, UNSEEN = 0.2;
const MOST_TAUGHT = 1500;  // of more incidents only the worst are looked at
const OFFERED = 10;

const taught = { stale: true, order: [], place: new Map(), why: new Map() };  // order: incidents, the best first

function alike(a, b) {
  let distance = 0;
  for (let f = 0; f < a.z.length; f++) distance += (a.z[f] - b.z[f]) ** 2;
  return Math.exp(-distance / WIDTH ** 2) * (a.k === b.k ? 1 : OTHER_KIND) * (a.w[0] === b.w[0] && a.w[1] === b.w[1] ? 1 : OTHER_STATE);
}

// How alike every two incidents are, row by row; it does not depend on labels.
const likeness = (() => {
  let made = null;
  return (lines) => {
    if (made) return made;
    made = new Float64Array(lines.length ** 2);
    for (let i = 0; i < lines.length; i++) for (let j = 0; j <= i; j++) made[i * lines.length + j] = made[j * lines.length + i] = alike(lines[i], lines[j]);
    return made;
  };
})();

// What reviewers say of an incident: null where nobody does, a word where they agree, else 'disputed'.
function verdictOf(line) {
  const words = new Set((labels.on.get(line.id) ?? []).map((label) => label.word));
  if (words.has('problem') && words.has('expected')) return 'disputed';
  return ['problem', 'expected', 'unsure'].find((word) => words.has(word)) ?? null;
}

const saidByMe = (line) => (labels.on.get(line.id) ?? []).some((label) => label.author === labels.author());

// Whether a label on it is asked for: nobody has said anything, they disagree, or somebody else could not tell.
const isOpen = (line, verdict) => verdict === null || verdict === 'disputed' || (verdict === 'unsure' && !saidByMe(line));

// What is known of each incident: a and b of its Beta distribution, and how much of it comes from labels.
function beliefs(lines, verdicts, k) {
  const settled = lines.flatMap((_, j) => (['problem', 'expected'].includes(verdicts[j]) ? [j] : []));
  return lines.map((line, i) => {
    const chance = 1 / (1 + Math.exp(-SURE * line.z[0]));
    let problem = PRIOR * chance, expected = PRIOR * (1 - chance);
    for (const j of settled) {
      if (verdicts[j] === 'problem') problem += k[i * lines.length + j];
      else expected += k[i * lines.length + j];
    }
    return { chance: problem / (problem + expected), known: problem + expected, seen: problem + expected - PRIOR };
  });
}

// How much a label on incident i would settle of all that are open.
function gainOf(i, open, chance, known, k, n) {
  let sum = 0;
  for (const j of open) sum += ((chance[j] * (1 - chance[j])) / (known[j] + 1)) * (k[i * n + j] / (known[j] + k[i * n + j]));
  return sum;
}

// The open incidents, each the one that teaches most once those before it are labelled. Gains only shrink on the way, so
// that one whose gain is still the highest after it is worked out anew is the highest of all.
function greedy(open, states, k, n) {
  const chance = states.map((s) => s.chance), known = Float64Array.from(states, (s) => s.known), order = [];
  const heap = open.map((i) => ({ i, gain: gainOf(i, open, chance, known, k, n) })).sort((a, b) => b.gain - a.gain || a.i - b.i);
  while (heap.length) {
    const first = heap.shift();
    const gain = gainOf(first.i, open, chance, known, k, n);
    if (heap.length && (gain < heap[0].gain || (gain === heap[0].gain && first.i > heap[0].i))) {
      const at = heap.findIndex((other) => other.gain < gain || (other.gain === gain && other.i > first.i));
      heap.splice(at < 0 ? heap.length : at, 0, { i: first.i, gain });
      continue;
    }
    order.push(first.i);
    for (const j of open) known[j] += k[first.i * n + j];
    if (order.length >= 4 * OFFERED) { order.push(...heap.map((other) => other.i)); break; }
  }
  return order;
}

// Why a label on it would teach, in words. `kinds` and `fields` hold what has a label, or is asked for before this one.
function whyOf(line, i, { verdicts, states, open, kinds, fields, any, k, n }) {
  const found = [];
  const by = (word) => (labels.on.get(line.id) ?? []).filter((label) => label.word === word).map((label) => label.author).join(', ');
  if (verdicts[i] === 'disputed') found.push(`disputed: ${by('problem')} says problem, ${by('expected')} says expected`);
  if (verdicts[i] === 'unsure') found.push(`${by('unsure')} could not tell`);
  if (Math.abs(line.z[0]) < NEAR_THRESHOLD) found.push('close to the threshold');
  const first = [!kinds.has(line.k) && kindWords(line.k), line.f && line.f !== 'panda_queue' && !fields.has(line.f) && fieldWords(line.f)].filter(Boolean);
  if (first.length) found.push(`${first.map((what) => `no ${what}`).join(' and ')} has a label yet`);
  if (any && states[i].seen < UNSEEN) found.push('unlike anything labelled');
  if (states[i].seen > 0.5 && Math.abs(states[i].chance - 0.5) < 0.2) found.push('those like it were called both, a problem and expected');
  const like = open.filter((j) => j !== i && k[i * n + j] >= ALIKE).length;
  if (like) found.push(`${plural(like, 'other looks', 'others look')} like it`);
  return found.length ? found.slice(0, 3).join('; ') : `${any ? 'labels so far do' : 'its score alone does'} not settle it`;
}

// Work out the order anew, where labels or the reader's name have changed since.
function teach() {
  if (!taught.stale) return taught;
  const lines = index.incidents.slice(0, MOST_TAUGHT), n = lines.length, k = likeness(lines), verdicts = lines.map(verdictOf);
  const states = beliefs(lines, verdicts, k), open = lines.flatMap((line, i) => (isOpen(line, verdicts[i]) ? [i] : []));
  const judged = lines.filter((_, i) => ['problem', 'expected'].includes(verdicts[i]));
  const kinds = new Set([...judged.map((line) => line.k), ...labels.known.map((label) => label.kind)]), fields = new Set(judged.map((line) => line.f));
  const order = greedy(open, states, k, n);
  taught.order = order.map((i) => lines[i]);
  taught.place = new Map(taught.order.map((line, place) => [line.id, place]));
  taught.why = new Map();
  for (const i of order) {
    taught.why.set(lines[i].id, whyOf(lines[i], i, { verdicts, states, open, kinds, fields, any: judged.length > 0, k, n }));
    kinds.add(lines[i].k);
    fields.add(lines[i].f);
  }
  taught.stale = false;
  return taught;
}

const placeToTeach = (line) => teach().place.get(line.id) ?? Infinity;
const isOffered = (line) => placeToTeach(line) < OFFERED;
