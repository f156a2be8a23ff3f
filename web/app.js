// The page: one <mien-avatar> and, beside it, what an embedded one leaves out: transcript, details, shortcuts everywhere.
// `window.mien` gives benchmarks and curious people the client and a snapshot of what is measured.

import './element.js';
import { Details } from './ui/details.js';
import { bindKeyboard } from './ui/keyboard.js';
import { Panel } from './ui/panel.js';
import { Transcript } from './ui/transcript.js';

const avatar = /** @type {import('./element.js').MienAvatar} */ (document.querySelector('mien-avatar'));
const panel = new Panel(
  /** @type {HTMLElement} */ (document.getElementById('panel')),
  /** @type {HTMLElement} */ (document.querySelector('main')),
);
const client = await avatar.ready;
const name = avatar.config?.persona.name ?? 'Mien';

document.title = `${name} · AI avatar`;
/** @type {HTMLElement} */ (document.querySelector('.wordmark')).textContent = name;
panel.add(button('open-transcript'), 'conversation', 'Transcript', new Transcript(client, name).element);
panel.add(button('open-details'), 'details', 'Details', new Details(client, avatar.config).element);
bindKeyboard(document, client);

Object.assign(window, { mien: { client, getStats: () => client.getStats() } });

/** @param {string} id */
function button(id) {
  return /** @type {HTMLButtonElement} */ (document.getElementById(id));
}
