// What stands behind the conversation: how it listens, what is running and why, how long the last answers took, the
// shortcuts, and what this is. In: a client's events. Out: one view; the half-duplex switch goes back to the client.

import { h } from './dom.js';
import { SHORTCUTS } from './keyboard.js';
import { Latency } from './latency.js';

/** @typedef {import('../client.js').AvatarClient} AvatarClient */

/** @type {Record<string, string>} */
const PARTS = {
  renderer: 'Face',
  llm: 'Answers',
  tts: 'Voice',
  stt: 'Hearing',
  vad: 'Speech detection',
  turn_detection: 'End of turn',
};

export class Details {
  element;

  #client;
  #parts = h('dl', { class: 'parts' });
  #waiting = h('p', { class: 'fine' }, 'Known once the conversation runs.');

  /**
   * @param {AvatarClient} client
   * @param {import('../api.js').Config | null} config
   */
  constructor(client, config) {
    this.#client = client;
    this.element = h(
      'div',
      { class: 'details' },
      section('Echo', this.#halfDuplex()),
      section('What is running', this.#waiting, this.#parts),
      section('Latency', new Latency(client).element),
      section('Keyboard', h('dl', { class: 'keys' }, ...SHORTCUTS.flatMap(([key, does]) => [
        h('dt', {}, h('kbd', {}, key)),
        h('dd', {}, does),
      ]))),
      section(
        'About',
        h('p', {}, config?.disclosure || 'You are talking with an AI avatar.'),
        h('p', { class: 'fine' }, `Mien ${config?.version ?? ''}`),
      ),
    );
    client.on('hello', (hello) => this.#show(hello.parts));
  }

  #halfDuplex() {
    const id = 'half-duplex-why';
    const button = h('button', {
      type: 'button',
      role: 'switch',
      class: 'switch',
      'aria-checked': String(this.#client.halfDuplex),
      'aria-describedby': id,
      onclick: () => this.#client.setHalfDuplex(!this.#client.halfDuplex),
    }, h('span', {}, 'Half-duplex'), h('i', { 'aria-hidden': 'true' }));
    this.#client.on('halfduplex', ({ on }) => button.setAttribute('aria-checked', String(on)));
    const why = 'Do not listen while the avatar speaks. For loudspeakers whose sound comes back through the microphone.';
    return h('div', {}, button, h('p', { class: 'fine', id }, why));
  }

  /** @param {import('../client.js').Part[]} parts */
  #show(parts) {
    this.#waiting.hidden = parts.length > 0;
    this.#parts.replaceChildren(
      ...parts.map(({ part, name, why, online }) =>
        h(
          'div',
          {},
          h('dt', {}, PARTS[part] ?? part),
          h('dd', {}, name, online && h('span', { class: 'tag' }, 'online')),
          why && h('dd', { class: 'fine' }, why),
        ),
      ),
    );
  }
}

/**
 * @param {string} title
 * @param {...Node} children
 */
function section(title, ...children) {
  return h('section', {}, h('h3', {}, title), ...children);
}
