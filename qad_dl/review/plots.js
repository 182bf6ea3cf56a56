// The plots of a queue: uPlot, one under the other, with one cursor and one range of time.

const FULL = [times[0] - index.step / 2, times.at(-1) + index.step / 2];
const LEAST = 6 * index.step;
const INCREMENTS = [600, 1200, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 345600, 604800, 1209600, 2419200];
const WHOLE = [1, 2, 5].flatMap((n) => [0, 1, 2, 3, 4, 5, 6].map((e) => n * 10 ** e)).sort((a, b) => a - b);

// A range of time inside the data, and not shorter than what can be seen; from the first tick to the last is all of it.
function clamp(from, to) {
  if (from <= times[0] && to >= times.at(-1)) return [...FULL];
  const width = Math.min(Math.max(to - from, LEAST), FULL[1] - FULL[0]);
  const start = Math.min(Math.max((from + to - width) / 2, FULL[0]), FULL[1] - width);
  return [start, start + width];
}

const axisTime = (s, step) => (s % 86400 ? clock(s) : step < 604800 && step >= 86400 ? `${weekday(s)} ${day(s)}` : day(s));
const axisCount = (v) => (v >= 1e6 ? `${v / 1e6}M` : v >= 1e4 ? `${v / 1e3}k` : String(Math.round(v * 100) / 100));

// Ticks that stand alone between two gaps: no line reaches them, so they are dots.
const lonely = (data) => data.flatMap((v, t) => (v !== null && (data[t - 1] ?? null) === null && (data[t + 1] ?? null) === null ? [t] : []));

function curve(data, colour, width, dash) {
  const alone = lonely(data);
  return {
    scale: 'y', stroke: colour, width, dash, spanGaps: false,
    points: { show: false, filter: () => (alone.length ? alone : null), size: 4, width: 0, fill: colour },
  };
}

function timeAxis(colours, shown) {
  return {
    scale: 'x', stroke: colours.muted, font: '11px system-ui, sans-serif', incrs: INCREMENTS, space: 78, size: shown ? 24 : 0, gap: 3,
    values: (u, splits, _axis, _space, step) => splits.map((s, k) => (shown ? (k === 0 && s % 86400 ? moment(s) : axisTime(s, step)) : '')),
    grid: { stroke: colours.grid, width: 1 }, ticks: { show: shown, stroke: colours.grid, width: 1, size: 4 },
  };
}

function countAxis(colours, gutter, extra = {}) {
  return {
    scale: 'y', stroke: colours.muted, font: '11px system-ui, sans-serif', size: gutter, gap: 5, space: 28, incrs: WHOLE,
    values: (u, splits) => splits.map(axisCount), grid: { stroke: colours.grid, width: 1 }, ticks: { show: false }, ...extra,
  };
}

const narrow = matchMedia('(max-width: 799px)');

// Everything that one panel needs; `spec` has title, height, data, series, range, axis, before, under, after, words, pick.
function panel(host, spec, stack) {
  const out = h('output'), plot = h('div', { class: 'plot', role: 'img', 'aria-label': spec.label });
  const figure = h('figure', { class: `panel ${spec.kind}` }, h('figcaption', {}, h('h3', {}, spec.title), ...(spec.extra ?? []), out), plot);
  host.append(figure);
  const view = { from: FULL[0], to: FULL[1] };  // uPlot asks for the range of counts before it sets that of time
  const look = (from, to) => { [view.from, view.to] = clamp(from, to); return [view.from, view.to]; };
  const say = (u) => out.replaceChildren(...spec.words(u.cursor.idx ?? stack.rest, u));
  const plotted = new uPlot({
    width: stack.width(), height: spec.height, padding: [4, 10, spec.clock ? 0 : 4, 0], legend: { show: false },
    cursor: { sync: { key: stack.key, scales: ['x', null] }, drag: { x: true, y: false, dist: 5 }, y: false, points: { size: 6 } },
    scales: { x: { time: false, auto: false, range: (u, from, to) => look(from, to) }, y: { range: (u, low, high) => spec.range(view, high), ...spec.scale } },
    axes: [timeAxis(stack.colours, spec.clock), spec.axis], series: [{}, ...spec.series],
    hooks: {
      drawClear: [(u) => drawRegions(u, spec.regions ?? stack.regions, stack.colours)],
      drawAxes: [(u) => spec.under?.(u)], draw: [(u) => spec.after?.(u)],
      setCursor: [(u) => { say(u); stack.moved(u.cursor.idx ?? null); }],
      setScale: [(u, key) => key === 'x' && stack.follow(u)],
      ready: [say],
    },
  }, [times, ...spec.data], plot);
  if (spec.pick) pickable(plotted, spec.pick);
  return plotted;
}

// A click that is no drag, on a row of a heat map.
function pickable(u, pick) {
  let down = null;
  u.over.classList.add('pick');
  u.over.addEventListener('mousedown', (event) => { down = event.clientX; });
  u.over.addEventListener('click', (event) => {
    if (down !== null && Math.abs(event.clientX - down) < 4) pick(Math.round(u.posToVal(event.clientY - u.over.getBoundingClientRect().top, 'y')));
  });
}

const key = (kind, text) => h('span', { class: `key ${kind}` }, text);

// Why a fall is no alarm at a tick: a declared downtime, or a queue that is not online.
function calmAt({ downtimes, status }, t) {
  const declared = downtimes.find(([from, to]) => from <= times[t] && times[t] < to);
  return declared || status[t] & EXPECTED ? [key('quiet', declared ? `downtime: ${declared[2]}` : 'fall expected')] : [];
}

function scoreSpec(queue, stack) {
  const { colours, regions } = stack, threshold = thresholdOf(index.series[queue.row]);
  const words = (t) => {
    if (queue.score[t] === null) return [key('gap', `not scored: ${reasonWords(queue.status[t])}`), ...calmAt(queue, t)];
    const blamed = index.states[queue.blamed[t] - 1];
    return [key('line', fixed(queue.score[t], 2)), queue.status[t] & FLAGGED ? key('flag', `flagged: ${blamed ?? 'yes'}`) : `threshold ${fixed(threshold)}`, ...calmAt(queue, t)];
  };
  return {
    kind: 'score', title: queue.members ? 'highest score' : 'score', height: 128, clock: true, data: [queue.score], words,
    label: `Score, at most ${fixed(queue.top)}, threshold ${fixed(threshold)}`,
    series: [curve(queue.score, colours.ink, 1.25)], axis: countAxis(colours, stack.gutter, { incrs: [0.5, ...WHOLE] }),
    range: (view, high) => [0, Math.max(high ?? 0, threshold * 1.25) * 1.06],
    after: (u) => { drawThreshold(u, colours, threshold); nameRegions(u, regions, colours); },
  };
}

// Rows of cells or bars: `rows()` have a name and draw themselves with `cell(t)`, a strength from -1 (low) to 1 (high). How
// many there are at first is how many have room.
function heatSpec(kind, title, label, rows, stack, more = {}) {
  const tall = more.tall ?? 15, room = rows().length;
  return {
    kind, title, height: 8 + tall * room, data: [times.map(() => null)], series: [{ scale: 'y', points: { show: false } }], label,
    scale: { dir: -1 }, range: () => [-0.5, room - 0.5], words: more.words ?? (() => []), extra: more.extra, pick: more.pick,
    axis: countAxis(stack.colours, stack.gutter, {
      splits: () => rows().map((_, j) => j), values: () => rows().map((row) => shortened(row.name, stack.gutter)),
      grid: { show: false }, stroke: stack.colours.ink, space: 1,
    }),
    after: (u) => { drawHeat(u, rows(), stack.colours); more.after?.(u); }, regions: more.regions ?? stack.regions.filter((region) => region.kind === 'gap'),
  };
}

const ruler = document.createElement('canvas').getContext('2d');

// A name that fits beside a plot; its end is cut off where it does not.
function shortened(name, gutter) {
  ruler.font = '11px system-ui, sans-serif';
  const fits = (text) => ruler.measureText(text).width <= gutter - 8;
  if (fits(name)) return name;
  let kept = name.length - 1;
  while (kept > 1 && !fits(`${name.slice(0, kept)}…`)) kept--;
  return `${name.slice(0, kept)}…`;
}

// The part of the score that a state adds, below 0 where it is low; of several queues that of the one with the largest.
const partOf = (state, t) => state.part?.[t] ?? (state.observed[t] >= state.expected[t] ? 1 : -1) * (state.weight[t] ?? 0);

const HIGH_LOW = () => [key('flag', 'high'), key('low', 'low')];

// The part of the score that each state adds; full at half the threshold.
function shareSpec(queue, stack) {
  const names = queue.states.map((s) => s.name);
  const words = (t) => queue.states.map((s) => [s, partOf(s, t)]).filter(([, part]) => Math.abs(part) >= 0.1).sort((a, b) => Math.abs(b[1]) - Math.abs(a[1])).slice(0, 3)
    .map(([s, part]) => key(part > 0 ? 'flag' : 'low', `${s.name} ${ARROWS[Math.sign(part)]} ${fixed(Math.abs(part))}`));
  const limit = (part) => Math.max(-1, Math.min(1, (2 * part) / index.threshold));
  const rows = queue.states.map((s) => ({ name: s.name, cell: (t) => limit(partOf(s, t)) }));
  return heatSpec('share', 'score by state', `What each state adds to the score: ${names.join(', ')}`, () => rows, stack, { words, extra: HIGH_LOW() });
}

// How far a count is from what was expected, in halves of the band, on the scale of ln(1 + jobs): 1 is the edge of the band.
function errorAt(state, t) {
  const { observed, expected, lower, upper } = state;
  if (observed[t] === null || expected[t] === null || upper[t] === null) return null;
  const seen = Math.log1p(observed[t]), middle = Math.log1p(expected[t]);
  const half = seen >= middle ? Math.log1p(upper[t]) - middle : middle - Math.log1p(lower[t]);
  return (seen - middle) / Math.max(half, 0.02);
}

// The error of each state: nothing inside its band, full at three times as far.
const errorCell = (state) => (t) => { const e = errorAt(state, t) ?? 0; return Math.sign(e) * Math.min(1, Math.max(0, Math.abs(e) - 1) / 2); };

function errorSpec(queue, stack) {
  const words = (t) => queue.states.map((s) => [s, errorAt(s, t)]).filter(([, e]) => e !== null && Math.abs(e) > 1).sort((a, b) => Math.abs(b[1]) - Math.abs(a[1])).slice(0, 3)
    .map(([s, e]) => key(e > 0 ? 'flag' : 'low', `${s.name} ${ARROWS[Math.sign(e)]} ${fixed(Math.abs(e))} × band`));
  const rows = queue.states.map((s) => ({ name: s.name, cell: errorCell(s) }));
  const label = `How far each state is outside its band: ${queue.states.map((s) => s.name).join(', ')}`;
  return heatSpec('error', 'error by state', label, () => rows, stack, { words, extra: [h('span', { class: 'key' }, 'outside its band')] });
}

// Mean over the last `ticks`, from at least half of them; the ticks after it play no part.
function movingAverage(data, ticks) {
  let sum = 0, known = 0;
  return data.map((value, t) => {
    if (value !== null) { sum += value; known++; }
    const old = t >= ticks ? data[t - ticks] : null;
    if (old !== null) { sum -= old; known--; }
    return known >= ticks / 2 ? Math.max(0, sum / known) : null;
  });
}

// What can be drawn beside a count: name, colour, dashes, and the numbers.
const BESIDE = {
  '1h': { words: '1 h mean', colour: 'hour', dash: [], data: (s) => movingAverage(s.observed, HOUR_TICKS) },
  '6h': { words: '6 h mean', colour: 'quarter', dash: [8, 3], data: (s) => movingAverage(s.observed, 6 * HOUR_TICKS) },
  '24h': { words: '24 h mean', colour: 'daily', dash: [12, 3, 2, 3], data: (s) => movingAverage(s.observed, 24 * HOUR_TICKS) },
  week: { words: 'last week', colour: 'past', dash: [2, 3], data: (s) => s.week ?? times.map(() => null) },
};

// The value that this part of the known numbers does not exceed; 0 where none is known.
function quantile(data, part) {
  const known = data.filter((v) => v !== null).sort((a, b) => a - b);
  return known[Math.floor(part * (known.length - 1))] ?? 0;
}

function stateSpec(state, stack, last) {
  const { colours } = stack, beside = Object.keys(BESIDE).filter((name) => stack.show.has(name)).map((name) => ({ name, ...BESIDE[name], values: BESIDE[name].data(state) }));
  // All that was seen, and what was usually expected: a wild expectation must not flatten the counts.
  const usually = quantile(state.observed, 0.9);
  const top = (view) => {
    let upper = 0, seen = 0;
    const expected = [];
    for (let t = 0; t < index.ticks; t++) {
      if (times[t] < view.from || times[t] > view.to) continue;
      seen = Math.max(seen, state.observed[t] ?? 0, ...beside.map((b) => b.values[t] ?? 0));
      upper = Math.max(upper, state.upper[t] ?? 0);
      expected.push(state.expected[t]);
    }
    const high = Math.max(seen, Math.min(quantile(expected, 0.98), 2 * usually), 1);
    return Math.min(Math.max(high, upper), 1.4 * high) * 1.06;
  };
  const words = (t) => [...(state.observed[t] === null ? [key('gap', 'no count')] : [
    key('line', `${count(state.observed[t])} observed`),
    ...(state.expected[t] === null ? [] : [key('model', `${count(state.expected[t])} expected (${count(state.lower[t])}–${count(state.upper[t])})`)]),
  ]), ...beside.map((b) => key(`beside ${b.colour}`, `${b.words} ${count(b.values[t])}`))];
  const most = state.observed.reduce((best, v) => Math.max(best, v ?? 0), 0);
  return {
    kind: 'state', title: state.name, height: last ? 118 : 96, clock: last, data: [state.expected, ...beside.map((b) => b.values), state.observed], words,
    label: `${state.name}: observed jobs, at most ${count(most)}, and what the model expected`,
    series: [curve(state.expected, colours.model, 1.5), ...beside.map((b) => curve(b.values, colours[b.colour], 1.75, b.dash)), curve(state.observed, colours.ink, narrow.matches ? 1 : 1.25)],
    axis: countAxis(colours, stack.gutter), range: (view) => [0, top(view)], under: (u) => drawBand(u, state.lower, state.upper, colours.model),
  };
}

// Incidents and labels as bars in time, each in a lane of its own.
function laneSpec(lanes, stack) {
  const rows = lanes.map((lane) => ({ name: lane.name, cell: () => 0 }));
  const words = (t) => lanes.filter((lane) => lane.bars.some((bar) => bar.from <= times[t] && times[t] < bar.to)).map((lane) => h('span', {}, lane.bars.find((bar) => bar.from <= times[t] && times[t] < bar.to).text));
  return heatSpec('lanes', 'incidents and labels', lanes.flatMap((lane) => lane.bars.map((bar) => bar.text)).join('; '), () => rows, stack, { words, tall: 18, after: (u) => drawLanes(u, lanes, stack.colours) });
}

// Draw all plots of a queue, or of a group of them, into `host`. `options`: the time range, the tick told at rest, what
// else to show, lanes of incidents and labels; `on` is told of the cursor (tick or null) and of the range of time.
function stackPlots(host, queue, options, on) {
  const colours = theme();
  const stack = {
    key: `qad${queue.key}`, colours, regions: regionsOf(queue), rest: options.rest, show: options.show, width: () => host.clientWidth, moved: on.cursor, follow: () => {},
    gutter: queue.members || options.wide ? (narrow.matches ? 96 : 168) : narrow.matches ? 72 : 84,
  };
  host.replaceChildren();
  const specs = [scoreSpec(queue, stack)];
  if (options.lanes.length) specs.push(laneSpec(options.lanes, stack));
  if (queue.members) specs.push(membersSpec(queue, stack, on.pick));
  if (queue.states.length) specs.push(shareSpec(queue, stack));
  if (queue.states.length && options.show.has('errors')) specs.push(errorSpec(queue, stack));
  queue.states.forEach((state, j) => specs.push(stateSpec(state, stack, j === queue.states.length - 1)));
  const plots = specs.map((spec) => panel(host, spec, stack));
  plots.forEach((u) => u.setScale('x', { min: options.range[0], max: options.range[1] }));
  let busy = false;
  stack.follow = (source) => {
    if (busy) return;
    busy = true;
    const { min, max } = source.scales.x;
    plots.forEach((u) => u !== source && u.setScale('x', { min, max }));
    on.range([min, max]);
    queueMicrotask(() => { busy = false; });
  };
  return {
    stack,
    zoom: (from, to) => plots[0].setScale('x', { min: from, max: to }),
    range: () => [plots[0].scales.x.min, plots[0].scales.x.max],
    resize: () => plots.forEach((u, k) => u.setSize({ width: stack.width(), height: specs[k].height })),
    add: (where, spec) => {
      const added = panel(where, spec, stack), { min, max } = plots[0].scales.x;
      busy = true;
      added.setScale('x', { min, max });
      plots.push(added);
      specs.push(spec);
      queueMicrotask(() => { busy = false; });
      return () => { const k = plots.indexOf(added); plots.splice(k, 1); specs.splice(k, 1); added.destroy(); };
    },
    destroy: () => plots.forEach((u) => u.destroy()),
  };
}
