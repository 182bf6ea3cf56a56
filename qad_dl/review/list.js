// The lists of incidents and of queues: ranked, filtered, searched, each row with a sparkline.

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
const SPARK_TOP = 30;
const OPEN_FILTERS = 4;

const rowOf = new Map(index.series.map((line, row) => [line.n, row]));
const queueField = index.entity.indexOf('panda_queue');
const queueName = (line) => (queueField < 0 || index.entity.length === 1 ? line.n : line.n.split(' / ')[queueField]);
const rowsByQueue = new Map();
index.series.forEach((line, row) => rowsByQueue.set(queueName(line), [...(rowsByQueue.get(queueName(line)) ?? []), row]));
const incidentOf = new Map(index.incidents.map((line) => [line.id, line]));
const incidentsOfRow = new Map();
for (const line of index.incidents) for (const row of line.q) incidentsOfRow.set(row, [...(incidentsOfRow.get(row) ?? []), line]);

const lists = { queues: [], incidents: [] };  // the rows in the order in which they are shown
const byRow = [], byIncident = new Map();
let tab = index.incidents.length ? 'incidents' : 'queues';

const SVG = 'http://www.w3.org/2000/svg';

function shape(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

// Bars in two paths, below the threshold and flagged; unscored stretches are a line of dots at the foot.
function sparkline(text) {
  const svg = shape('svg', { class: 'spark', viewBox: `0 0 ${text.length} 62`, preserveAspectRatio: 'none', 'aria-hidden': 'true' });
  const paths = { none: '', calm: '', flag: '' };
  [...text].forEach((letter, x) => {
    const height = ALPHABET.indexOf(letter) - 1;
    if (height < 0) paths.none += `M${x} 59h1v3h-1z`;
    else paths[height > SPARK_TOP ? 'flag' : 'calm'] += `M${x} 62v${-Math.max(2, height)}h1V62z`;
  });
  for (const [name, d] of Object.entries(paths)) if (d) svg.append(shape('path', { class: name, d }));
  return svg;
}

const loud = (state, direction) => h('b', { class: sense(direction) }, `${ARROWS[direction] ?? ''} ${state}`);

function queueWords(line) {
  const worst = strongest(line.e.map(eventOf));
  if (worst === null) return [line.top === null ? 'not scored' : 'nothing flagged'];
  return [loud(worst.state, worst.direction), worst.observed === null ? '' : ` ${count(worst.observed)} vs ${count(worst.expected)}`, `, ${duringWords(worst)}`];
}

function incidentWords(line) {
  const [state, direction] = line.w, when = incidentTimes(line);
  return [state < 0 ? '' : loud(index.states[state], direction), ` ${duringWords(when)} · ${kindWords(line.k)}`];
}

// What the bundle was not trained on is marked wherever it is named.
const newMark = () => h('span', { class: 'new', title: 'New to the bundle: scored as its group is' }, 'new');

function listRow(href, name, text, top, flagged, words, title, tail) {
  const spark = h('span', { class: 'sparkbox', 'data-spark': text }), marks = h('span', { class: 'marks' });
  const link = h('a', { class: 'row', href, tabindex: -1 },
    h('span', { class: 'who' }, h('span', { class: 'name', title: name }, name)), marks, spark, h('span', { class: flagged ? 'score flagged' : 'score' }, fixed(top)),
    h('span', { class: 'line' }, h('span', { class: 'words', title }, ...words), h('span', { class: 'ticks' }, tail)));
  return { link, marks, spark, said: link.querySelector('.words'), item: h('li', {}, link) };
}

function dressQueue({ line, row }) {
  const made = listRow(`#queue=${encodeURIComponent(line.n)}`, line.n, line.s, line.top, line.f, queueWords(line), headline(line).join(''), line.f ? plural(line.f, 'tick') : '');
  made.link.dataset.row = row;
  if (line.nw) made.link.querySelector('.name').after(newMark());
  return made;
}

function dressIncident({ line }) {
  const name = incidentName(line);
  const made = listRow(`#incident=${encodeURIComponent(line.id)}`, name, line.s, line.top, true, incidentWords(line), incidentHeadline(line).join(''), line.q.length > 1 || line.of ? sizeWords(line) : '');
  made.link.dataset.incident = line.id;
  return made;
}

const queueEntry = (line, row) => ({ line, row, incident: null, shown: true, ticks: line.f, since: line.e.at(-1)?.[0] ?? -1, size: (incidentsOfRow.get(row) ?? []).length, text: textOf(row), dress: dressQueue });

const incidentEntry = (line, rank) => ({
  line, row: rank, incident: line, shown: true, ticks: line.b - line.a, since: line.a, size: line.q.length,
  text: `${incidentName(line)} ${line.id} ${line.k} ${kindWords(line.k)}`.toLowerCase(), dress: dressIncident,
});

// What a search looks through: the name and every value that the index holds of a queue.
function textOf(row) {
  const line = index.series[row];
  return [line.n, ...index.fields.map((field, k) => field.values[line.m[k]] ?? '')].join(' ').toLowerCase();
}

// Once somebody searches, the metadata that the index leaves packed count too.
async function searchAll() {
  const all = await restOfMetadata();
  if (searchAll.done) return;
  searchAll.done = true;
  for (const entry of byRow) entry.text += ` ${Object.values(all[entry.row]).join(' ').toLowerCase()}`;
  filtersChanged();
}

// Sparklines are drawn when their rows come into view: two thousand at once would delay the first plot.
const seen = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (!isIntersecting) continue;
    seen.unobserve(target);
    target.append(sparkline(target.dataset.spark));
  }
}, { rootMargin: '300px' });

const listElement = (name) => $(name === 'queues' ? 'list' : 'incidents');

function fillLists() {
  index.series.forEach((line, row) => byRow.push(queueEntry(line, row)));
  index.incidents.forEach((line, rank) => byIncident.set(line.id, incidentEntry(line, rank)));
  lists.queues = [...byRow];
  lists.incidents = [...byIncident.values()];
}

// Make the rows of a list, when it is shown first or when there is time: two thousand of them take some.
function dressList(name) {
  const entries = lists[name];
  if (!entries.length || entries[0].item) return;
  for (const entry of entries) {
    Object.assign(entry, entry.dress(entry));
    entry.item.hidden = !entry.shown;
    seen.observe(entry.spark);
  }
  listElement(name).append(...entries.map((entry) => entry.item));
  markLabels();
  sayWhy();
}

// --- filters ------------------------------------------------------------------------------------------------------

// A select box for a field; the counts say what a choice would leave.
function filterBox(field, k) {
  const counts = new Array(field.values.length + 1).fill(0);
  for (const line of index.series) counts[line.m[k] < 0 ? field.values.length : line.m[k]]++;
  const box = h('select', { 'data-field': k, id: `filter-${k}` }, h('option', { value: '' }, 'any'));
  field.values.map((value, code) => [value, code]).sort((a, b) => a[0].localeCompare(b[0], 'en', { numeric: true }))
    .forEach(([value, code]) => box.append(h('option', { value: code }, `${value} (${counts[code]})`)));
  if (counts.at(-1)) box.append(h('option', { value: -1 }, `not set (${counts.at(-1)})`));
  return h('label', {}, h('span', {}, fieldWords(field.name)), box);
}

const boxes = () => [...document.querySelectorAll('#filters select[data-field]')];

function fillMore() {
  if ($('more-boxes').childElementCount) return;
  $('more-boxes').append(...index.fields.slice(OPEN_FILTERS).map((field, k) => filterBox(field, k + OPEN_FILTERS)));
}

const choice = (id, words, options) => h('label', {}, h('span', {}, words), h('select', { id }, ...options.map(([value, text]) => h('option', { value }, text))));

function fillFilters() {
  const states = [...new Set(index.series.flatMap((line) => line.e.map((e) => e[3])))].sort((a, b) => a - b);
  const kinds = [...new Set([...index.incidents.map((line) => line.k), ...index.series.flatMap((line) => line.e.map((e) => index.kinds[e[10]]))])].filter(Boolean).sort();
  $('boxes').append(
    choice('blamed', 'flagged', [['', 'all'], ['any', 'any state'], ['now', 'at the end of the range'], ['none', 'nothing flagged'], ['quiet', 'a fall was expected'], ['unscored', 'not scored at the end'], ['new', 'new to the bundle'], ...states.map((s) => [s, index.states[s] ?? 'unknown'])]),
    choice('kind', 'kind', [['', 'any'], ...kinds.map((kind) => [kind, kindWords(kind)])]),
    choice('labelled', 'label', [['', 'any'], ['none', 'not labelled'], ['some', 'labelled'], ['problem', '✖ problem'], ['expected', '✔ expected'], ['unsure', '? unsure'], ['mine', 'by me'], ['teach', `most to learn: ${OFFERED}`]]),
    choice('time', 'time', [['', 'all'], ['day', 'last 24 hours'], ['3days', 'last 3 days'], ['shown', 'what the plots show']]),
    ...index.fields.slice(0, OPEN_FILTERS).map(filterBox));
  $('more').hidden = index.fields.length <= OPEN_FILTERS;
  $('more').addEventListener('toggle', fillMore);
}

const flaggedAs = (line, wanted) => ({
  '': () => true, any: () => line.f > 0, now: () => line.e.at(-1)?.[1] === index.ticks, none: () => !line.f, quiet: () => Boolean(line.x), unscored: () => Boolean(line.u), new: () => Boolean(line.nw),
}[wanted] ?? (() => line.e.some((e) => String(e[3]) === wanted)))();

const incidentFlaggedAs = (line, wanted) => ({
  '': () => true, any: () => true, now: () => line.b === index.ticks, none: () => false,
  quiet: () => line.q.some((row) => index.series[row].x), unscored: () => line.q.some((row) => index.series[row].u), new: () => line.q.some((row) => index.series[row].nw),
}[wanted] ?? (() => String(line.w[0]) === wanted))();

function labelledAs(found, wanted) {
  if (wanted === '') return true;
  if (wanted === 'none') return !found.length;
  if (wanted === 'mine') return found.some((label) => label.author === labels.author());
  return wanted === 'some' ? found.length > 0 : found.some((label) => label.word === wanted);
}

// The time that the filter asks for, in seconds; null where all of it will do.
function wantedTime() {
  const wanted = $('time').value;
  if (wanted === 'shown') return shown ? shown.plots.range() : null;
  return wanted === '' ? null : [FULL[1] - (wanted === 'day' ? 1 : 3) * 86400, FULL[1]];
}

const asked = () => ({
  chosen: boxes().filter((box) => box.value !== '').map((box) => [Number(box.dataset.field), Number(box.value)]),
  words: $('search').value.toLowerCase().split(/\s+/).filter(Boolean),
  blamed: $('blamed').value, kind: $('kind').value, labelled: $('labelled').value, time: wantedTime(),
});

const hasFields = (row, chosen) => chosen.every(([k, code]) => index.series[row].m[k] === code);
const ticksOverlap = (a, b, time) => time === null || overlap(times[a], times[b - 1] + index.step, time[0], time[1]);

function queueMatches({ line, row, text }, wish) {
  return hasFields(row, wish.chosen) && wish.words.every((word) => text.includes(word)) && flaggedAs(line, wish.blamed) &&
    (wish.kind === '' || line.e.some((e) => index.kinds[e[10]] === wish.kind) || (incidentsOfRow.get(row) ?? []).some((incident) => incident.k === wish.kind)) &&
    (wish.labelled === 'teach' ? (incidentsOfRow.get(row) ?? []).some(isOffered) : labelledAs(labels.touching.get(row) ?? [], wish.labelled)) && (wish.time === null || line.e.some((e) => ticksOverlap(e[0], e[1], wish.time)));
}

// An incident is listed if it is what is asked for, and one of its queues is.
function incidentMatches({ line, text }, wish) {
  return incidentFlaggedAs(line, wish.blamed) && (wish.kind === '' || line.k === wish.kind) && (wish.labelled === 'teach' ? isOffered(line) : labelledAs(labels.on.get(line.id) ?? [], wish.labelled)) &&
    ticksOverlap(line.a, line.b, wish.time) && line.q.some((row) => hasFields(row, wish.chosen) && wish.words.every((word) => text.includes(word) || byRow[row].text.includes(word)));
}

function applyFilters() {
  const wish = asked();
  for (const [name, matches] of [['queues', queueMatches], ['incidents', incidentMatches]])
    for (const entry of lists[name]) {
      entry.shown = matches(entry, wish);
      if (entry.item) entry.item.hidden = !entry.shown;
    }
  const left = Object.fromEntries(Object.entries(lists).map(([name, entries]) => [name, entries.filter((entry) => entry.shown).length]));
  for (const name of Object.keys(lists)) $(`tab-${name}`).textContent = `${name === 'queues' ? 'Queues' : 'Incidents'} ${left[name]}`;
  if (!listElement(tab).querySelector('li:not([hidden]) [tabindex="0"]')) offerFirst();
  const all = lists[tab].length, one = tab === 'queues' ? 'queue' : 'incident';
  $('count').textContent = left[tab] === all ? plural(all, one) : `${plural(left[tab], one)} of ${all}`;
  $('clear').hidden = !wish.chosen.length && !wish.words.length && [wish.blamed, wish.kind, wish.labelled, $('time').value].every((value) => value === '');
  if (wish.words.length && !searchAll.done) searchAll();
}

// One row of a list can be reached by tab, the others by arrows: the one on screen, or the first that is left.
function offerFirst() {
  const first = lists[tab].find((entry) => entry.shown);
  if (first?.link) first.link.tabIndex = 0;
}

const teachRank = (entry) => (entry.incident ? placeToTeach(entry.line) : Math.min(...(incidentsOfRow.get(entry.row) ?? []).map(placeToTeach), Infinity));
const byTeaching = (a, b) => (a === b ? 0 : a < b ? -1 : 1);  // Infinity less Infinity is no number

const ORDERS = {
  top: (a, b) => a.row - b.row,
  flagged: (a, b) => b.ticks - a.ticks || a.row - b.row,
  newest: (a, b) => b.since - a.since || a.row - b.row,
  size: (a, b) => b.size - a.size || a.row - b.row,
  teach: (a, b) => byTeaching(teachRank(a), teachRank(b)) || a.row - b.row,
  name: (a, b) => a.text.localeCompare(b.text, 'en', { numeric: true }),
};

function sortLists() {
  for (const [name, entries] of Object.entries(lists)) {
    if (entries.order === $('sort').value) continue;
    entries.sort(ORDERS[$('sort').value]);
    entries.order = $('sort').value;
    if (entries[0]?.item) listElement(name).append(...entries.map((entry) => entry.item));
  }
  sayWhy();
}

// In the order of what teaches most, the rows of incidents say why in place of what was wrong.
function sayWhy() {
  const teaching = $('sort').value === 'teach';
  if (!teaching && !sayWhy.on) return;
  sayWhy.on = teaching;
  for (const entry of lists.incidents) {
    if (!entry.item) continue;
    const why = teaching ? teach().why.get(entry.line.id) : undefined;
    entry.said.replaceChildren(...(why ? [h('span', { class: 'why' }, why)] : incidentWords(entry.line)));
    entry.said.title = why ?? incidentHeadline(entry.line).join('');
  }
}

// Labels have changed: what teaches most is another now.
function sortAgain() {
  taught.stale = true;
  if ($('sort').value !== 'teach') return;
  for (const entries of Object.values(lists)) entries.order = '';
  sortLists();
}

function showTab(name) {
  tab = name;
  dressList(name);
  for (const other of Object.keys(lists)) {
    const here = other === name;
    $(`tab-${other}`).setAttribute('aria-selected', here);
    $(`tab-${other}`).tabIndex = here ? 0 : -1;
    $(`pane-${other}`).hidden = !here;
  }
  applyFilters();
}

// What is known of each row by labels, as marks beside its name.
function markLabels() {
  const show = (entry, found) => {
    if (!entry.item) return;
    const words = WORDS.filter((word) => found.some((label) => label.word === word));
    entry.marks.replaceChildren(...words.map((word) => h('span', { class: `mark ${word}`, title: `labelled ${word}` }, MARKS[word])));
    entry.marks.append(...(words.length ? [h('span', { class: 'unseen' }, ` labelled ${words.join(', ')}`)] : []));
  };
  for (const entry of lists.incidents) show(entry, labels.on.get(entry.line.id) ?? []);
  for (const entry of byRow) if (entry.marks?.childElementCount || labels.touching.has(entry.row)) show(entry, labels.touching.get(entry.row) ?? []);
}

// The filters as part of the page's address, and back.
const CHOICES = { kind: 'kind', labelled: 'label', time: 'time' };

function filterParams() {
  const params = [];
  if (tab !== defaultTab()) params.push(['tab', tab]);
  if ($('search').value) params.push(['find', $('search').value]);
  if ($('sort').value !== 'top') params.push(['sort', $('sort').value]);
  if ($('blamed').value) params.push(['flagged', /^\d+$/.test($('blamed').value) ? index.states[$('blamed').value] : $('blamed').value]);
  for (const [id, name] of Object.entries(CHOICES)) if ($(id).value) params.push([name, $(id).value]);
  for (const box of boxes()) {
    const field = index.fields[box.dataset.field];
    if (box.value !== '') params.push([`is.${field.name}`, field.values[box.value] ?? '']);
  }
  return params;
}

const defaultTab = () => (index.incidents.length ? 'incidents' : 'queues');

function choose(box, value) {
  box.value = value;
  if (box.selectedIndex < 0) box.value = '';
}

function setFilters(params) {
  $('search').value = params.get('find') ?? '';
  $('sort').value = params.get('sort') in ORDERS ? params.get('sort') : 'top';
  const blamed = params.get('flagged') ?? '';
  choose($('blamed'), index.states.includes(blamed) ? index.states.indexOf(blamed) : blamed);
  for (const [id, name] of Object.entries(CHOICES)) choose($(id), params.get(name) ?? '');
  const hidden = index.fields.slice(OPEN_FILTERS).some((field) => params.has(`is.${field.name}`));
  if (hidden) { fillMore(); $('more').open = true; }
  for (const box of boxes()) {
    const field = index.fields[box.dataset.field], value = params.get(`is.${field.name}`);
    choose(box, value === null ? '' : field.values.indexOf(value));
  }
}
