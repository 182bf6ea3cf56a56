// The data of the page, embedded in it or asked from its server; unfolds what packing.py folded: base64, deflate,
// varints, differences, quanta.

const meta = (name) => document.querySelector(`meta[name="${name}"]`)?.content ?? null;

const live = meta('qad-csrf') !== null;

const tagOf = (response) => response.headers.get('ETag')?.replace(/^W\//, '') ?? null;

async function ask(path) {
  const response = await fetch(path, { cache: 'no-cache' });
  if (!response.ok) throw new Error(`${path}: the server answers ${response.status}`);
  return response;
}

async function loadIndex() {
  if (!live) return { index: JSON.parse(document.getElementById('index').textContent), version: null };
  const response = await ask('index.json');
  return { index: await response.json(), version: tagOf(response) };
}

const { index, version } = await loadIndex().catch((error) => {
  const place = document.getElementById('problem');
  place.textContent = `The data cannot be had (${error.message}). Reload the page to try again.`;
  place.hidden = false;
  return {};
});
if (!index) return;

const FLAGGED = 8, EXPECTED = 16, UNKNOWN = 32, REASON = 7;

const times = Array.from({ length: index.ticks }, (_, t) => index.start + t * index.step);

async function inflate(text) {
  const octets = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([octets]).stream().pipeThrough(new DecompressionStream('deflate'));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// The parts of a block, each behind its length.
function parts(octets) {
  const view = new DataView(octets.buffer), found = [];
  for (let at = 0; at < octets.length;) {
    const length = view.getUint32(at, true);
    found.push(octets.subarray(at + 4, at + 4 + length));
    at += 4 + length;
  }
  return found;
}

const unzigzag = (n) => (n & 1 ? -(n + 1) / 2 : n / 2);

// Columns of codes: a mode byte for each, then all their numbers; mode 1 holds zigzag differences.
function columns(octets, count, ticks) {
  let at = count;
  const number = () => {
    let value = 0, shift = 0, octet;
    do { octet = octets[at++]; value += (octet & 127) << shift; shift += 7; } while (octet & 128);
    return value;
  };
  return Array.from({ length: count }, (_, c) => {
    const codes = new Int32Array(ticks);
    for (let t = 0; t < ticks; t++) {
      const n = number();
      codes[t] = octets[c] ? (t ? codes[t - 1] : 0) + unzigzag(n) : n;
    }
    return codes;
  });
}

const tables = Object.fromEntries(Object.keys(index.quanta).map((name) => [name, [null]]));

// Numbers of codes; null (a gap in a plot) where the code is 0. What a code stands for is worked out once.
function values(codes, quantum) {
  const [unit, linear] = index.quanta[quantum], table = tables[quantum], found = new Array(codes.length);
  for (let t = 0; t < codes.length; t++) {
    const code = codes[t];
    for (let steps = table.length - 1; steps < code; steps++) table.push(unit * (steps < linear ? steps : linear * Math.exp(steps / linear - 1)));
    found[t] = table[code];
  }
  return found;
}

const beyond = (middle, distances, sign) => middle.map((value, t) =>
  value === null || distances[t] === null ? null : Math.max(0, (1 + value) * Math.exp(sign * distances[t]) - 1));

// The packed text of a row; while the page is still being read, it or its end may not be there yet.
async function packed(row) {
  if (live) {
    const asked = version === null ? '' : `?v=${encodeURIComponent(version.replaceAll('"', ''))}`;
    const response = await fetch(`queue/${row}${asked}`);
    if (response.status === 410 || (response.ok && version !== null && ![version, null].includes(tagOf(response)))) throw new Stale();
    if (!response.ok) throw new Error(`the server answers ${response.status}`);
    return response.text();
  }
  while (document.readyState === 'loading' && !document.getElementById(`d${row + 1}`)) await new Promise((done) => setTimeout(done, 15));
  return document.getElementById(`d${row}`).textContent;
}

// The server does not keep the data any more that this page was opened with: the rows of its newer ones are others.
class Stale extends Error {}

const HOUR_TICKS = Math.max(1, Math.floor(3600 / index.step));
const KEPT = 64;
const unpacked = new Map();  // row -> promise of its queue, the latest used last

// Everything that the plots of a row show; what was unpacked lately is kept.
function unpack(row) {
  const known = unpacked.get(row) ?? unfold(row);
  unpacked.delete(row);
  unpacked.set(row, known);
  known.catch(() => unpacked.delete(row));
  if (unpacked.size > KEPT) unpacked.delete(unpacked.keys().next().value);
  return known;
}

// Score, status and flagged state by tick, and the active states.
async function unfold(row) {
  const [block, past] = parts(await inflate(await packed(row)));
  const active = index.series[row].st, n = active.length;
  const codes = columns(block, 3 + 5 * n, index.ticks);
  const group = (k) => codes.slice(3 + k * n, 3 + (k + 1) * n);
  const weeks = past ? columns(past, n, Math.ceil(index.ticks / HOUR_TICKS)) : [];
  const states = active.map((state, j) => {
    const expected = values(group(1)[j], 'expected');
    return {
      state, name: index.states[state], observed: values(group(0)[j], 'observed'), expected,
      lower: beyond(expected, values(group(2)[j], 'band'), -1),
      upper: beyond(expected, values(group(3)[j].map((n, t) => group(2)[j][t] + unzigzag(n)), 'band'), 1),
      weight: values(group(4)[j], 'weight'), week: past ? byTick(values(weeks[j], 'past')) : null,
    };
  });
  return { row, states, score: values(codes[0], 'score'), status: codes[1], blamed: codes[2] };
}

// Hours as ticks: each hour's mean at every tick of it.
const byTick = (hours) => times.map((_, t) => hours[Math.floor(t / HOUR_TICKS)] ?? null);

let rest = null;

// The metadata that are neither filters nor common, by row; unpacked when somebody asks for them.
function restOfMetadata() {
  rest ??= inflate(index.rest).then((octets) => JSON.parse(new TextDecoder().decode(parts(octets)[0])));
  return rest;
}
