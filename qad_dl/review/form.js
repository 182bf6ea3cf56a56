// Saying whether it was right: with one key, or in detail; and what was said, by whom, with its history.

const isoSecond = (s) => new Date(s * 1000).toISOString().slice(0, 19) + 'Z';
const forInput = (s) => new Date(s * 1000).toISOString().slice(0, 16);

let editing = null;  // the label that the form changes; null for a new one

const incidentTarget = (line) => {
  const { from, to, ongoing } = incidentTimes(line), one = line.f === 'panda_queue' || !line.f;
  return {
    type: 'incident', incident: line.id, field: one ? null : line.f, value: one ? null : line.v,
    queues: [...new Set(line.q.map((row) => queueName(index.series[row])))].sort(), start: isoSecond(from), end: ongoing ? null : isoSecond(to),
  };
};

// The range that a word on a queue is about: the event that was chosen, else the strongest in sight, else what is in sight.
function subjectRange() {
  const all = shown.view.row === null ? [] : index.series[shown.view.row].e.map(eventOf), [from, to] = shown.plots.range();
  const chosen = all[shown.event] ?? strongest(all.filter((e) => overlap(e.from, e.to, from, to)));
  return chosen ? [chosen.from, chosen.to] : [Math.ceil(from / index.step) * index.step, Math.ceil(to / index.step) * index.step];
}

function queueTarget(row, [from, to]) {
  return { type: 'queue', panda_queue: queueName(index.series[row]), start: isoSecond(from), end: isoSecond(to) };
}

// What one key labels: the incident, or a queue over the range of its event.
const subject = () => (shown.view.incident && (shown.view.row === null || shown.view.incident.q.length === 1) ? incidentTarget(shown.view.incident) : queueTarget(shown.view.row, subjectRange()));

function targetWords(target) {
  const end = target.end === null ? 'going on' : moment(seconds(target.end)), when = `${moment(seconds(target.start))} – ${end}`;
  if (target.type === 'queue') return `${target.panda_queue}, ${when}`;
  if (target.type === 'group') return `all with ${fieldWords(target.field)} ${target.value}, ${when}`;
  return `incident ${target.field ? `${fieldWords(target.field)} ${target.value}` : target.queues.join(', ')}, ${when}`;
}

const sameTarget = (a, b) => (a.type === 'incident' && b.type === 'incident' ? a.incident === b.incident : JSON.stringify(a) === JSON.stringify(b));
const ownOn = (target) => labels.known.find((label) => label.author === labels.author() && sameTarget(label.target, target));

function needsAuthor() {
  if (labels.author()) return false;
  said('Write your name first: a label without one is worth nothing.');
  $('author').focus();
  return true;
}

function labelAtOnce(word) {
  if (!shown || needsAuthor()) return;
  const target = subject(), own = ownOn(target);
  putAndNote({ target, word, kind: own?.kind ?? (word === 'problem' ? shown.view.incident?.k ?? null : null), comment: own?.comment ?? '' }, own?.label);
  said(`Labelled ${word}: ${targetWords(target)}. z takes it back.`);
}

// --- the form -----------------------------------------------------------------------------------------------------

// What can be labelled from here: [key, words, target of a range].
function choices() {
  const { incident, row } = shown.view, found = [];
  if (incident) found.push(['incident', `this incident: ${incidentName(incident)}`, () => incidentTarget(incident)]);
  if (row !== null) found.push(['queue', `this queue: ${index.series[row].n}`, (range) => queueTarget(row, range)]);
  const group = (field, value) => found.push([`group:${field}`, `all queues with ${fieldWords(field)} ${value}`, ([from, to]) => ({ type: 'group', field, value, start: isoSecond(from), end: isoSecond(to) })]);
  if (incident && incident.f && incident.f !== 'panda_queue') group(incident.f, incident.v);
  const here = row ?? incident.q[0];
  for (const [field, value] of valuesOf(index.series[here])) if (!(incident && incident.f === field) && (row !== null || sharedBy(incident, field))) group(field, value);
  return found;
}

const sharedBy = (incident, field) => {
  const k = index.fields.findIndex((f) => f.name === field);
  return incident.q.every((row) => index.series[row].m[k] === index.series[incident.q[0]].m[k]);
};

function openForm(label = null) {
  if (!shown) return;
  editing = label;
  const target = label?.target ?? subject(), all = choices(), known = label ?? ownOn(target);
  $('label-target').replaceChildren(...all.map(([value, words]) => h('option', { value }, words)));
  if (label) $('label-target').replaceChildren(h('option', { value: 'as it is' }, targetWords(label.target)), ...$('label-target').children);
  else $('label-target').value = target.type === 'group' ? `group:${target.field}` : target.type;
  const [from, to] = rangeOfTarget(target);
  $('label-from').value = forInput(from);
  $('label-to').value = Number.isFinite(to) ? forInput(to) : '';
  $('label-word').value = known?.word ?? 'problem';
  $('label-kind').value = known ? known.kind ?? '' : shown.view.incident?.k ?? '';
  $('label-comment').value = known?.comment ?? '';
  $('label-problem').textContent = '';
  $('label-form').hidden = false;
  $('label-open').setAttribute('aria-expanded', 'true');
  targetChosen();
  $('label-word').focus();
}

function closeForm() {
  $('label-form').hidden = true;
  $('label-open').setAttribute('aria-expanded', 'false');
  $('label-open').focus();
}

// The time of an incident is its own; that of a queue or group can be set.
function targetChosen() {
  const chosen = $('label-target').value, fixedRange = chosen === 'incident' || (chosen === 'as it is' && editing?.target.type === 'incident');
  for (const id of ['label-from', 'label-to']) $(id).disabled = fixedRange;
  if (!fixedRange && !$('label-to').value) $('label-to').value = forInput(times.at(-1) + index.step);
}

// The target that the form says; a text where it says none.
function formTarget() {
  const chosen = $('label-target').value, [from, to] = ['label-from', 'label-to'].map((id) => Date.parse(`${$(id).value}:00Z`.replace(/:00:00Z$/, ':00Z')) / 1000);
  if (chosen === 'incident') return incidentTarget(shown.view.incident);
  if (chosen === 'as it is' && editing.target.type === 'incident') return editing.target;
  if (!Number.isFinite(from) || !Number.isFinite(to)) return 'Give both times.';
  if (from >= to) return 'The time ends before it begins.';
  if (chosen === 'as it is') return { ...editing.target, start: isoSecond(from), end: isoSecond(to) };
  return choices().find(([value]) => value === chosen)[2]([from, to]);
}

function saveForm(event) {
  event.preventDefault();
  if (needsAuthor()) return;
  const target = formTarget();
  if (typeof target === 'string') { $('label-problem').textContent = target; return; }
  putAndNote({ target, word: $('label-word').value, kind: $('label-kind').value || null, comment: $('label-comment').value.trim() }, (editing ?? ownOn(target))?.label);
  closeForm();
  said(`Saved: ${$('label-word').value}, ${targetWords(target)}.`);
}

// --- what was said ------------------------------------------------------------------------------------------------

const labelsHere = () => {
  const { incident, row } = shown.view;
  return [...new Set([...(incident ? labels.on.get(incident.id) ?? [] : []), ...(row !== null ? labels.touching.get(row) ?? [] : [])])];
};

const goneHere = () => {
  const { incident, row } = shown.view;
  return labels.gone.filter((label) => (incident && isOn(label, incident)) || (row !== null && rowsOf(label).includes(row)));
};

const when = (text) => moment(seconds(text));

function eventWords(event) {
  if (event.op === 'undo') return `${when(event.time)} ${event.author}: taken back`;
  return `${when(event.time)} ${event.author}: ${event.word}${event.kind ? `, ${kindWords(event.kind)}` : ''}${event.comment ? `, “${event.comment}”` : ''}`;
}

const historyOf = (label) => h('ol', {}, ...label.history.map((event) => h('li', {}, eventWords(event))));

// Lists of labels are made anew each time the server answers; what the reader has unfolded, and where the focus is, stays.
function fillList(list, items) {
  const parts = (item) => [...item.querySelectorAll('button, summary')];
  const from = document.activeElement?.closest('[data-label]');
  const focus = from && list.contains(from) ? [from.dataset.label, parts(from).indexOf(document.activeElement)] : null;
  const open = new Set([...list.querySelectorAll('details[open]')].map((part) => part.closest('[data-label]').dataset.label));
  list.replaceChildren(...items);
  for (const item of items) {
    for (const part of item.querySelectorAll('details')) part.open = open.has(item.dataset.label);
    if (focus && focus[0] === item.dataset.label) parts(item)[focus[1]]?.focus({ preventScroll: true });
  }
}

// Labels that were taken back, folded away: what was said, by whom, when, and how it ended.
function fillGone() {
  const found = goneHere();
  const back = (label) => button('bring back', 'Say it again', () => { putAndNote(draftOf(label), label.label); said(`Labelled ${label.word} again.`); });
  $('gone').hidden = !found.length;
  $('gone-count').textContent = `${plural(found.length, 'label was', 'labels were')} taken back`;
  fillList($('gone-list'), found.map((label) => h('li', { 'data-label': label.label },
    h('b', {}, `${label.word}${label.kind ? `, ${kindWords(label.kind)}` : ''}`), ` ${targetWords(label.target)} `,
    label.history[0].author === labels.author() ? back(label) : null, historyOf(label))));
}

function labelItem(label) {
  const own = label.author === labels.author();
  const history = label.history.length > 1 ? h('details', {}, h('summary', {}, `${label.history.length} entries`), historyOf(label)) : null;
  return h('li', { 'data-label': label.label },
    h('span', { class: `mark ${label.word}` }, MARKS[label.word]), h('b', {}, `${label.word}${label.kind ? `, ${kindWords(label.kind)}` : ''}`),
    h('span', { class: 'by' }, ` ${label.author}, ${when(label.time)}`), label.comment ? h('q', {}, label.comment) : '', h('span', { class: 'on' }, targetWords(label.target)),
    own ? button('change', 'Change this label', () => openForm(label)) : null,
    own ? button('take back', 'Take this label back', () => { takeBackAndNote(label.label); said('Taken back. z brings it back.'); }) : null, history);
}

function fillLabels() {
  $('sync').textContent = syncWords();
  $('labels').classList.toggle('named', Boolean(labels.author()));
  $('sync').classList.toggle('trouble', (labels.away || labels.trouble) !== '');
  if (!shown) return;
  fillList($('label-list'), labelsHere().map(labelItem));
  fillGone();
  fillSubject();
}

function fillSubject() {
  if (!shown) return;
  const { type, start, end } = subject();
  $('subject').textContent = `this ${type}, ${moment(seconds(start))} – ${end === null ? 'going on' : moment(seconds(end))}`;
}

// The lanes of the plots: the incidents that the view is in, and a lane for each word.
function lanesOf({ incident, row }) {
  const incidents = row === null ? [incident] : incidentsOfRow.get(row) ?? [];
  const bars = incidents.map((line) => ({ ...incidentTimes(line), style: 'incident', short: kindWords(line.k), text: `incident ${incidentName(line)}, ${kindWords(line.k)}` }));
  const lanes = bars.length ? [{ name: 'incident', bars }] : [];
  const found = [...new Set([...(incident && row === null ? labels.on.get(incident.id) ?? [] : []), ...(row !== null ? labels.touching.get(row) ?? [] : [])])];
  for (const word of WORDS) {
    const mine = found.filter((label) => label.word === word).map((label) => {
      const [from, to] = rangeOfTarget(label.target);
      return { from, to, style: word, short: `${MARKS[word]} ${label.author}`, text: `${word}, ${label.author}` };
    });
    if (mine.length) lanes.push({ name: word, bars: mine });
  }
  return lanes;
}

function fillForm() {
  for (const id of ['label-from', 'label-to']) $(id).step = index.step;
  $('label-kind').append(...index.kinds.map((kind) => h('option', { value: kind }, kindWords(kind))));
  $('author').value = meta('qad-author') || recall('qad-author') || '';
  $('author').disabled = Boolean(meta('qad-author'));
  $('author').addEventListener('change', () => { remember('qad-author', labels.author()); sortAgain(); applyFilters(); fillLabels(); fillTeach(); });
  document.querySelectorAll('button[data-word]').forEach((button) => button.addEventListener('click', () => labelAtOnce(button.dataset.word)));
  const clicks = { 'label-open': () => ($('label-form').hidden ? openForm() : closeForm()), 'label-cancel': closeForm, export: saveFile, import: () => $('import-file').click() };
  for (const [id, action] of Object.entries(clicks)) $(id).addEventListener('click', action);
  $('import').hidden = live;  // through the server everybody writes under their own name; `qad labels import` takes files
  $('label-form').addEventListener('submit', saveForm);
  $('label-target').addEventListener('change', targetChosen);
  $('import-file').addEventListener('change', async () => {
    const [file] = $('import-file').files;
    if (!file) return;
    const fault = importText(await file.text());
    if (fault) said(`${file.name} ${fault}. Nothing of it was taken.`);
    $('import-file').value = '';
  });
  $('where-labels').textContent = live ? 'Labels are kept by the server.' : 'Labels are kept in this browser until you export them.';
}
