// The plots of a queue: uPlot, one under the other, with one cursor and one range of time.

const FULL = [times[0] - index.step / 2, times.at(-1) + index.step / 2];
const LEAST = 6 * index.step;
const INCREMENTS = [600, 1200, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 345600, 604800, 1209600, 2419200];
const WHOLE = [1, 2, 5].flatMap((n) => [0, 1, 2, 3, 4, 5, 6].map((e) => n * 10 ** e)).sort((a, b) => a - b);

// A range of time inside the data, and not shorter than what can be seen.
function clamp(from, to) {
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

function countAxis(colours, extra = {}) {
  return {
    scale: 'y', stroke: colours.muted, font: '11px system-ui, sans-serif', size: gutter(), gap: 5, space: 28, incrs: WHOLE,
    values: (u, splits) => splits.map(axisCount), grid: { stroke: colours.grid, width: 1 }, ticks: { show: false }, ...extra,
  };
}

const narrow = matchMedia('(max-width: 799px)');
const gutter = () => (narrow.matches ? 72 : 84);

// Everything that one panel needs; `spec` has title, height, data, series, range, axis, before, under, after and words.
function panel(host, spec, stack) {
  const out = h('output'), plot = h('div', { class: 'plot', role: 'img', 'aria-label': spec.label });
  const figure = h('figure', { class: `panel ${spec.kind}` }, h('figcaption', {}, h('h3', {}, spec.title), ...(spec.extra ?? []), out), plot);
  host.append(figure);
  const view = { from: FULL[0], to: FULL[1] };  // uPlot asks for the range of counts before it sets that of time
  const look = (from, to) => { [view.from, view.to] = clamp(from, to); return [view.from, view.to]; };
  const say = (u) => out.replaceChildren(...spec.words(u.cursor.idx ?? stack.rest));
  return new uPlot({
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
}

const key = (kind, text) => h('span', { class: `key ${kind}` }, text);

function scoreSpec(queue, colours, regions) {
  const words = (t) => {
    if (queue.score[t] === null) return [key('gap', `not scored: ${reasonWords(queue.status[t])}`)];
    const blamed = index.states[queue.blamed[t] - 1];
    return [key('line', fixed(queue.score[t], 2)), queue.status[t] & FLAGGED ? key('flag', `flagged: ${blamed}`) : `threshold ${fixed(index.threshold)}`];
  };
  return {
    kind: 'score', title: 'score', height: 128, clock: true, data: [queue.score], words,
    label: `Score, at most ${fixed(index.series[queue.row].top)}, threshold ${fixed(index.threshold)}`,
    series: [curve(queue.score, colours.ink, 1.25)], axis: countAxis(colours, { incrs: [0.5, ...WHOLE] }),
    range: (view, high) => [0, Math.max(high ?? 0, index.threshold * 1.25) * 1.06],
    after: (u) => { drawThreshold(u, colours); nameRegions(u, regions, colours); },
  };
}

function shareSpec(queue, colours, regions) {
  const names = queue.states.map((s) => s.name);
  const words = (t) => queue.states.filter((s) => s.weight[t] >= 0.1).sort((a, b) => b.weight[t] - a.weight[t]).slice(0, 3)
    .map((s) => key(s.observed[t] >= s.expected[t] ? 'flag' : 'low', `${s.name} ${ARROWS[s.observed[t] >= s.expected[t] ? 1 : -1]} ${fixed(s.weight[t])}`));
  const rows = (u) => names.map((_, j) => j);
  return {
    kind: 'share', title: 'score by state', extra: [key('flag', 'high'), key('low', 'low')], height: 8 + 15 * names.length, data: [times.map(() => null)], series: [{ scale: 'y', points: { show: false } }],
    label: `What each state adds to the score: ${names.join(', ')}`, words, scale: { dir: -1 }, range: () => [-0.5, names.length - 0.5],
    axis: countAxis(colours, { splits: rows, values: () => names, grid: { show: false }, stroke: colours.ink, space: 1 }),
    after: (u) => drawShares(u, queue, colours), regions: regions.filter((region) => region.kind === 'gap'),
  };
}

function stateSpec(state, colours, last) {
  // All that was seen, and what was usually expected: a short, wild expectation must not flatten the counts.
  const top = (view) => {
    let upper = 0, seen = 0;
    const expected = [];
    for (let t = 0; t < index.ticks; t++) {
      if (times[t] < view.from || times[t] > view.to) continue;
      seen = Math.max(seen, state.observed[t] ?? 0);
      upper = Math.max(upper, state.upper[t] ?? 0);
      expected.push(state.expected[t] ?? 0);
    }
    const usual = expected.sort((a, b) => a - b)[Math.floor(0.98 * expected.length)] ?? 0;
    const high = Math.max(seen, usual, 1);
    return Math.min(Math.max(high, upper), 1.4 * high) * 1.06;
  };
  const words = (t) => (state.observed[t] === null ? [key('gap', 'no count')] : [
    key('line', `${count(state.observed[t])} observed`),
    ...(state.expected[t] === null ? [] : [key('model', `${count(state.expected[t])} expected (${count(state.lower[t])}–${count(state.upper[t])})`)]),
  ]);
  const most = state.observed.reduce((best, v) => Math.max(best, v ?? 0), 0);
  return {
    kind: 'state', title: state.name, height: last ? 118 : 96, clock: last, data: [state.expected, state.observed], words,
    label: `${state.name}: observed jobs, at most ${count(most)}, and what the model expected`,
    series: [curve(state.expected, colours.model, 1.5), curve(state.observed, colours.ink, narrow.matches ? 1 : 1.25)], axis: countAxis(colours),
    range: (view) => [0, top(view)], under: (u) => drawBand(u, state.lower, state.upper, colours.model),
  };
}

// Draw all plots of a queue into `host`; `on` is told of the cursor (tick or null) and of the range of time.
function stackPlots(host, queue, range, rest, on) {
  const colours = theme(), line = index.series[queue.row], regions = regionsOf(queue, line);
  const stack = { key: `qad${queue.row}`, colours, regions, rest, width: () => host.clientWidth, moved: on.cursor, follow: () => {} };
  host.replaceChildren();
  const specs = [scoreSpec(queue, colours, regions)];
  if (queue.states.length) specs.push(shareSpec(queue, colours, regions));
  queue.states.forEach((state, j) => specs.push(stateSpec(state, colours, j === queue.states.length - 1)));
  const plots = specs.map((spec) => panel(host, spec, stack));
  const zoom = ([from, to]) => plots.forEach((u) => u.setScale('x', { min: from, max: to }));
  zoom(range);
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
    zoom: (from, to) => plots[0].setScale('x', { min: from, max: to }),
    range: () => [plots[0].scales.x.min, plots[0].scales.x.max],
    resize: () => plots.forEach((u, k) => u.setSize({ width: stack.width(), height: specs[k].height })),
    destroy: () => plots.forEach((u) => u.destroy()),
  };
}
