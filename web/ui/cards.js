// What lies over the picture while there is no conversation: the invitation to start, and what went wrong with its next
// step. In: the connection's state. Out: one card with its buttons; it calls back and decides nothing.

import { h } from './dom.js';
import { connectionWords } from './words.js';

/** @typedef {import('../client.js').Connection} Connection */

/**
 * @typedef {object} Actions
 * @property {(options: {microphone: boolean}) => void} start
 * @property {() => void} cancel
 * @property {(token: string) => void} useToken
 */

/**
 * @param {Connection} connection
 * @param {{name: string, asking: boolean}} context  asking: the browser asks for the microphone
 * @param {Actions} actions
 * @returns {HTMLElement | null}
 */
export function card(connection, { name, asking }, actions) {
  switch (connection.phase) {
    case 'idle':
      return invitation(actions);
    case 'connecting':
      return asking ? permission(actions) : null;
    case 'waiting':
      return waiting(connection, name, actions);
    case 'failed':
    case 'ended':
      return trouble(connection, name, actions);
    default:
      return null;
  }
}

/** @param {Actions} actions */
function invitation(actions) {
  return h(
    'div',
    { class: 'invitation' },
    primary('Start conversation', () => actions.start({ microphone: true })),
    plain('Start without a microphone', () => actions.start({ microphone: false })),
  );
}

/** @param {Actions} actions */
function permission(actions) {
  return h(
    'div',
    { class: 'card', role: 'group', 'aria-label': 'Microphone permission' },
    h('h2', {}, 'Your browser asks for the microphone'),
    h('p', {}, 'Allow it to talk. The sound goes to this server alone, and only during the conversation.'),
    h('div', { class: 'actions' }, plain('Continue without a microphone', () => actions.start({ microphone: false }))),
  );
}

/**
 * @param {Connection} connection
 * @param {string} name
 * @param {Actions} actions
 */
function waiting(connection, name, actions) {
  const words = /** @type {import('./words.js').Words} */ (connectionWords(connection, name));
  // A countdown that is read out every second would drown everything else: the words are announced once, it is not.
  const countdown = h('p', { class: 'countdown', 'aria-live': 'off' });
  const element = h(
    'div',
    { class: 'card', role: 'alert' },
    h('h2', {}, words.title),
    ...words.body.map((line) => h('p', {}, line)),
    countdown,
    h(
      'div',
      { class: 'actions' },
      primary('Try now', () => actions.start({ microphone: true })),
      plain('Cancel', () => actions.cancel()),
    ),
  );
  const count = () => {
    const leftS = Math.max(0, Math.ceil(((connection.retryAtMs ?? 0) - performance.now()) / 1000));
    countdown.textContent = leftS > 0 ? `Trying again in ${leftS} s` : 'Trying again…';
    if (leftS > 0) setTimeout(() => element.isConnected && count(), 250);
  };
  count();
  return element;
}

/**
 * @param {Connection} connection
 * @param {string} name
 * @param {Actions} actions
 */
function trouble(connection, name, actions) {
  const words = /** @type {import('./words.js').Words} */ (connectionWords(connection, name));
  const again = connection.phase === 'ended' ? 'Start conversation' : 'Try again';
  return h(
    'div',
    { class: 'card', role: 'alert', tabindex: words.tried ? '0' : null },
    h('h2', {}, words.title),
    ...words.body.map((line) => h('p', {}, line)),
    words.steps && h('h3', {}, 'What to do'),
    words.steps && h('ul', {}, ...words.steps.map((line) => h('li', {}, line))),
    words.tried && h('h3', {}, 'What was tried'),
    words.tried && h('ul', { class: 'tried' }, ...words.tried.map((line) => h('li', {}, line))),
    connection.cause === 'unauthorized'
      ? tokenForm(actions)
      : h('div', { class: 'actions' }, primary(again, () => actions.start({ microphone: true }))),
  );
}

/** @param {Actions} actions */
function tokenForm(actions) {
  const input = h('input', { type: 'password', autocomplete: 'off', required: true, 'aria-label': 'Access token' });
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    actions.useToken(input.value.trim());
  };
  return h(
    'form',
    { class: 'token', onsubmit: submit },
    input,
    h('button', { type: 'submit', class: 'primary' }, 'Continue'),
  );
}

/**
 * @param {string} text
 * @param {() => void} action
 */
function primary(text, action) {
  return h('button', { type: 'button', class: 'primary', onclick: action }, text);
}

/**
 * @param {string} text
 * @param {() => void} action
 */
function plain(text, action) {
  return h('button', { type: 'button', class: 'plain', onclick: action }, text);
}
