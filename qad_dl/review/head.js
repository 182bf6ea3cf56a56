// What stands above the plots: the name of the incident or the queue, what happened in a sentence, its metadata, its queues.

const scoreWords = (line) => (line.f ? `Highest score ${fixed(line.top)}, threshold ${fixed(thresholdOf(line))}; ${plural(line.f, 'flagged tick')} in ${plural(line.e.length, 'event')}.` : '');

const DOWNTIMES = 3;

// The declared downtimes of a queue, for those who do not see the stripes.
function downtimeWords({ d }) {
  const listed = d.slice(0, DOWNTIMES).map(([from, to, what]) => `${what}, ${span(from, to)} UTC`).join('; ');
  return d.length ? `Downtime: ${listed}${d.length > DOWNTIMES ? ` and ${d.length - DOWNTIMES} more` : ''}.` : '';
}

const newStates = (rows) => Object.entries(index.strange).filter(([, having]) => rows.some((row) => having.includes(row))).map(([state]) => state);

// What the bundle was not trained on, of a queue or of those of an incident: what it says of that is worth less.
function unknownWords(rows) {
  const unknown = rows.filter((row) => index.series[row].nw), states = newStates(rows), found = [];
  const listed = unknown.slice(0, 5).map((row) => index.series[row].n).join(', ') + (unknown.length > 5 ? ` and ${unknown.length - 5} more` : '');
  if (unknown.length && rows.length === 1) found.push('New to the bundle: it is scored as its group is, which is less sure.');
  else if (unknown.length) found.push(`New to the bundle, and scored as their group is: ${listed}.`);
  if (states.length) found.push(`New to the bundle, not drawn and without a say in the score: jobs in ${states.length > 1 ? 'the states' : 'state'} ${states.join(', ')}.`);
  return found.join(' ');
}

// Above the plots of an incident whose label is among the first that are asked for: which one, and why.
function fillTeach() {
  const incident = shown?.view.incident ?? null, place = incident ? placeToTeach(incident) : Infinity;
  $('teach').hidden = place >= OFFERED;
  if (place < OFFERED) $('teach').replaceChildren(h('b', {}, `A label here would teach ${place ? `(${place + 1} of ${Math.min(OFFERED, teach().order.length)})` : 'most'}: `), `${teach().why.get(incident.id)}.`);
}

function unscoredWords({ status }) {
  const counts = new Map();
  for (const s of status) if (s & (REASON | UNKNOWN)) counts.set(reasonWords(s), (counts.get(reasonWords(s)) ?? 0) + 1);
  const total = [...counts.values()].reduce((a, b) => a + b, 0);
  if (!total) return '';
  const parts = [...counts].sort((a, b) => b[1] - a[1]).map(([words, n]) => `${words} (${n})`);
  return `${plural(total, 'tick')} of ${index.ticks} without a score: ${parts.join(', ')}.`;
}

const valuesOf = (line) => index.fields.map((field, k) => [field.name, field.values[line.m[k]]]).filter(([, value]) => value !== undefined);
const tagItem = ([name, value]) => h('li', {}, h('span', {}, `${fieldWords(name)} `), value);

const linkTo = (view, text, more = {}, ...further) => h('a', { href: `#${new URLSearchParams(viewParams(view))}`, 'data-view': '', ...more }, text, ...further);

function fillQueueHead(row) {
  const line = index.series[row], [told, quiet] = headline(line), worst = strongest(line.e.map(eventOf));
  $('name').textContent = line.n;
  $('headline').replaceChildren(h('strong', { class: worst ? sense(worst.direction) : 'calm' }, told), quiet);
  $('tags').replaceChildren(...valuesOf(line).slice(0, 8).map(tagItem));
  $('events').replaceChildren(...line.e.map(eventOf).map(eventButton));
  $('events').hidden = !line.e.length;
  $('members').hidden = true;
}

function fillIncidentHead(line) {
  const [told, quiet] = incidentHeadline(line);
  $('name').textContent = incidentName(line);
  $('headline').replaceChildren(h('strong', { class: sense(line.w[1]) }, told), quiet);
  const shared = valuesOf(index.series[line.q[0]]).filter(([name, value]) => line.q.every((row) => {
    const at = index.fields.findIndex((field) => field.name === name);
    return index.fields[at].values[index.series[row].m[at]] === value;
  }));
  $('tags').replaceChildren(...shared.slice(0, 8).map(tagItem));
  $('events').replaceChildren();
  $('events').hidden = true;
  $('members').hidden = line.q.length === 1;
  $('members').replaceChildren(...(line.q.length === 1 ? [] : line.q.map((row) => memberItem(line, row))));
}

function memberItem(incident, row) {
  const line = index.series[row], { from, to } = incidentTimes(incident);
  const during = strongest(line.e.map(eventOf).filter((e) => overlap(e.from, e.to, from, to)));
  const spark = h('span', { class: 'sparkbox', 'data-spark': line.s });
  seen.observe(spark);
  const words = h('span', { class: 'words' }, ...(during ? [loud(during.state, during.direction), ` ${fixed(during.score)}`] : ['weak evidence']));
  const who = h('span', { class: 'who' }, h('span', { class: 'name' }, line.n), line.nw ? newMark() : null);
  return h('li', {}, linkTo({ incident, row }, who, { class: 'member', 'data-row': row }, spark, words));
}

// The way back from a queue to its incident, and from a queue to the incidents that it is in.
function fillCrumb({ incident, row }) {
  const found = row === null ? [] : (incidentsOfRow.get(row) ?? []).filter((line) => line !== incident);
  const back = incident && row !== null ? ['in incident ', linkTo({ incident, row: null }, incidentName(incident)), incident.q.length > 1 ? ` (${sizeWords(incident)})` : ''] : incident ? [`incident ${incident.id}`] : [];
  const others = found.flatMap((line, k) => [k || back.length ? ' · ' : '', `${back.length ? 'also ' : ''}in incident `, linkTo({ incident: line, row: null }, `${incidentName(line)}, ${moment(times[line.a])}`)]);
  $('crumb').replaceChildren(...back, ...others);
  $('crumb').hidden = !back.length && !others.length;
}

function fillHead(view) {
  const { incident, row } = view;
  fillCrumb(view);
  if (row !== null) fillQueueHead(row);
  else fillIncidentHead(incident);
  const { left, here, of } = whereabouts();
  $('rank').textContent = here < 0 ? '' : `${here + 1} of ${left.length}${of ? ' in the incident' : ''}`;
  $('notes').textContent = '';
  $('label-form').hidden = true;
  document.title = `${$('name').textContent} · ${index.title}`;
}

function eventButton(e, k) {
  const text = h('span', {}, loud(e.state, e.direction), ` ${duringWords(e)}`, h('i', {}, ` ${fixed(e.score)}`));
  const button = h('button', { type: 'button', 'data-event': k, title: `${jobsWords(e)}; score ${fixed(e.score)}${e.kind ? `; likely ${kindWords(e.kind)}` : ''}` }, text);
  button.addEventListener('click', () => toEvent(k));
  return button;
}

async function fillMetadata(row) {
  $('about').hidden = row === null;
  if (row === null) return;
  const packedRest = (await restOfMetadata())[row];
  if (shown?.view.row !== row) return;
  const all = Object.entries({ ...Object.fromEntries(valuesOf(index.series[row])), ...packedRest, ...index.common }).sort((a, b) => a[0].localeCompare(b[0]));
  $('metadata').replaceChildren(...all.flatMap(([name, value]) => [h('dt', {}, name), h('dd', {}, value)]));
  $('about').hidden = !all.length;
}
