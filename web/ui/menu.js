// A menu that opens from a button: choose one of several. In: groups of choices, on every opening. Out: the chosen id.
// Keyboard: arrows, Home, End, first letters, Enter; Escape closes and gives the focus back.

import { h } from './dom.js';
import { icon } from './icons.js';

/**
 * @typedef {object} Choice   @property {string} id @property {string} label @property {string} [aside] @property {string} [badge]
 * @typedef {object} Group    @property {string} title @property {string} [note] @property {Choice[]} choices
 */

let count = 0;

export class Menu {
  /** @type {HTMLElement} */
  popup;

  #button;
  #groups;
  #choose;
  #typed = '';
  #typedMs = 0;

  /**
   * @param {HTMLButtonElement} button
   * @param {string} name  the menu's accessible name
   * @param {() => {groups: Group[], current: string, empty: string}} groups  asked on every opening
   * @param {(id: string) => void} choose
   */
  constructor(button, name, groups, choose) {
    this.#button = button;
    this.#groups = groups;
    this.#choose = choose;
    this.popup = h('div', { class: 'menu', role: 'menu', 'aria-label': name, hidden: true });
    button.setAttribute('aria-haspopup', 'menu');
    button.setAttribute('aria-expanded', 'false');
    button.addEventListener('click', () => (this.popup.hidden ? this.#open() : this.#close()));
    button.addEventListener('keydown', (event) => {
      if ((event.key === 'ArrowUp' || event.key === 'ArrowDown') && this.popup.hidden) {
        event.preventDefault();
        this.#open();
      }
    });
    this.popup.addEventListener('keydown', (event) => this.#onKey(event));
    this.popup.addEventListener('focusout', (event) => {
      const next = /** @type {Node | null} */ (event.relatedTarget);
      if (next !== this.#button && !this.popup.contains(next)) this.#close({ focus: false });
    });
  }

  #open() {
    const { groups, current, empty } = this.#groups();
    this.popup.replaceChildren(
      ...groups.map((group) => this.#group(group, current)),
      ...(groups.length ? [] : [h('p', { class: 'empty', role: 'menuitem', tabindex: '-1' }, empty)]),
    );
    this.popup.hidden = false;
    this.#button.setAttribute('aria-expanded', 'true');
    const items = this.#items();
    (items.find((item) => item.getAttribute('aria-checked') === 'true') ?? items[0])?.focus();
  }

  /** @param {{focus?: boolean}} [options] */
  #close({ focus = true } = {}) {
    if (this.popup.hidden) return;
    this.popup.hidden = true;
    this.#button.setAttribute('aria-expanded', 'false');
    if (focus) this.#button.focus();
  }

  /**
   * @param {Group} group
   * @param {string} current
   */
  #group({ title, note, choices }, current) {
    const id = `mien-menu-${(count += 1)}`;
    return h(
      'div',
      { role: 'group', 'aria-label': title, 'aria-describedby': note ? id : null },
      h(
        'div',
        { class: 'title' },
        h('p', { 'aria-hidden': 'true' }, title),
        note && h('p', { class: 'fine', id }, note),
      ),
      ...choices.map((choice) => {
        const checked = choice.id === current;
        const choose = () => {
          this.#close();
          this.#choose(choice.id);
        };
        return h(
          'button',
          { type: 'button', role: 'menuitemradio', 'aria-checked': String(checked), tabindex: '-1', onclick: choose },
          h('span', { class: 'tick' }, checked && icon('check')),
          h('span', { class: 'label' }, choice.label, choice.aside && h('span', { class: 'aside' }, ` ${choice.aside}`)),
          choice.badge && h('span', { class: 'tag' }, choice.badge),
        );
      }),
    );
  }

  /** @returns {HTMLElement[]} */
  #items() {
    return [...this.popup.querySelectorAll('[role^=menuitem]')].map((item) => /** @type {HTMLElement} */ (item));
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    const items = this.#items();
    const root = /** @type {Document | ShadowRoot} */ (this.popup.getRootNode());
    const at = items.indexOf(/** @type {HTMLElement} */ (root.activeElement));
    const target = {
      ArrowDown: () => items[(at + 1) % items.length],
      ArrowUp: () => items[(at - 1 + items.length) % items.length],
      Home: () => items[0],
      End: () => items[items.length - 1],
    }[event.key]?.();
    if (event.key === 'Escape') this.#close();
    else if (target) target.focus();
    else if (event.key.length === 1 && event.key !== ' ') this.#find(event.key, items, at)?.focus();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /**
   * @param {string} key
   * @param {HTMLElement[]} items
   * @param {number} at
   */
  #find(key, items, at) {
    const nowMs = performance.now();
    this.#typed = nowMs - this.#typedMs < 700 ? this.#typed + key.toLowerCase() : key.toLowerCase();
    this.#typedMs = nowMs;
    const from = this.#typed.length > 1 ? at : at + 1;
    const turned = [...items.slice(from), ...items.slice(0, from)];
    return turned.find((item) =>
      item.querySelector('.label')?.textContent?.toLowerCase().startsWith(this.#typed),
    );
  }
}
