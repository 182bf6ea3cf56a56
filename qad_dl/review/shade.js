// What lies behind and around the lines: colours, regions in time, the band of what was expected.

function theme() {
  const style = getComputedStyle(document.documentElement);
  const of = (name) => style.getPropertyValue(`--${name}`).trim();
  return Object.fromEntries(['ink', 'muted', 'grid', 'model', 'flag', 'low', 'quiet', 'paper', 'hour', 'quarter', 'daily', 'past'].map((name) => [name, of(name)]));
}

function faded(colour, alpha) {
  const n = parseInt(colour.slice(1), 16);
  return `rgba(${n >> 16}, ${(n >> 8) & 255}, ${n & 255}, ${alpha})`;
}

// Runs of ticks for which `holds`, as [from, to] in seconds, each tick half a step wide to both sides.
function runs(holds) {
  const found = [];
  for (let t = 0, start = null; t <= index.ticks; t++) {
    const inside = t < index.ticks && holds(t);
    if (inside && start === null) start = t;
    if (!inside && start !== null) { found.push([times[start] - index.step / 2, times[t - 1] + index.step / 2, start]); start = null; }
  }
  return found;
}

// The regions of a queue, the lowest layer first: no score, a fall expected, flagged.
function regionsOf({ status, downtimes, events, members }) {
  const half = index.step / 2;
  const same = (t, s) => (status[t] & (REASON | UNKNOWN)) === s;
  const unscored = [...new Set(Array.from(status, (s) => s & (REASON | UNKNOWN)))].filter((s) => s)
    .flatMap((s) => runs((t) => same(t, s)).map(([from, to]) => ({ kind: 'gap', from, to, text: reasonWords(s) })));
  const declaredDown = downtimes.map(([from, to, what]) => ({ kind: 'downtime', from, to, text: `downtime: ${what}` }));
  const declared = (from, to) => downtimes.some((d) => d[0] < to && d[1] > from);
  const expected = runs((t) => status[t] & EXPECTED).map(([from, to]) => ({ kind: 'quiet', from, to, text: declared(from, to) ? '' : 'fall expected' }));
  const flagged = events.map((e) => ({ kind: 'flag', from: e.from - half, to: e.to - half, text: '' }));
  const together = members ? runs((t) => status[t] & FLAGGED).map(([from, to]) => ({ kind: 'flag', from, to, text: '' })) : [];
  return [...unscored, ...expected, ...declaredDown, ...flagged, ...together];
}

const hatches = new Map();

// Diagonal stripes: told apart from a plain fill without seeing colour.
function hatch(context, colour) {
  const key = `${colour}${devicePixelRatio}`;
  if (!hatches.has(key)) {
    const tile = document.createElement('canvas'), size = Math.round(7 * devicePixelRatio);
    tile.width = tile.height = size;
    const pen = tile.getContext('2d');
    pen.strokeStyle = colour;
    pen.lineWidth = devicePixelRatio;
    for (const shift of [-size, 0, size]) { pen.moveTo(shift, size); pen.lineTo(shift + size, 0); }
    pen.stroke();
    hatches.set(key, context.createPattern(tile, 'repeat'));
  }
  return hatches.get(key);
}

function inside(u, draw) {
  const { left, top, width, height } = u.bbox;
  u.ctx.save();
  u.ctx.beginPath();
  u.ctx.rect(left, top, width, height);
  u.ctx.clip();
  draw(u.ctx, left, top, width, height);
  u.ctx.restore();
}

function drawRegions(u, regions, colours) {
  inside(u, (pen, left, top, width, height) => {
    for (const { kind, from, to } of regions) {
      const x0 = u.valToPos(from, 'x', true), x1 = Math.max(u.valToPos(to, 'x', true), x0 + 1);
      if (x1 < left || x0 > left + width) continue;
      pen.fillStyle = { gap: faded(colours.muted, 0.16), flag: faded(colours.flag, 0.14), quiet: faded(colours.quiet, 0.1), downtime: faded(colours.quiet, 0.1) }[kind];
      pen.fillRect(x0, top, x1 - x0, height);
      if (kind === 'downtime') { pen.fillStyle = hatch(pen, faded(colours.quiet, 0.42)); pen.fillRect(x0, top, x1 - x0, height); }
    }
  });
}

// Names of regions where there is room for them.
function nameRegions(u, regions, colours) {
  inside(u, (pen, left, top, width) => {
    pen.font = `${10.5 * devicePixelRatio}px system-ui, sans-serif`;
    pen.textBaseline = 'top';
    pen.textAlign = 'left';
    for (const { kind, text, from, to } of regions) {
      const x0 = Math.max(left, u.valToPos(from, 'x', true)), x1 = Math.min(left + width, u.valToPos(to, 'x', true));
      const room = pen.measureText(text).width + 8 * devicePixelRatio;
      if (!text || x1 - x0 < room) continue;
      const y = top + 3 * devicePixelRatio;
      pen.fillStyle = faded(colours.paper, 0.8);
      pen.fillRect(x0 + 2 * devicePixelRatio, y - devicePixelRatio, room - 2 * devicePixelRatio, 13 * devicePixelRatio);
      pen.fillStyle = kind === 'gap' ? colours.muted : colours.quiet;
      pen.fillText(text, x0 + 4 * devicePixelRatio, y);
    }
  });
}

// The band between lower and upper, broken where either is missing.
function drawBand(u, lower, upper, colour) {
  inside(u, (pen) => {
    pen.fillStyle = faded(colour, 0.22);
    for (const [, , start] of runs((t) => lower[t] !== null)) {
      let end = start;
      pen.beginPath();
      for (; end < index.ticks && lower[end] !== null; end++) pen.lineTo(u.valToPos(times[end], 'x', true), u.valToPos(upper[end], 'y', true));
      for (let t = end - 1; t >= start; t--) pen.lineTo(u.valToPos(times[t], 'x', true), u.valToPos(lower[t], 'y', true));
      pen.fill();
    }
  });
}

function drawThreshold(u, colours, threshold) {
  inside(u, (pen, left, top, width) => {
    const y = Math.round(u.valToPos(threshold, 'y', true));
    pen.strokeStyle = colours.flag;
    pen.lineWidth = devicePixelRatio;
    pen.setLineDash([6 * devicePixelRatio, 4 * devicePixelRatio]);
    pen.beginPath();
    pen.moveTo(left, y);
    pen.lineTo(left + width, y);
    pen.stroke();
  });
}

// Rows of cells: orange where high, blue where low, the stronger the fuller; low cells leave a margin, so that the two
// can be told apart without colour.
function drawHeat(u, rows, colours) {
  inside(u, (pen, left, top, width) => {
    const tall = Math.abs(u.valToPos(1, 'y', true) - u.valToPos(0, 'y', true));
    const wide = u.valToPos(index.step, 'x', true) - u.valToPos(0, 'x', true);
    rows.forEach((row, j) => {
      const y = u.valToPos(j, 'y', true) - tall / 2;
      for (let t = 0; t < index.ticks; t++) {
        const strength = row.cell(t);
        if (!(Math.abs(strength) >= 0.1)) continue;
        const x = Math.floor(u.valToPos(times[t], 'x', true) - wide / 2);
        if (x + wide < left || x > left + width) continue;
        const margin = strength < 0 ? Math.max(1, tall * 0.22) : 1;
        pen.fillStyle = faded(strength > 0 ? colours.flag : colours.low, Math.abs(strength));
        pen.fillRect(x, y + margin, Math.ceil(wide), tall - 2 * margin);
      }
    });
  });
}

const LANE_STYLES = { incident: ['flag', 0.55, false], problem: ['flag', 0.9, false], expected: ['hour', 0.8, false], unsure: ['muted', 0.6, true] };

// Bars in lanes, each with its words where there is room for them.
function drawLanes(u, lanes, colours) {
  inside(u, (pen, left, top, width) => {
    const tall = Math.abs(u.valToPos(1, 'y', true) - u.valToPos(0, 'y', true)), dot = devicePixelRatio;
    pen.font = `${10.5 * dot}px system-ui, sans-serif`;
    pen.textBaseline = 'middle';
    lanes.forEach((lane, j) => {
      const y = u.valToPos(j, 'y', true) - tall / 2 + 2 * dot, high = tall - 4 * dot;
      for (const bar of lane.bars) {
        const x0 = Math.max(left, u.valToPos(bar.from - index.step / 2, 'x', true)), x1 = Math.min(left + width, u.valToPos(Math.min(bar.to, FULL[1] + index.step) - index.step / 2, 'x', true));
        if (x1 <= x0) continue;
        const [colour, alpha, striped] = LANE_STYLES[bar.style];
        pen.fillStyle = striped ? hatch(pen, colours[colour]) : faded(colours[colour], alpha);
        pen.fillRect(x0, y, Math.max(x1 - x0, 2 * dot), high);
        const room = pen.measureText(bar.short).width + 8 * dot;
        const at = x1 - x0 > room ? x0 + 4 * dot : x1 + 4 * dot;
        if (at + room > left + width && at > x1) continue;
        if (at < x1) { pen.fillStyle = faded(colours.paper, 0.86); pen.fillRect(at - 2 * dot, y + dot, room - 4 * dot, high - 2 * dot); }
        pen.fillStyle = colours.ink;
        pen.textAlign = 'left';
        pen.fillText(bar.short, at, y + high / 2);
      }
    });
  });
}
