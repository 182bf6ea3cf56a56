// The list of queues: ranked, filtered, searched, each with a sparkline.

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
const SPARK_TOP = 30;
const OPEN_FILTERS = 5;

const rowOf = new Map(index.series.map((line, row) => [line.n, row]));
const lower = index.series.map((line) => line.n.toLowerCase());
const items = [];  // in the order of the list
let byRow = [];    // the same by row, that is by rank

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

function rowWords(line) {
  const worst = strongest(line.e.map(eventOf));
  if (worst === null) return [line.top === null ? 'not scored' : 'nothing flagged'];
  const where = h('b', { class: worst.direction > 0 ? 'high' : 'low' }, `${ARROWS[worst.direction] ?? ''} ${worst.state}`);
  return [where, worst.observed === null ? '' : ` ${count(worst.observed)} vs ${count(worst.expected)}`, `, ${duringWords(worst)}`];
}

function listRow(line, row) {
  const score = h('span', { class: line.f ? 'score flagged' : 'score' }, fixed(line.top));
  const ticks = h('span', { class: 'ticks', title: 'flagged ticks' }, line.f ? plural(line.f, 'tick') : '');
  const spark = h('span', { class: 'sparkbox' });
  const link = h('a', { class: 'row', href: `#queue=${encodeURIComponent(line.n)}`, tabindex: -1, 'data-row': row },
    h('span', { class: 'name', title: line.n }, line.n), spark, score, h('span', { class: 'line' }, h('span', { class: 'words', title: headline(line).join('') }, ...rowWords(line)), ticks));
  return { line, row, link, spark, item: h('li', {}, link), shown: true };
}

// Sparklines are drawn when their rows come into view: two thousand at once would delay the first plot.
const seen = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (!isIntersecting) continue;
    seen.unobserve(target);
    target.append(sparkline(index.series[target.parentElement.dataset.row].s));
  }
}, { rootMargin: '300px' });

function fillList() {
  index.series.forEach((line, row) => items.push(listRow(line, row)));
  $('list').append(...items.map((entry) => entry.item));
  byRow = [...items];
  items.forEach((entry) => seen.observe(entry.spark));
}

// A select box for a field; the counts say what a choice would leave.
function filterBox(field, k) {
  const counts = new Array(field.values.length + 1).fill(0);
  for (const line of index.series) counts[line.m[k] < 0 ? field.values.length : line.m[k]]++;
  const box = h('select', { 'data-field': k, id: `filter-${k}` }, h('option', { value: '' }, 'any'));
  field.values.map((value, code) => [value, code]).sort((a, b) => a[0].localeCompare(b[0], 'en', { numeric: true }))
    .forEach(([value, code]) => box.append(h('option', { value: code }, `${value} (${counts[code]})`)));
  if (counts.at(-1)) box.append(h('option', { value: -1 }, `not set (${counts.at(-1)})`));
  return h('label', {}, h('span', {}, field.name.replaceAll('_', ' ')), box);
}

const boxes = () => [...document.querySelectorAll('#filters select[data-field]')];

function fillMore() {
  if ($('more-boxes').childElementCount) return;
  $('more-boxes').append(...index.fields.slice(OPEN_FILTERS).map((field, k) => filterBox(field, k + OPEN_FILTERS)));
}

function fillFilters() {
  const open = index.fields.slice(0, OPEN_FILTERS).map(filterBox);
  const states = [...new Set(index.series.flatMap((line) => line.e.map((e) => e[3])))].sort((a, b) => a - b);
  const blamed = h('select', { id: 'blamed' }, h('option', { value: '' }, 'all queues'), h('option', { value: 'any' }, 'any state'),
    h('option', { value: 'now' }, 'at the end of the range'), ...states.map((s) => h('option', { value: s }, index.states[s] ?? 'unknown')));
  $('boxes').append(h('label', {}, h('span', {}, 'flagged'), blamed), ...open);
  $('more').hidden = index.fields.length <= OPEN_FILTERS;
  $('more').addEventListener('toggle', fillMore);
}

const flaggedAs = (line, choice) => choice === '' || (choice === 'any' && line.f > 0) ||
  (choice === 'now' && line.e.at(-1)?.[1] === index.ticks) || line.e.some((e) => String(e[3]) === choice);

function applyFilters() {
  const chosen = boxes().filter((box) => box.value !== '').map((box) => [Number(box.dataset.field), Number(box.value)]);
  const words = $('search').value.toLowerCase().split(/\s+/).filter(Boolean), blamed = $('blamed').value;
  for (const entry of items) {
    entry.shown = chosen.every(([k, code]) => entry.line.m[k] === code) && words.every((word) => lower[entry.row].includes(word)) && flaggedAs(entry.line, blamed);
    entry.item.hidden = !entry.shown;
  }
  const left = items.filter((entry) => entry.shown).length;
  $('count').textContent = left === items.length ? plural(left, 'queue') : `${plural(left, 'queue')} of ${items.length}`;
  $('clear').hidden = !chosen.length && !words.length && blamed === '';
}

const ORDERS = {
  top: (a, b) => a.row - b.row,
  flagged: (a, b) => b.line.f - a.line.f || a.row - b.row,
  newest: (a, b) => (b.line.e.at(-1)?.[0] ?? -1) - (a.line.e.at(-1)?.[0] ?? -1) || a.row - b.row,
  name: (a, b) => a.line.n.localeCompare(b.line.n, 'en', { numeric: true }),
};

function sortList() {
  items.sort(ORDERS[$('sort').value]);
  $('list').append(...items.map((entry) => entry.item));
}

// The filters as part of the page's address, and back.
function filterParams() {
  const params = [];
  if ($('search').value) params.push(['find', $('search').value]);
  if ($('sort').value !== 'top') params.push(['sort', $('sort').value]);
  if ($('blamed').value) params.push(['flagged', /^\d+$/.test($('blamed').value) ? index.states[$('blamed').value] : $('blamed').value]);
  for (const box of boxes()) {
    const field = index.fields[box.dataset.field];
    if (box.value !== '') params.push([`is.${field.name}`, field.values[box.value] ?? '']);
  }
  return params;
}

function setFilters(params) {
  $('search').value = params.get('find') ?? '';
  $('sort').value = params.get('sort') in ORDERS ? params.get('sort') : 'top';
  const blamed = params.get('flagged') ?? '';
  $('blamed').value = ['any', 'now', ''].includes(blamed) ? blamed : index.states.indexOf(blamed);
  if ($('blamed').selectedIndex < 0) $('blamed').value = '';
  const hidden = index.fields.slice(OPEN_FILTERS).some((field) => params.has(`is.${field.name}`));
  if (hidden) { fillMore(); $('more').open = true; }
  for (const box of boxes()) {
    const field = index.fields[box.dataset.field], value = params.get(`is.${field.name}`);
    box.value = value === null ? '' : field.values.indexOf(value);
    if (box.selectedIndex < 0) box.value = '';
  }
}
