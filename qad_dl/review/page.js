// The page: which incident or queue is shown, over which time, by address, keyboard and pointer.

let shown = null;   // { view, key, data, plots, event } of what is on screen
let wanted = null;  // key of what is being opened
let opening = null; // and what it is
let openingRange = null;
let addressed = '';  // what was last written into the address, or followed from it

const USUAL = ['errors'];
const SHOWN = ['errors', ...Object.keys(BESIDE)];
const wishes = { show: new Set(USUAL), compare: '', cell: 'score' };  // what else the plots show

const params = () => new URLSearchParams(location.hash.slice(1));
const keyOf = ({ incident, row }) => (row !== null ? `q${row}` : `i${incident.id}`);

function viewParams({ incident, row }) {
  const found = [];
  if (incident) found.push(['incident', incident.id]);
  if (row !== null) found.push(['queue', index.series[row].n]);
  return found;
}

function wishParams() {
  const found = [], shows = SHOWN.filter((name) => wishes.show.has(name));
  if (shows.join() !== USUAL.join()) found.push(['show', shows.join(',')]);
  if (wishes.compare) found.push(['compare', wishes.compare]);
  if (wishes.cell !== 'score') found.push(['cell', wishes.cell]);
  return found;
}

function setWishes(found) {
  wishes.show = new Set(found.has('show') ? found.get('show').split(',').filter((name) => SHOWN.includes(name)) : USUAL);
  wishes.compare = index.fields.some((field) => field.name === found.get('compare')) ? found.get('compare') : '';
  wishes.cell = index.states.includes(found.get('cell')) ? found.get('cell') : 'score';
  fillShow();
}

// Write the address of what is on screen, without a new entry in the history unless it is another view.
function address(view, range, fresh) {
  if (!fresh && location.hash !== addressed) return;  // another one was entered, and is followed in a moment
  const found = new URLSearchParams(view ? viewParams(view) : []);
  if (range && (range[0] >= FULL[0] + index.step || range[1] <= FULL[1] - index.step)) { found.set('from', iso(range[0])); found.set('to', iso(range[1])); }
  for (const [name, value] of [...wishParams(), ...filterParams()]) found.set(name, value);
  const hash = `#${found}`;
  if (hash !== (location.hash || '#')) history[fresh ? 'pushState' : 'replaceState'](null, '', hash);
  addressed = location.hash;
}

// The address again after something else than the view has changed. While a view is being opened it is that one's.
function addressAgain() {
  const range = shown && keyOf(shown.view) === wanted ? shown.plots.range() : openingRange;
  address(params().has('queue') || params().has('incident') || !narrow.matches ? opening : null, range, false);
}

function rangeOf(found) {
  const [from, to] = ['from', 'to'].map((name) => Date.parse(found.get(name) ?? '') / 1000);
  return Number.isFinite(from) && Number.isFinite(to) && from < to ? clamp(from, to) : null;
}

// A time range that shows an incident with what was before and after it.
function around({ from, to }) {
  const margin = Math.max(12 * 3600, (to - from) / 2);
  return clamp(from - margin, to + margin);
}

const restRange = (view) => (view.incident ? around(incidentTimes(view.incident)) : FULL);

// The view that an address names; what is wrong with it where it names none.
function viewOf(found) {
  const id = found.get('incident'), name = found.get('queue');
  const incident = incidentOf.get(id) ?? null, row = name === null ? null : rowOf.get(name) ?? rowsByQueue.get(name)?.[0];
  if (name !== null && row === undefined) return `This page holds no queue named ${name}.`;
  const worst = incident ? undefined : rowOf.get(found.get('worst') ?? '');
  if (worst !== undefined) return { incident: null, row: worst };
  if (row === null && id !== null && !incident) return `This page holds no incident ${id}: it may lie outside ${span(times[0], times.at(-1) + index.step)} UTC.`;
  return row === null && !incident ? null : { incident: incident && (row === null || incident.q.includes(row)) ? incident : null, row };
}

// Show what the address says.
function follow() {
  const found = params();
  addressed = location.hash;
  setFilters(found);
  setWishes(found);
  sortLists();
  showTab(found.get('tab') in lists ? found.get('tab') : defaultTab());
  const view = viewOf(found);
  if (typeof view === 'string') return problem(view);
  if (view !== null) return open(view, rangeOf(found) ?? restRange(view));
  document.body.dataset.view = 'list';
  const first = lists[tab].find((entry) => entry.shown) ?? byRow[0];
  if (!narrow.matches) open(viewOfEntry(first), rangeOf(found) ?? restRange(viewOfEntry(first)), false);
}

const viewOfEntry = (entry) => (entry.incident ? { incident: entry.incident, row: null } : { incident: null, row: entry.row });

function problem(text) {
  $('problem').textContent = text;
  $('problem').hidden = false;
  document.body.dataset.view = 'queue';
}

function said(text) {
  $('said').textContent = text;
  clearTimeout(said.timer);
  said.timer = setTimeout(() => { $('said').textContent = ''; }, 6000);
}

// What the plots of a view need. An incident of one queue shows that queue, with all its states.
async function gather({ incident, row }) {
  if (row !== null) return queueOf(await unpack(row));
  if (incident.q.length === 1) return queueOf(await unpack(incident.q[0]));
  return groupOfIncident(incident);
}

// The queues of a large group that are not in its picture yet; it is drawn again with all of them.
async function drawOthers(view, group) {
  const wanted = () => shown?.data === group;
  try {
    const all = await addOthers(view.incident, group, wanted);
    if (all && wanted()) draw(view, all, shown.plots.range());
  } catch (error) {
    if (error instanceof Stale) newerData(false);
    if (wanted()) $('notes').textContent = `Only ${group.members.length} of ${group.of} queues are added up: the others cannot be had (${error.message}).`;
  }
}

// Open a view: words at once, plots as soon as they are unpacked.
async function open(view, range, asView = true) {
  const elsewhere = opening === null || keyOf(opening) !== keyOf(view) || opening.incident !== view.incident;
  wanted = keyOf(view);
  opening = view;
  openingRange = range;
  if (asView) document.body.dataset.view = 'queue';
  $('problem').hidden = true;
  const here = shown && keyOf(shown.view) === wanted && shown.view.incident === view.incident;
  // Also where the plots are those of the view: back from another that was not unpacked yet, the words are of that one.
  if (!here || elsewhere) { markEntry(view); fillHead(view); }
  if (here) { shown.plots.zoom(...range); return; }
  let data;
  try {
    data = await gather(view);
  } catch (error) {
    if (error instanceof Stale) return newerData(true);
    if (wanted !== keyOf(view)) return;
    clearPlots();
    problem(live && error instanceof TypeError ? `The server cannot be reached (${error.message}); what was looked at before is still there.` : `The data cannot be had or unpacked (${error.message}); this needs a browser of 2023 or newer.`);
    return;
  }
  if (wanted !== keyOf(view)) return;
  draw(view, data, range);
  if (data.members && data.members.length < data.of) drawOthers(view, data);
}

// Nothing is shown: what was there is not what stands above it.
function clearPlots() {
  shown?.plots.destroy();
  shown = null;
  dropOthers = null;
  $('plots').replaceChildren();
  delete $('plots').dataset.drawn;
  $('others').hidden = true;
}

// The queue that the sentence at rest is about, and the tick.
function restOf({ incident, row }) {
  if (row === null && incident.w[0] >= 0) return [incident.w[2], 'farthest off'];
  const worst = strongest(index.series[row ?? incident.q[0]].e.map(eventOf));
  return worst ? [worst.worst, 'farthest off'] : [index.ticks - 1, 'last tick'];
}

function draw(view, data, range) {
  const [rest, restWords] = restOf(view), key = keyOf(view);
  dropOthers = null;
  shown?.plots.destroy();
  const at = (t) => $('when').replaceChildren(`${weekday(times[t ?? rest])} ${moment(times[t ?? rest])} UTC`, h('span', {}, t === null ? `, ${restWords}` : ''));
  const lanes = lanesOf(view);
  const options = { range, rest, show: wishes.show, lanes, wide: wishes.compare !== '' && view.row !== null };
  const event = shown && keyOf(shown.view) === key ? shown.event : -1;
  shown = { view, key, data, event, lanes, plots: stackPlots($('plots'), data, options, { cursor: at, range: moved, pick: (row) => go({ incident: view.incident, row }) }) };
  at(null);
  fillMetadata(view.row ?? (view.incident.q.length === 1 ? view.incident.q[0] : null));
  fillNotes(view, data);
  fillCompare(view);
  fillLabels();
  showOthers();
  requestAnimationFrame(() => {
    $('plots').dataset.drawn = view.row ?? view.incident.id;
    if (!performance.getEntriesByName('first-plot').length) performance.mark('first-plot');
    prepareNext();
  });
}

function fillNotes({ incident, row }, data) {
  const one = row ?? (incident.q.length === 1 ? incident.q[0] : null);
  const group = one === null ? [data.members.length < data.of ? `Adding up: ${data.members.length} of ${data.of} queues so far.` : `Counts are those of its ${data.of} queues together, the bands added edge by edge; scores are the highest of any.`] : [scoreWords(index.series[one]), downtimeWords(index.series[one])];
  $('notes').textContent = [...group, unknownWords(row === null ? incident.q : [row]), unscoredWords(data)].filter(Boolean).join(' ');
}

// What comes next is unpacked while the reader looks at this.
function prepareNext() {
  const later = globalThis.requestIdleCallback ?? ((action) => setTimeout(action, 50));
  later(() => {
    Object.keys(lists).forEach(dressList);
    fillTeach();
    const { left, here } = whereabouts(), next = left[here + 1];
    if (!next) return;
    const rows = next.row === null ? next.incident.q : [next.row];
    rows.slice(0, 20).forEach((row) => unpack(row).catch(() => {}));
  });
}

function redraw() {
  if (shown) draw(shown.view, shown.data, shown.plots.range());
}

function moved(range) {
  clearTimeout(moved.timer);
  const key = shown?.key;
  moved.timer = setTimeout(() => {
    if (key !== shown?.key) return;
    addressAgain();
    fillSubject();
    if ($('time').value === 'shown') applyFilters();
  }, 150);
}

const entryOf = ({ incident, row }) => (incident ? byIncident.get(incident.id) : byRow[row]);

function markEntry(view) {
  document.querySelectorAll('.list [aria-current]').forEach((link) => { link.removeAttribute('aria-current'); link.tabIndex = -1; });
  for (const entry of new Set([entryOf(view), ...(view.row === null ? [] : [byRow[view.row]])])) {
    if (!entry.item) continue;
    entry.link.setAttribute('aria-current', 'true');
    entry.link.tabIndex = 0;
    entry.item.scrollIntoView({ block: 'nearest' });
  }
  if (!listElement(tab).querySelector('li:not([hidden]) [tabindex="0"]')) offerFirst();
}

// What next and previous step through, and where in it we are: the queues of an incident, or the list.
function whereabouts(view = opening) {
  if (view?.incident && view.row !== null) {
    const left = view.incident.q.map((row) => ({ incident: view.incident, row }));
    return { left, here: view.incident.q.indexOf(view.row), of: incidentName(view.incident) };
  }
  const left = lists[tab].filter((entry) => entry.shown).map(viewOfEntry);
  return { left, here: left.findIndex((other) => keyOf(other) === wanted), of: '' };
}

function step(by) {
  const { left, here } = whereabouts();
  // In the order of what teaches, what was just labelled is no longer asked for: the next is the first again.
  const answered = by > 0 && $('sort').value === 'teach' && opening?.incident && opening.row === null && placeToTeach(opening.incident) === Infinity;
  const next = answered ? left[0] : left[Math.min(Math.max(here + by, 0), left.length - 1)];
  if (next && keyOf(next) !== wanted) go(next, next.row === null || !shown || (shown.view.incident && shown.view.row === null) ? restRange(next) : shown.plots.range());
}

// To the incident whose label would teach most, of those that are not on screen.
function teachNext() {
  const next = teach().order.find((line) => line !== (opening?.row === null ? opening.incident : null));
  if (!next) return said(index.incidents.length ? 'Every other incident here has a label.' : 'There is no incident here to be labelled.');
  if (tab !== 'incidents') showTab('incidents');
  const view = { incident: next, row: null };
  go(view, restRange(view));
}

function go(view, range = shown ? shown.plots.range() : restRange(view)) {
  const inList = listElement(tab).contains(document.activeElement);
  address(view, range, true);
  open(view, range);
  if (inList && !narrow.matches) entryOf(view).link?.focus();
  else if (narrow.matches) { scrollTo(0, 0); $('queue').focus({ preventScroll: true }); }
  else $('queue').scrollTop = 0;
}

function zoomBy(factor, shift = 0) {
  if (!shown) return;
  const [from, to] = shown.plots.range(), middle = (from + to) / 2 + shift * (to - from), half = ((to - from) / 2) * factor;
  shown.plots.zoom(...clamp(middle - half, middle + half));
}

function toEvent(k) {
  if (!shown) return;
  const row = shown.view.row ?? (shown.view.incident.q.length === 1 ? shown.view.incident.q[0] : null);
  if (row === null) { shown.plots.zoom(...around(incidentTimes(shown.view.incident))); return; }
  const all = index.series[row].e.map(eventOf);
  if (!all.length) return;
  shown.event = k ?? (shown.event + 1) % all.length;
  const { from, to } = all[shown.event], margin = Math.max(6 * 3600, (to - from) / 2);
  shown.plots.zoom(...clamp(from - margin, to + margin));
  fillSubject();
}

// --- what else is shown -------------------------------------------------------------------------------------------

const showButtons = () => [...document.querySelectorAll('button[data-show]')];

function fillShow() {
  for (const button of showButtons()) button.setAttribute('aria-pressed', wishes.show.has(button.dataset.show));
  const drawn = Object.keys(BESIDE).filter((name) => wishes.show.has(name)).map((name) => [`beside ${BESIDE[name].colour}`, BESIDE[name].words]);
  const legend = [['line', 'observed'], ['model', 'expected (95 %)'], ...drawn, ['flag', 'flagged'], ['quiet', 'fall expected'], ['gap', 'no score']];
  $('legend').replaceChildren(...legend.map(([kind, text]) => h('li', { class: `key ${kind}` }, text)));
}

function toggleShow(name) {
  if (wishes.show.has(name)) wishes.show.delete(name);
  else wishes.show.add(name);
  fillShow();
  redraw();
  addressAgain();
  if (name === 'week' && wishes.show.has('week') && shown && !shown.data.states.some((state) => state.week)) said('The history has nothing of this queue for the week before.');
}

// --- keys and clicks ----------------------------------------------------------------------------------------------

const chooseTab = (name) => { document.body.dataset.view = 'list'; showTab(name); addressAgain(); listElement(name).querySelector('li:not([hidden]) [tabindex="0"]')?.focus(); };

const ACTIONS = {
  j: () => step(1), k: () => step(-1), ArrowRight: () => step(1), ArrowLeft: () => step(-1), e: () => toEvent(),
  i: () => chooseTab('incidents'), q: () => chooseTab('queues'),
  p: () => labelAtOnce('problem'), x: () => labelAtOnce('expected'), u: () => labelAtOnce('unsure'), l: () => openForm(), z: undoLast, t: teachNext, w: () => toggleShow('week'),
  '+': () => zoomBy(0.5), '=': () => zoomBy(0.5), '-': () => zoomBy(2), 0: () => shown?.plots.zoom(...FULL),
  '/': () => { document.body.dataset.view = 'list'; $('search').focus(); $('search').select(); }, '?': () => $('help').showModal(), Escape: () => back(),
};

// One level up: from the form, from a queue to its incident, to the list.
function back() {
  if (!$('label-form').hidden) return closeForm();
  if (opening?.incident && opening.row !== null && document.body.dataset.view === 'queue') return go({ incident: opening.incident, row: null });
  document.body.dataset.view = 'list';
  if (narrow.matches) address(null, null, true);
  else listElement(tab).querySelector('[aria-current]')?.focus();
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || $('help').open) return;
  const typing = event.target.matches?.('input, select, textarea');
  if (typing && event.key !== 'Escape') return;
  const inList = event.target.closest?.('.list');
  if (event.target.closest?.('[role="tablist"]') && /^Arrow(Left|Right)$/.test(event.key)) {
    event.preventDefault();
    showTab(tab === 'queues' ? 'incidents' : 'queues');
    $(`tab-${tab}`).focus();
    addressAgain();
    return;
  }
  const moves = event.shiftKey ? { ArrowLeft: () => zoomBy(1, -0.5), ArrowRight: () => zoomBy(1, 0.5) } : inList ? { ArrowDown: ACTIONS.j, ArrowUp: ACTIONS.k } : {};
  const action = moves[event.key] ?? ACTIONS[event.key];
  if (!action) return;
  event.preventDefault();
  action();
}

function filtersChanged() {
  sortLists();
  applyFilters();
  addressAgain();
}

// Links of the page lead to views without loading anything.
function onLink(event) {
  const link = event.target.closest('a.row, a[data-view]');
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const view = viewOf(new URLSearchParams(link.getAttribute('href').slice(1)));
  if (typeof view === 'string') return problem(view);
  const keeps = view.row !== null && shown && !(view.incident && shown.view.incident !== view.incident);
  go(view, keeps ? shown.plots.range() : restRange(view));
}

const THEMES = ['auto', 'light', 'dark'];

function setTheme(name) {
  $('theme').textContent = name;
  if (name === 'auto') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
}

function fillFrame() {
  $('title').textContent = index.title;
  const flagged = index.series.filter((line) => line.f).length;
  const now = index.series.filter((line) => line.e.at(-1)?.[1] === index.ticks).length;
  $('summary').textContent = `${span(times[0], times.at(-1) + index.step)} UTC · ${plural(index.series.length, 'queue')}, ${flagged} flagged, ` +
    `${now} at the end · threshold ${fixed(index.threshold)} (${index.budget} false alarms per queue and day)` +
    (index.series.some((line) => line.h !== undefined) ? ', of some groups another' : '') + (index.incidents.some((line) => line.p !== undefined) ? ' · incidents in the order that labels taught' : '');
  $('exact').textContent = index.quanta.observed[1];
  $('rounding').textContent = `${Math.ceil(50 / index.quanta.observed[1])}`;
  setTheme(THEMES.includes(recall('qad-theme')) ? recall('qad-theme') : 'auto');
}

// The server has scored more since: the rows of this page are of the past.
function newerData(needed) {
  $('newer').hidden = false;
  if (needed && $('label-form').hidden) location.reload();
  else if (needed) problem('The server has newer data. Save or cancel your label, then reload the page.');
}

function watchServer() {
  if (!live) return;
  setInterval(async () => {
    try {
      const response = await fetch('index.json', { method: 'HEAD', cache: 'no-cache' });
      if (response.ok && version !== null && tagOf(response) !== null && tagOf(response) !== version) newerData(false);
    } catch { /* told with the labels */ }
  }, 60000);
}

function listen() {
  const click = { previous: () => step(-1), next: () => step(1), closer: () => zoomBy(0.5), wider: () => zoomBy(2), earlier: () => zoomBy(1, -0.5),
    later: () => zoomBy(1, 0.5), 'last-day': () => shown?.plots.zoom(FULL[1] - 86400, FULL[1]), 'to-event': () => toEvent(), 'teach-next': teachNext,
    all: () => shown?.plots.zoom(...FULL), 'help-open': () => $('help').showModal(), newer: () => location.reload(),
    'tab-incidents': () => { showTab('incidents'); addressAgain(); }, 'tab-queues': () => { showTab('queues'); addressAgain(); },
    theme: () => { const next = THEMES[(THEMES.indexOf($('theme').textContent) + 1) % 3]; setTheme(next); remember('qad-theme', next); redraw(); } };
  for (const [id, action] of Object.entries(click)) $(id).addEventListener('click', action);
  for (const [id, action] of [['back', () => back()], ['skip', () => $('queue').focus()]])
    $(id).addEventListener('click', (event) => { event.preventDefault(); action(); });
  for (const button of showButtons()) button.addEventListener('click', () => toggleShow(button.dataset.show));
  $('compare').addEventListener('change', () => { wishes.compare = $('compare').value; redraw(); addressAgain(); });
  $('cell').addEventListener('change', () => { wishes.cell = $('cell').value; showOthers(); addressAgain(); });
  document.body.addEventListener('click', onLink);
  $('filters').addEventListener('submit', (event) => event.preventDefault());
  $('filters').addEventListener('input', filtersChanged);
  $('filters').addEventListener('reset', () => setTimeout(filtersChanged));
  addEventListener('keydown', onKey);
  addEventListener('popstate', follow);
  addEventListener('hashchange', follow);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw);
  let width = 0;
  new ResizeObserver(() => { if (shown && $('plots').clientWidth !== width) { width = $('plots').clientWidth; shown.plots.resize(); } }).observe($('plots'));
}

function labelsHaveChanged() {
  markLabels();
  sortAgain();
  applyFilters();
  fillTeach();
  if (shown && JSON.stringify(shown.lanes) !== JSON.stringify(lanesOf(shown.view))) redraw();
  else fillLabels();
}

fillFrame();
fillLists();
fillFilters();
fillCells();
fillForm();
listen();
startLabels();
labels.listeners.push(labelsHaveChanged);
follow();
markLabels();
fillLabels();
watchServer();
