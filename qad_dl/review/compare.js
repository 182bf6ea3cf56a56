// A queue beside the others of its site, cloud or harvester: who else was wrong at the same time.

const MOST_OTHERS = 40;
const COMPARED_FIRST = ['atlas_site', 'cloud', 'harvester'];

let dropOthers = null;  // takes the panel of the others away

// The fields in which a queue has others beside it, with how many.
function comparable(row) {
  const { m } = index.series[row];
  const found = index.fields.map((field, k) => ({ field: field.name, k, value: field.values[m[k]], size: m[k] < 0 ? 0 : index.series.filter((line) => line.m[k] === m[k]).length }));
  const rank = ({ field }) => (COMPARED_FIRST.includes(field) ? COMPARED_FIRST.indexOf(field) : COMPARED_FIRST.length);
  return found.filter(({ size }) => size > 1).sort((a, b) => rank(a) - rank(b));
}

function fillCompare(view) {
  $('compare-box').hidden = view.row === null;
  if (view.row === null) return;
  const options = comparable(view.row).map(({ field, value, size }) => h('option', { value: field }, `${fieldWords(field)} ${value} (${size - 1} more)`));
  $('compare').replaceChildren(h('option', { value: '' }, 'nothing'), ...options);
  choose($('compare'), wishes.compare);
  $('compare-box').hidden = !options.length;
  choose($('cell'), wishes.cell);
}

function fillCells() {
  const states = index.states.map((state) => h('option', { value: state }, `${state}: error`));
  $('cell').replaceChildren(h('option', { value: 'score' }, 'score'), ...states);
}

// Draw the others under the plots of the queue; they share its cursor and its range.
async function showOthers() {
  dropOthers?.();
  dropOthers = null;
  const here = shown, field = index.fields.findIndex((f) => f.name === wishes.compare);
  $('others').hidden = !here || here.view.row === null || field < 0 || index.series[here.view.row].m[field] < 0;
  if ($('others').hidden) return;
  const row = here.view.row, code = index.series[row].m[field];
  const all = byRow.filter((entry) => entry.line.m[field] === code && entry.row !== row).map((entry) => entry.row);
  const rows = [row, ...all.slice(0, MOST_OTHERS - 1)];
  $('others-title').textContent = `${fieldWords(wishes.compare)} ${index.fields[field].values[code]}: this queue and ${rows.length - 1 < all.length ? `the ${rows.length - 1} with the highest scores of ${all.length} others` : plural(all.length, 'other')}`;
  $('others-list').replaceChildren(...rows.slice(1).map((other) => h('li', {}, linkTo({ incident: null, row: other }, index.series[other].n), ` ${fixed(index.series[other].top)}`)));
  const queues = [];
  for (const other of rows) queues.push(await unpack(other));
  if (shown !== here || dropOthers) return;
  $('others-plot').replaceChildren();
  const title = wishes.cell === 'score' ? 'score by queue' : `${wishes.cell}: error by queue`;
  dropOthers = here.plots.add($('others-plot'), membersSpec({ members: queues }, here.plots.stack, (other) => go({ incident: null, row: other }), wishes.cell, title));
  $('others').dataset.drawn = `${row} ${wishes.compare} ${wishes.cell}`;
}
