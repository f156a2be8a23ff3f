// What the avatar does and who receives it, under the picture. In: /health, once a second. Out: text.

import { h } from '../ui/dom.js';

const EVERY_MS = 1000;

/**
 * @typedef {object} Target  @property {string} target @property {string} state @property {string | null} problem
 * @typedef {object} Health
 * @property {string} state
 * @property {string | null} message  the id of the message that the state is about
 * @property {Target[]} targets
 */

/**
 * Show them from now on.
 * @param {{state: HTMLElement, message: HTMLElement, targets: HTMLElement}} places
 */
export async function showFacts(places) {
  for (;;) {
    try {
      show(places, await (await fetch('/health')).json());
    } catch {
      places.state.textContent = 'gone';
    }
    await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
  }
}

/**
 * @param {{state: HTMLElement, message: HTMLElement, targets: HTMLElement}} places
 * @param {Health} health
 */
function show(places, { state, message, targets }) {
  places.state.textContent = state;
  places.message.textContent = message ? `message ${message}` : '';
  places.targets.replaceChildren(
    ...targets.map((each) => h('li', { 'data-state': each.state }, `${each.target}: ${each.problem ?? each.state}`)),
  );
}
