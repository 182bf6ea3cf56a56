// The page: which queue is shown, over which time, by address, keyboard and pointer.

let shown = null;   // { row, queue, plots, event } of the queue on screen
let wanted = null;  // the row that is being opened

const params = () => new URLSearchParams(location.hash.slice(1));

// Write the address of what is on screen, without a new entry in the history unless it is another queue.
function address(row, range, fresh) {
  const found = new URLSearchParams();
  if (row !== null) found.set('queue', index.series[row].n);
  if (range && (range[0] > FULL[0] || range[1] < FULL[1])) { found.set('from', iso(range[0])); found.set('to', iso(range[1])); }
  for (const [name, value] of filterParams()) found.set(name, value);
  const hash = `#${found}`;
  if (hash !== (location.hash || '#')) history[fresh ? 'pushState' : 'replaceState'](null, '', hash);
}

function rangeOf(found) {
  const [from, to] = ['from', 'to'].map((name) => Date.parse(found.get(name) ?? '') / 1000);
  return Number.isFinite(from) && Number.isFinite(to) && from < to ? clamp(from, to) : FULL;
}

// Show what the address says.
function follow() {
  const found = params();
  setFilters(found);
  sortList();
  applyFilters();
  const name = found.get('queue'), row = name === null ? null : rowOf.get(name);
  if (name !== null && row === undefined) return problem(`This page holds no queue named ${name}.`);
  if (row !== null) return open(row, rangeOf(found));
  document.body.dataset.view = 'list';
  if (!narrow.matches) open(items.find((entry) => entry.shown)?.row ?? 0, rangeOf(found), false);
}

function problem(text) {
  $('problem').textContent = text;
  $('problem').hidden = false;
  document.body.dataset.view = 'queue';
}

// Open a queue: words at once, plots as soon as they are unpacked.
async function open(row, range, asView = true) {
  wanted = row;
  if (asView) document.body.dataset.view = 'queue';
  if (shown?.row === row) { shown.plots.zoom(...range); return; }
  $('problem').hidden = true;
  markRow(row);
  fillHead(row);
  let queue;
  try {
    queue = await unpack(row);
  } catch (error) {
    problem(`The data of this queue cannot be unpacked (${error.message}); this needs a browser of 2023 or newer.`);
    return;
  }
  if (wanted === row) draw(queue, range);
}

function draw(queue, range) {
  const line = index.series[queue.row], worst = strongest(line.e.map(eventOf));
  shown?.plots.destroy();
  const rest = worst?.worst ?? index.ticks - 1, restWords = worst ? 'farthest off' : 'last tick';
  const at = (t) => $('when').replaceChildren(`${weekday(times[t ?? rest])} ${moment(times[t ?? rest])} UTC`, h('span', {}, t === null ? `, ${restWords}` : ''));
  shown = { row: queue.row, queue, event: -1, plots: stackPlots($('plots'), queue, range, rest, { cursor: at, range: moved }) };
  at(null);
  fillMetadata(queue);
  $('notes').textContent = [scoreWords(line), unscoredWords(queue)].filter(Boolean).join(' ');
  requestAnimationFrame(() => {
    $('plots').dataset.drawn = queue.row;
    if (!performance.getEntriesByName('first-plot').length) performance.mark('first-plot');
  });
}

const scoreWords = (line) => (line.f ? `Highest score ${fixed(line.top)}, threshold ${fixed(index.threshold)}; ${plural(line.f, 'flagged tick')} in ${plural(line.e.length, 'event')}.` : '');

function moved(range) {
  clearTimeout(moved.timer);
  const row = shown?.row;
  moved.timer = setTimeout(() => row === shown?.row && address(params().has('queue') || !narrow.matches ? row : null, range), 150);
}

function unscoredWords({ status }) {
  const counts = new Map();
  for (const s of status) if (s & (REASON | UNKNOWN)) counts.set(reasonWords(s), (counts.get(reasonWords(s)) ?? 0) + 1);
  const total = [...counts.values()].reduce((a, b) => a + b, 0);
  if (!total) return '';
  const parts = [...counts].sort((a, b) => b[1] - a[1]).map(([words, n]) => `${words} (${n})`);
  return `${plural(total, 'tick')} of ${index.ticks} without a score: ${parts.join(', ')}.`;
}

function fillHead(row) {
  const line = index.series[row], [loud, quiet] = headline(line), worst = strongest(line.e.map(eventOf));
  $('name').textContent = line.n;
  $('rank').textContent = `rank ${row + 1} of ${index.series.length}`;
  $('headline').replaceChildren(h('strong', { class: worst ? sense(worst.direction) : 'calm' }, loud), quiet);
  $('notes').textContent = '';
  document.title = `${line.n} · ${index.title}`;
  const tags = index.fields.map((field, k) => [field.name, field.values[line.m[k]]]).filter(([, value]) => value !== undefined);
  $('tags').replaceChildren(...tags.slice(0, 8).map(([name, value]) => h('li', {}, h('span', {}, `${name.replaceAll('_', ' ')} `), value)));
  $('events').replaceChildren(...line.e.map(eventOf).map(eventButton));
}

function eventButton(e, k) {
  const text = h('span', {}, h('b', { class: sense(e.direction) }, `${ARROWS[e.direction] ?? ''} ${e.state}`), ` ${duringWords(e)}`, h('i', {}, ` ${fixed(e.score)}`));
  const button = h('button', { type: 'button', 'data-event': k, title: `${jobsWords(e)}; score ${fixed(e.score)}` }, text);
  button.addEventListener('click', () => toEvent(k));
  return button;
}

function fillMetadata(queue) {
  const line = index.series[queue.row];
  const known = Object.fromEntries(index.fields.map((field, k) => [field.name, field.values[line.m[k]]]).filter(([, v]) => v !== undefined));
  const all = Object.entries({ ...known, ...queue.more, ...index.common }).sort((a, b) => a[0].localeCompare(b[0]));
  $('metadata').replaceChildren(...all.flatMap(([name, value]) => [h('dt', {}, name), h('dd', {}, value)]));
  $('about').hidden = !all.length;
}

function markRow(row) {
  const before = document.querySelector('#list [aria-current]'), here = byRow[row];
  before?.removeAttribute('aria-current');
  if (before) before.tabIndex = -1;
  here.link.setAttribute('aria-current', 'true');
  here.link.tabIndex = 0;
  here.item.scrollIntoView({ block: 'nearest' });
}

// The next or previous of the queues that the filters leave.
function step(by) {
  const left = items.filter((entry) => entry.shown), here = left.findIndex((entry) => entry.row === (wanted ?? -1));
  const next = left[Math.min(Math.max(here + by, 0), left.length - 1)];
  if (next && next.row !== wanted) go(next.row);
}

function go(row) {
  const inList = $('list').contains(document.activeElement);
  address(row, shown ? shown.plots.range() : FULL, true);
  open(row, shown ? shown.plots.range() : FULL);
  if (inList && !narrow.matches) byRow[row].link.focus();
  else if (narrow.matches) { scrollTo(0, 0); $('queue').focus({ preventScroll: true }); }
  else $('queue').scrollTop = 0;
}

function zoomBy(factor, shift = 0) {
  if (!shown) return;
  const [from, to] = shown.plots.range(), middle = (from + to) / 2 + shift * (to - from), half = ((to - from) / 2) * factor;
  shown.plots.zoom(...clamp(middle - half, middle + half));
}

function toEvent(k) {
  const events = shown ? index.series[shown.row].e.map(eventOf) : [];
  if (!events.length) return;
  shown.event = k ?? (shown.event + 1) % events.length;
  const { from, to } = events[shown.event], around = Math.max(6 * 3600, (to - from) / 2);
  shown.plots.zoom(...clamp(from - around, to + around));
}

const ACTIONS = {
  j: () => step(1), k: () => step(-1), ArrowRight: () => step(1), ArrowLeft: () => step(-1), e: () => toEvent(),
  '+': () => zoomBy(0.5), '=': () => zoomBy(0.5), '-': () => zoomBy(2), 0: () => shown?.plots.zoom(...FULL),
  '/': () => { document.body.dataset.view = 'list'; $('search').focus(); $('search').select(); }, '?': () => $('help').showModal(), Escape: () => toList(),
};

function toList() {
  document.body.dataset.view = 'list';
  if (narrow.matches) address(null, null, true);
  else document.querySelector('#list [aria-current]')?.focus();
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || $('help').open) return;
  const typing = event.target.matches?.('input, select, textarea');
  if (typing && event.key !== 'Escape') return;
  const inList = $('list').contains(event.target);
  const moves = event.shiftKey ? { ArrowLeft: () => zoomBy(1, -0.5), ArrowRight: () => zoomBy(1, 0.5) } : inList ? { ArrowDown: ACTIONS.j, ArrowUp: ACTIONS.k } : {};
  const action = moves[event.key] ?? ACTIONS[event.key];
  if (!action) return;
  event.preventDefault();
  action();
}

function filtersChanged() {
  sortList();
  applyFilters();
  address(params().has('queue') || !narrow.matches ? wanted : null, shown?.plots.range() ?? null);
}

function fillFrame() {
  const flagged = index.series.filter((line) => line.f).length;
  const now = index.series.filter((line) => line.e.at(-1)?.[1] === index.ticks).length;
  $('summary').textContent = `${span(times[0], times.at(-1) + index.step)} UTC · ${plural(index.series.length, 'queue')}, ${flagged} flagged, ` +
    `${now} of them at the end · threshold ${fixed(index.threshold)} at ${index.budget} false alarms per queue and day`;
  $('exact').textContent = index.quanta.observed[1];
  $('rounding').textContent = `${Math.ceil(50 / index.quanta.observed[1])}`;
  const legend = [['line', 'observed'], ['model', 'expected (95 %)'], ['flag', 'flagged'], ['quiet', 'fall expected'], ['gap', 'no score']];
  $('legend').append(...legend.map(([kind, text]) => h('li', { class: `key ${kind}` }, text)));
}

function listen() {
  const click = { previous: () => step(-1), next: () => step(1), closer: () => zoomBy(0.5), wider: () => zoomBy(2), earlier: () => zoomBy(1, -0.5),
    later: () => zoomBy(1, 0.5), 'last-day': () => shown?.plots.zoom(FULL[1] - 86400, FULL[1]), 'to-event': () => toEvent(),
    all: () => shown?.plots.zoom(...FULL), 'help-open': () => $('help').showModal() };
  for (const [id, action] of Object.entries(click)) $(id).addEventListener('click', action);
  for (const [id, action] of [['back', toList], ['skip', () => $('queue').focus()]])
    $(id).addEventListener('click', (event) => { event.preventDefault(); action(); });
  $('list').addEventListener('click', (event) => {
    const link = event.target.closest('a.row');
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    go(Number(link.dataset.row));
  });
  $('filters').addEventListener('submit', (event) => event.preventDefault());
  $('filters').addEventListener('input', filtersChanged);
  $('filters').addEventListener('reset', () => setTimeout(filtersChanged));
  addEventListener('keydown', onKey);
  addEventListener('popstate', follow);
  addEventListener('hashchange', follow);
  const again = () => { if (shown) draw(shown.queue, shown.plots.range()); };
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', again);
  let width = 0;
  new ResizeObserver(() => { if (shown && $('plots').clientWidth !== width) { width = $('plots').clientWidth; shown.plots.resize(); } }).observe($('plots'));
}

fillFrame();
fillList();
fillFilters();
listen();
follow();
