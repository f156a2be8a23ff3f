// What is being said, over the picture, and once more for screen readers. In: caption events. Out: the text of the
// utterance at hand, which grows with the voice, and a polite announcement of each one that is complete.

import { h } from './dom.js';
import { captionText, tail } from './words.js';

/** @typedef {import('../client.js').Caption} Caption */

const STAYS_MS = 6000;
const STAYS_PER_CHARACTER_MS = 40;

export class Captions {
  overlay = h('div', { class: 'caption', 'aria-hidden': 'true' });
  announcer = h('div', { class: 'unseen', role: 'log', 'aria-live': 'polite', 'aria-label': 'Captions' });

  #text = h('p');
  #shown = '';
  /** @type {Set<string>} */
  #seen = new Set();
  /** @type {Set<string>} */
  #announced = new Set();
  #timer = 0;

  constructor() {
    this.overlay.append(this.#text);
  }

  /** @param {Caption} caption */
  show(caption) {
    const words = captionText(caption);
    if (!words.trim()) {
      if (caption.id === this.#shown) this.clear();
      return;
    }
    if (caption.final) this.#announce(caption, words);
    if (this.#seen.has(caption.id) && caption.id !== this.#shown) return; // the next one is already on its way
    this.#seen.add(caption.id);
    this.#shown = caption.id;
    this.overlay.dataset.role = caption.role;
    this.overlay.toggleAttribute('data-on', true);
    this.#text.textContent = tail(words);
    clearTimeout(this.#timer);
    if (!caption.final) return;
    this.#timer = setTimeout(() => this.clear(), STAYS_MS + STAYS_PER_CHARACTER_MS * Math.min(words.length, 140));
  }

  clear() {
    clearTimeout(this.#timer);
    this.#shown = '';
    this.overlay.toggleAttribute('data-on', false);
  }

  /**
   * @param {Caption} caption
   * @param {string} words
   */
  #announce({ role, id }, words) {
    if (this.#announced.has(id)) return; // an own message, which the server repeats
    this.#announced.add(id);
    this.announcer.append(h('p', {}, `${role === 'user' ? 'You' : 'Avatar'}: ${words}`));
    while (this.announcer.childElementCount > 20) this.announcer.firstElementChild?.remove();
  }
}
