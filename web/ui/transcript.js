// The conversation in writing. In: captions, and the history that a resumed conversation brings. Out: a log, newest last.

import { h } from './dom.js';
import { captionText } from './words.js';

/** @typedef {import('../client.js').AvatarClient} AvatarClient */

export class Transcript {
  element;

  #name;
  #list = h('div', { class: 'lines', role: 'log', 'aria-label': 'Transcript', 'aria-live': 'off', tabindex: '0' });
  #empty = h('p', { class: 'fine' }, 'What is said will stand here.');
  /** @type {Map<string, HTMLElement>} */
  #lines = new Map();

  /**
   * @param {AvatarClient} client
   * @param {string} name  the avatar's
   */
  constructor(client, name) {
    this.#name = name;
    this.element = h('div', { class: 'transcript' }, this.#empty, this.#list);
    this.element.addEventListener('shown', () => this.#toEnd());
    client.on('caption', (caption) => this.#show(caption));
    client.on('hello', (hello) => {
      if (!hello.first) return;
      const kept = hello.resumed && this.#lines.size >= hello.history.length;
      if (kept) return; // this page heard it all itself
      this.#clear();
      hello.history.forEach((line, at) => this.#show({ ...line, id: `history-${at}`, final: true }));
    });
  }

  /** @param {import('../client.js').Caption} caption */
  #show(caption) {
    const words = captionText(caption);
    const line = this.#lines.get(caption.id);
    if (!words.trim()) {
      line?.remove();
      this.#lines.delete(caption.id);
      return;
    }
    const atEnd = this.#list.scrollHeight - this.#list.scrollTop - this.#list.clientHeight < 40;
    const target = line ?? this.#add(caption);
    /** @type {HTMLElement} */ (target.querySelector('.said')).textContent = words;
    target.toggleAttribute('data-growing', !caption.final);
    if (atEnd) this.#toEnd();
  }

  /** @param {import('../client.js').Caption} caption */
  #add({ role, id }) {
    const who = role === 'user' ? 'You' : this.#name;
    const line = h('div', { class: 'line', 'data-role': role }, h('p', { class: 'who' }, who), h('p', { class: 'said' }));
    this.#lines.set(id, line);
    this.#list.append(line);
    this.#empty.hidden = true;
    return line;
  }

  #clear() {
    this.#lines.clear();
    this.#list.replaceChildren();
    this.#empty.hidden = false;
  }

  #toEnd() {
    this.#list.scrollTop = this.#list.scrollHeight;
  }
}
