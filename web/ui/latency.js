// How long an answer took, stage by stage. In: turn events. Out: a waterfall of the last turn and the totals before it.

import { h } from './dom.js';

const SVG = 'http://www.w3.org/2000/svg';
const KEPT = 6;
/** @type {Record<string, string>} */
const STAGES = {
  transcript: 'Transcript',
  llm_first_token: 'First word',
  tts_first_sound: 'First sound',
  picture_released: 'First picture',
  packet_sent: 'Sent',
};

export class Latency {
  element = h('div', { class: 'latency' });

  /** @type {import('../client.js').Turn[]} */
  #turns = [];

  /** @param {import('../client.js').AvatarClient} client */
  constructor(client) {
    client.on('turn', (turn) => {
      this.#turns = [turn, ...this.#turns.filter((other) => other.id !== turn.id)].slice(0, KEPT);
      this.#draw();
    });
    this.#draw();
  }

  #draw() {
    const [last, ...before] = this.#turns;
    if (!last) {
      this.element.replaceChildren(h('p', { class: 'fine' }, 'Measured from the end of what you say to the first sound of the answer.'));
      return;
    }
    let fromMs = 0;
    const rows = last.stages.map(({ name, ms }) => {
      const row = h('tr', {}, h('th', { scope: 'row' }, STAGES[name] ?? name), h('td', {}, bar(fromMs, ms, last.total_ms)), h('td', { class: 'ms' }, `${Math.round(ms)} ms`));
      fromMs += ms;
      return row;
    });
    const total = h('tr', { class: 'total' }, h('th', { scope: 'row' }, 'Together'), h('td'), h('td', { class: 'ms' }, `${Math.round(last.total_ms)} ms`));
    this.element.replaceChildren(
      h('table', {}, h('caption', { class: 'unseen' }, 'The last answer, stage by stage'), h('tbody', {}, ...rows, total)),
      ...(before.length ? [h('p', { class: 'fine' }, `Before: ${before.map((turn) => Math.round(turn.total_ms)).join(', ')} ms`)] : []),
    );
  }
}

/**
 * @param {number} fromMs
 * @param {number} ms
 * @param {number} totalMs
 */
function bar(fromMs, ms, totalMs) {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', '0 0 100 8');
  svg.setAttribute('preserveAspectRatio', 'none');
  svg.setAttribute('aria-hidden', 'true');
  const rect = document.createElementNS(SVG, 'rect');
  const scale = totalMs > 0 ? 100 / totalMs : 0;
  const widths = { x: fromMs * scale, y: 1, width: Math.max(1.2, ms * scale), height: 6 };
  for (const [name, value] of Object.entries(widths)) rect.setAttribute(name, String(value));
  svg.append(rect);
  return svg;
}
