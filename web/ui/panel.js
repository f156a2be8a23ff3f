// The panel beside the picture: one of its views at a time. In: buttons with their views. Out: opens, closes, keeps the
// focus where it belongs. On a narrow screen it covers the page, which is then out of reach until it closes.

import { h, iconButton } from './dom.js';
import { icon } from './icons.js';

const COVERS = matchMedia('(max-width: 899px)');

export class Panel {
  #element;
  #behind;
  #title = h('h2', { id: 'panel-title', tabindex: '-1' });
  #body = h('div', { class: 'body' });
  /** @type {HTMLButtonElement | null} */
  #openedBy = null;

  /**
   * @param {HTMLElement} element
   * @param {HTMLElement} behind  what it covers on a narrow screen
   */
  constructor(element, behind) {
    this.#element = element;
    this.#behind = behind;
    const close = iconButton('Close', icon('close'), { onclick: () => this.close(), 'data-tip': null });
    element.append(h('div', { class: 'head' }, this.#title, close), this.#body);
    element.addEventListener('keydown', (event) => {
      if (event.key !== 'Escape') return;
      event.preventDefault();
      event.stopPropagation();
      this.close();
    });
    COVERS.addEventListener('change', () => this.#cover());
  }

  /**
   * @param {HTMLButtonElement} button
   * @param {import('./icons.js').IconName} picture
   * @param {string} title
   * @param {HTMLElement} view
   */
  add(button, picture, title, view) {
    button.append(icon(picture));
    button.addEventListener('click', () => {
      if (this.#openedBy === button) this.close();
      else this.#open(button, title, view);
    });
  }

  close() {
    const button = this.#openedBy;
    this.#openedBy = null;
    this.#element.hidden = true;
    document.body.removeAttribute('data-panel');
    button?.setAttribute('aria-expanded', 'false');
    this.#cover();
    button?.focus();
  }

  /**
   * @param {HTMLButtonElement} button
   * @param {string} title
   * @param {HTMLElement} view
   */
  #open(button, title, view) {
    this.#openedBy?.setAttribute('aria-expanded', 'false');
    this.#openedBy = button;
    this.#title.textContent = title;
    this.#body.replaceChildren(view);
    this.#element.hidden = false;
    document.body.toggleAttribute('data-panel', true);
    button.setAttribute('aria-expanded', 'true');
    this.#cover();
    this.#title.focus();
    view.dispatchEvent(new CustomEvent('shown'));
  }

  #cover() {
    this.#behind.inert = COVERS.matches && this.#openedBy !== null;
  }
}
