// What the person should know, or is asked, beside the picture: notices, offers (a download that needs a yes) and their
// progress. In: a client's events. Out: a stack of small cards; consent goes back to the client.

import { h, iconButton } from './dom.js';
import { icon } from './icons.js';

/** @typedef {import('../client.js').AvatarClient} AvatarClient */

const STAYS_MS = { info: 7000, warning: 12_000 };
const MOST = 4;

export class Toasts {
  element = h('div', { class: 'toasts' });

  #client;
  #notices = h('div', { class: 'stack', role: 'log', 'aria-live': 'polite', 'aria-label': 'Notices' });
  #offers = h('div', { class: 'stack' });
  /** @type {Map<string, HTMLElement>} */
  #cards = new Map();
  /** Answered offers, so that the next hello does not ask again. @type {Set<string>} */
  #answered = new Set();

  /** @param {AvatarClient} client */
  constructor(client) {
    this.#client = client;
    this.element.append(this.#offers, this.#notices);
    client.on('notice', (notice) => this.#notice(notice));
    client.on('hello', (hello) => this.#offer(hello.offers));
    client.on('progress', (progress) => this.#progress(progress));
    client.on('connection', ({ phase }) => {
      if (phase === 'connecting') this.#answered.clear();
      if (phase === 'reconnecting') {
        this.#notice({ level: 'info', code: 'reconnecting', text: 'Reconnecting… The conversation is kept.' });
      }
      if (phase === 'connected') this.#drop('reconnecting');
      if (phase === 'idle' || phase === 'ended') this.#offer([]);
    });
  }

  /** @param {import('../client.js').Notice} notice */
  #notice({ level, code, text }) {
    this.#drop(code); // the newest of a kind says it all
    const close = () => element.remove();
    const element = h(
      'div',
      { class: 'toast', 'data-level': level, 'data-code': code },
      h('p', {}, text),
      iconButton('Dismiss', icon('close'), { onclick: close, 'data-tip': null }),
    );
    this.#notices.append(element);
    while (this.#notices.childElementCount > MOST) this.#notices.firstElementChild?.remove();
    if (level === 'error') return;
    const expire = () => {
      if (element.matches(':hover, :focus-within')) setTimeout(expire, 1000); // being read
      else close();
    };
    setTimeout(expire, STAYS_MS[level]);
  }

  /** @param {string} code */
  #drop(code) {
    for (const old of this.#notices.querySelectorAll(`[data-code="${CSS.escape(code)}"]`)) old.remove();
  }

  /** @param {import('../client.js').Offer[]} offers */
  #offer(offers) {
    const open = new Set(offers.map((offer) => offer.id));
    for (const [id, element] of this.#cards) {
      if (open.has(id)) continue;
      element.remove();
      this.#cards.delete(id);
    }
    for (const offer of offers) {
      if (!this.#cards.has(offer.id) && !this.#answered.has(offer.id)) this.#ask(offer);
    }
  }

  /** @param {import('../client.js').Offer} offer */
  #ask({ id, text, size_mb }) {
    const answer = (/** @type {boolean} */ granted) => {
      this.#answered.add(id);
      this.#client.consent(id, granted);
      if (granted) element.replaceChildren(h('p', {}, text), h('p', { class: 'fine' }, 'Starting…'));
      else this.#offer([...this.#cards.keys()].filter((other) => other !== id).map((other) => ({ id: other, text: '' })));
    };
    const element = h(
      'div',
      { class: 'toast offer', role: 'group', 'aria-label': 'Offer' },
      h('p', {}, text),
      size_mb ? h('p', { class: 'fine' }, `Download of ${size_mb} MB`) : null,
      h(
        'div',
        { class: 'actions' },
        h('button', { type: 'button', class: 'primary', onclick: () => answer(true) }, 'Yes, go ahead'),
        h('button', { type: 'button', class: 'plain', onclick: () => answer(false) }, 'Not now'),
      ),
    );
    this.#cards.set(id, element);
    this.#offers.append(element);
  }

  /** @param {import('../client.js').Progress} progress */
  #progress({ offer, done, total }) {
    const element = this.#cards.get(offer);
    if (!element) return;
    let meter = element.querySelector('progress');
    if (!meter) {
      meter = h('progress', { 'aria-label': 'Download' });
      element.append(meter);
    }
    if (total) {
      meter.max = total;
      meter.value = done;
    }
    const line = element.querySelector('.fine') ?? element.appendChild(h('p', { class: 'fine' }));
    line.textContent = total ? `${megabytes(done)} of ${megabytes(total)} MB` : `${megabytes(done)} MB`;
    if (total && done >= total) line.textContent = 'Downloaded; getting ready…';
  }
}

/** @param {number} bytes */
function megabytes(bytes) {
  return (bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0);
}
