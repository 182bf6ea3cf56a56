// Which incident's label would teach most: the one that would settle most of what is not known of the others.
//
// Whether an incident is a problem is guessed by a logistic regression on its features and its kind, with a normal prior
// that knows the score only: an even chance at the threshold. Where w is the mean of what the labels leave of it, and S
// the covariance, a label on incident i would take v_i (x_j' S x_i)^2 / (1 + v_i x_i' S x_i) from the variance of every
// x_j' w, v being p (1 - p): weighted by v_j^2 and added up over all that are open, that is its gain (the I-optimal design
// of Bayesian logistic regression). The one with the highest is asked for first, then the one with the highest of what
// that leaves, and so on: what is near the decision, unlike anything labelled, and what many others are like.

const PRIOR_WEIGHT = 1;    // of the first feature, powers of ten above the threshold; all others are expected to be 0
const STEPS = 25;          // of Newton's method
const NEAR_THRESHOLD = 0.5, LIKE = 1.2, UNLIKE = 2;  // in notable differences
const OFFERED = 10, RANKED = 40;  // those after them are ordered by what each would teach alone

const taught = { stale: true, order: [], place: new Map(), why: new Map() };  // order: incidents, the best first

const WIDE = 1 + index.features.length + index.kinds.length;

const rowOfDesign = (line) => Float64Array.from([1, ...line.z, ...index.kinds.map((kind) => (kind === line.k ? 1 : 0))]);
const dot = (a, b) => { let sum = 0; for (let f = 0; f < WIDE; f++) sum += a[f] * b[f]; return sum; };
const through = (matrix, x) => Float64Array.from(matrix, (row) => dot(row, x));

// x' M x
function form(matrix, x) {
  let sum = 0;
  for (let f = 0; f < WIDE; f++) if (x[f] !== 0) sum += x[f] * dot(matrix[f], x);
  return sum;
}

const square = (fill) => Array.from({ length: WIDE }, (_, f) => Float64Array.from({ length: WIDE }, (_, g) => fill(f, g)));

// Add c x x' to a matrix.
function addOuter(matrix, x, c) {
  for (let f = 0; f < WIDE; f++) for (let g = 0; g < WIDE; g++) matrix[f][g] += c * x[f] * x[g];
}

// The inverse of a symmetric, positive definite matrix (Gauss and Jordan; such a matrix needs no pivoting).
function inverse(matrix) {
  const left = matrix.map((row) => row.slice()), right = square((f, g) => (f === g ? 1 : 0));
  for (let f = 0; f < WIDE; f++) {
    const pivot = left[f][f];
    for (let g = 0; g < WIDE; g++) { left[f][g] /= pivot; right[f][g] /= pivot; }
    for (let other = 0; other < WIDE; other++) {
      const c = other === f ? 0 : left[other][f];
      if (c) for (let g = 0; g < WIDE; g++) { left[other][g] -= c * left[f][g]; right[other][g] -= c * right[f][g]; }
    }
  }
  return right;
}

const chanceOf = (w, x) => 1 / (1 + Math.exp(-dot(w, x)));

// The mean and the covariance that labels leave: `said` are pairs of a design row and 1 for a problem, 0 for what was expected.
function learn(said) {
  const prior = Float64Array.from({ length: WIDE }, (_, f) => (f === 1 ? PRIOR_WEIGHT : 0)), w = prior.slice();
  const curve = () => {
    const matrix = square((f, g) => (f === g ? 1 : 0));
    for (const [x] of said) { const p = chanceOf(w, x); addOuter(matrix, x, p * (1 - p)); }
    return inverse(matrix);
  };
  for (let step = 0; said.length && step < STEPS; step++) {
    const slope = Float64Array.from(w, (value, f) => value - prior[f]);
    for (const [x, word] of said) { const off = chanceOf(w, x) - word; for (let f = 0; f < WIDE; f++) slope[f] += off * x[f]; }
    const change = through(curve(), slope);
    for (let f = 0; f < WIDE; f++) w[f] -= change[f];
    if (Math.max(...change.map(Math.abs)) < 1e-9) break;
  }
  return { w, covariance: curve() };
}

// What reviewers say of an incident: null where nobody does, a word where they agree, else 'disputed'.
function verdictOf(line) {
  const words = new Set((labels.on.get(line.id) ?? []).map((label) => label.word));
  if (words.has('problem') && words.has('expected')) return 'disputed';
  return ['problem', 'expected', 'unsure'].find((word) => words.has(word)) ?? null;
}

const saidByMe = (line) => (labels.on.get(line.id) ?? []).some((label) => label.author === labels.author());

// Whether a label on it is asked for: nobody has said anything, they disagree, or somebody else could not tell.
const isOpen = (line, verdict) => verdict === null || verdict === 'disputed' || (verdict === 'unsure' && !saidByMe(line));

// The open incidents, given by their design rows, as positions: each the one that teaches most once those before it are
// labelled. What a label would say is not known; that it was given is enough to know what it leaves unsettled.
function rank(rows, { w, covariance }) {
  const v = rows.map((x) => { const p = chanceOf(w, x); return p * (1 - p); }), S = covariance.map((row) => row.slice());
  const weighted = square(() => 0), order = [], left = new Set(rows.keys());
  rows.forEach((x, i) => addOuter(weighted, x, v[i] ** 2));
  while (left.size) {
    const turned = S.map((row) => through(weighted, row));            // S W, W being symmetric
    const B = turned.map((row) => through(S, row));                   // S W S
    const gains = [...left].map((i) => [i, (v[i] * form(B, rows[i])) / (1 + v[i] * form(S, rows[i]))]);
    if (order.length >= RANKED) { order.push(...gains.sort((a, b) => b[1] - a[1] || a[0] - b[0]).map(([i]) => i)); break; }
    const [best] = gains.reduce((most, one) => (one[1] > most[1] + 1e-12 ? one : most));
    order.push(best);
    left.delete(best);
    const x = through(S, rows[best]);
    addOuter(S, x, -v[best] / (1 + v[best] * dot(rows[best], x)));
  }
  return order;
}

const apart = (a, b) => Math.sqrt(a.z.reduce((sum, value, f) => sum + (value - b.z[f]) ** 2, a.k === b.k ? 0 : 1));

// Why a label on it would teach, in words. `first` says what has no label yet and is not asked for before this one.
function whyOf(line, verdict, chance, { judged, open, first }) {
  const by = (word) => (labels.on.get(line.id) ?? []).filter((label) => label.word === word).map((label) => label.author).join(', ');
  const like = open.filter((other) => other !== line && apart(line, other) < LIKE).length;
  const found = [
    verdict === 'disputed' && `disputed: ${by('problem')} says problem, ${by('expected')} says expected`,
    verdict === 'unsure' && `${by('unsure')} could not tell`,
    Math.abs(line.z[0]) < NEAR_THRESHOLD && 'close to the threshold',
    first.length > 0 && `${first.map((what) => `no ${what}`).join(' and ')} has a label yet`,
    judged.length > 0 && judged.every((other) => apart(line, other) > UNLIKE) && 'unlike anything labelled',
    judged.length > 0 && Math.abs(chance - 0.5) < 0.25 && `a problem with ${Math.round(100 * chance)} % by the labels so far`,
    like > 0 && `${plural(like, 'other looks', 'others look')} like it`,
  ].filter(Boolean);
  return found.slice(0, 3).join('; ') || 'the others do not settle it';
}

// Work out the order anew, where labels or the reader's name have changed since.
function teach() {
  if (!taught.stale) return taught;
  const lines = index.incidents, verdicts = new Map(lines.map((line) => [line, verdictOf(line)]));
  const judged = lines.filter((line) => ['problem', 'expected'].includes(verdicts.get(line))), open = lines.filter((line) => isOpen(line, verdicts.get(line)));
  const learned = learn(judged.map((line) => [rowOfDesign(line), verdicts.get(line) === 'problem' ? 1 : 0]));
  taught.order = rank(open.map(rowOfDesign), learned).map((i) => open[i]);
  taught.place = new Map(taught.order.map((line, place) => [line.id, place]));
  taught.why = new Map();
  const kinds = new Set([...judged.map((line) => line.k), ...labels.known.map((label) => label.kind)]), fields = new Set(['', 'panda_queue', ...judged.map((line) => line.f)]);
  for (const line of taught.order.slice(0, RANKED)) {
    const first = [...(kinds.has(line.k) ? [] : [kindWords(line.k)]), ...(fields.has(line.f) ? [] : [fieldWords(line.f)])];
    taught.why.set(line.id, whyOf(line, verdicts.get(line), chanceOf(learned.w, rowOfDesign(line)), { judged, open, first }));
    kinds.add(line.k);
    fields.add(line.f);
  }
  taught.stale = false;
  return taught;
}

const placeToTeach = (line) => teach().place.get(line.id) ?? Infinity;
const isOffered = (line) => placeToTeach(line) < OFFERED;
