// The picture and what lies on it: poster, one media element for sound and picture, state, captions, cards. In: a client's
// events. Out: a section element. It holds no rules of the conversation.

import { Captions } from './captions.js';
import { card } from './cards.js';
import { h } from './dom.js';
import { icon } from './icons.js';
import { stateWord } from './words.js';

/** @typedef {import('../client.js').AvatarClient} AvatarClient */
/** @typedef {import('../client.js').Connection} Connection */

export class Stage {
  element;
  /** The lower end of the picture: captions, and what others put before them. */
  foot = h('div', { class: 'foot' });

  #captions = new Captions();
  #poster = h('img', { class: 'poster', alt: '', hidden: true });
  #video = h('video', { autoplay: true, playsinline: true });
  #still = h('canvas', { class: 'still', 'aria-hidden': 'true' });
  #word = h('span', { class: 'word' });
  #cards = h('div', { class: 'cards' });
  #unlock = h('button', { type: 'button', class: 'primary unlock', hidden: true }, icon('sound'), 'Turn on sound');
  #name = 'The avatar';
  /** @type {Connection} */
  #connection = { phase: 'connecting' };
  #asking = false;
  /** @type {import('./cards.js').Actions} */
  #actions;

  /** @param {import('./cards.js').Actions} actions */
  constructor(actions) {
    this.#actions = actions;
    this.foot.append(this.#captions.overlay);
    this.element = h(
      'section',
      { class: 'stage', 'aria-label': 'Avatar' },
      h('div', { class: 'halo', 'aria-hidden': 'true' }, h('i'), h('i'), h('i')),
      h(
        'div',
        { class: 'frame' },
        this.#poster,
        this.#video,
        this.#still,
        h('p', { class: 'badge' }, 'AI avatar'),
        h('p', { class: 'state', role: 'status' }, glyph(), this.#word),
        this.#cards,
        this.foot,
        this.#unlock,
      ),
      this.#captions.announcer,
    );
    this.#video.addEventListener('playing', () => this.element.toggleAttribute('data-live', true));
    this.#unlock.addEventListener('click', () => {
      this.#video.muted = false;
      this.#unlock.hidden = true;
      void this.#video.play();
    });
  }

  /** @param {string} name  the avatar's */
  introduce(name) {
    this.#name = name;
    this.#poster.alt = `Portrait of ${name}, an AI avatar`;
    this.#video.setAttribute('aria-label', `${name}, AI avatar, live`);
  }

  /** @param {string} url */
  showPoster(url) {
    this.#poster.src = url;
    this.#poster.hidden = false;
  }

  /**
   * The connection's own state, also before there is a client.
   * @param {Connection} connection
   */
  showConnection(connection) {
    if (connection.phase === 'reconnecting') this.#freeze();
    if (['idle', 'ended', 'failed'].includes(connection.phase)) this.#toPoster();
    this.#connection = connection;
    this.#refresh();
  }

  /** @param {AvatarClient} client */
  attach(client) {
    client.on('connection', (connection) => {
      this.showConnection(connection);
      this.#say(client);
    });
    client.on('state', () => this.#say(client));
    client.on('caption', (caption) => this.#captions.show(caption));
    client.on('media', ({ stream }) => void this.#play(stream));
    client.on('hello', (hello) => this.introduce(hello.persona.name));
    client.on('microphone', ({ status }) => {
      this.#say(client);
      const asking = status === 'asking';
      if (asking === this.#asking) return;
      this.#asking = asking;
      this.#refresh();
    });
    this.showConnection(client.connection);
    this.#say(client);
  }

  /** @param {AvatarClient} client */
  #say(client) {
    const word = stateWord(client.connection, client.state, client.microphone);
    if (this.#word.textContent !== word) this.#word.textContent = word;
    this.element.dataset.phase = client.connection.phase;
    this.element.dataset.state = word === 'Muted' || word === 'Ready' ? 'idle' : client.state;
  }

  #refresh() {
    const root = /** @type {Document | ShadowRoot} */ (this.element.getRootNode());
    const hadFocus = this.#cards.contains(root.activeElement);
    const context = { name: this.#name, asking: this.#asking };
    const next = card(this.#connection, context, this.#actions);
    this.#cards.replaceChildren(...(next ? [next] : []));
    this.element.dataset.phase = this.#connection.phase;
    if (hadFocus) this.#cards.querySelector('button')?.focus();
  }

  /** @param {MediaStream | null} stream */
  async #play(stream) {
    this.#video.srcObject = stream;
    if (!stream) return;
    try {
      await this.#video.play();
    } catch (error) {
      if (!(error instanceof DOMException) || error.name !== 'NotAllowedError') return; // replaced by the next stream
      // Without a click on the page browsers play pictures only: show the face and ask for the click.
      this.#video.muted = true;
      this.#unlock.hidden = false;
      await this.#video.play();
    }
    this.#video.requestVideoFrameCallback?.(() => this.element.removeAttribute('data-frozen'));
  }

  /** Keep the last picture in place of a black one until the next connection's first. */
  #freeze() {
    const { videoWidth, videoHeight } = this.#video;
    if (!videoWidth) return;
    this.#still.width = videoWidth;
    this.#still.height = videoHeight;
    this.#still.getContext('2d')?.drawImage(this.#video, 0, 0);
    this.element.toggleAttribute('data-frozen', true);
  }

  #toPoster() {
    this.#video.srcObject = null;
    this.#unlock.hidden = true;
    this.#captions.clear();
    this.element.removeAttribute('data-live');
    this.element.removeAttribute('data-frozen');
  }
}

/** Five bars; the style sheet turns them into what each state looks like. */
function glyph() {
  return h('span', { class: 'glyph', 'aria-hidden': 'true' }, h('i'), h('i'), h('i'), h('i'), h('i'));
}
