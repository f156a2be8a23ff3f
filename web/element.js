// <mien-avatar>: the avatar on any page. Attributes: `src`, where the server is (default: where this file came from);
// `controls`, the bar below the picture; `autostart`, begin without a click (sound then waits for one). Properties:
// `client` (client.js) and `ready`, a promise of it. Size it like an image; it fills the box that it is given.
//
//   <script type="module" src="https://mien.example.org/static/element.js"></script>
//   <mien-avatar controls></mien-avatar>

import { Api, ApiError } from './api.js';
import { createClient } from './client.js';
import { Bar } from './ui/bar.js';
import { h } from './ui/dom.js';
import { bindKeyboard } from './ui/keyboard.js';
import { Stage } from './ui/stage.js';
import { Toasts } from './ui/toasts.js';

/** @typedef {import('./client.js').AvatarClient} AvatarClient */

const RETRY_MS = 3000;

export class MienAvatar extends HTMLElement {
  /** @type {AvatarClient | null} */
  client = null;
  /** @type {Promise<AvatarClient>} */
  ready;
  /** @type {import('./api.js').Config | null} */
  config = null;

  /** @type {(client: AvatarClient) => void} */
  #resolve = () => {};
  #root = this.attachShadow({ mode: 'open' });
  #stage = new Stage({
    start: (options) => (this.client ? this.client.start(options) : void this.#load()),
    cancel: () => this.client?.leave(),
    useToken: (token) => this.#useToken(token),
  });
  #api = new Api(new URL('..', import.meta.url));
  #loading = 0;
  #posterUrl = '';

  constructor() {
    super();
    this.ready = new Promise((resolve) => (this.#resolve = resolve));
    for (const file of ['tokens.css', 'basics.css', 'stage.css']) {
      this.#root.append(h('link', { rel: 'stylesheet', href: new URL(file, import.meta.url).href }));
    }
    this.#root.append(this.#stage.element);
  }

  connectedCallback() {
    const src = this.getAttribute('src');
    if (src) this.#api = new Api(new URL(src.endsWith('/') ? src : `${src}/`, document.baseURI));
    this.#api.adoptTokenFromAddress();
    if (!this.client) void this.#load();
  }

  disconnectedCallback() {
    this.client?.leave();
    URL.revokeObjectURL(this.#posterUrl);
  }

  /** Learn who is there, and offer the start. Tries again for as long as nothing answers. */
  async #load() {
    const load = ++this.#loading;
    this.#stage.showConnection({ phase: 'connecting' });
    try {
      const config = await this.#api.config();
      const client = await createClient(this.#api, config);
      if (load !== this.#loading) return;
      await this.#begin(client, config);
    } catch (error) {
      if (load !== this.#loading) return;
      if (!(error instanceof ApiError)) throw error;
      if (error.code !== 'server_gone') {
        const cause = error.code === 'unauthorized' || error.code === 'forbidden_origin' ? error.code : 'rejected';
        this.#stage.showConnection({ phase: 'failed', cause, text: error.message });
        return;
      }
      this.#stage.showConnection({ phase: 'waiting', cause: 'server_gone', retryAtMs: performance.now() + RETRY_MS });
      setTimeout(() => load === this.#loading && void this.#load(), RETRY_MS);
    }
  }

  /**
   * @param {AvatarClient} client
   * @param {import('./api.js').Config} config
   */
  async #begin(client, config) {
    if (config.auth && !this.#api.token) throw new ApiError('unauthorized', 'This server asks for an access token.');
    await this.#loadPoster();
    this.config = config;
    this.client = client;
    this.#stage.introduce(config.persona.name);
    this.#stage.attach(client);
    this.#stage.foot.prepend(new Toasts(client).element);
    if (this.hasAttribute('controls')) {
      this.#root.append(new Bar(client, config).element);
      bindKeyboard(this, client);
    }
    this.#resolve(client);
    if (this.hasAttribute('autostart')) client.start();
  }

  /** A conversation is possible without it: only a refusal of the token is one. */
  async #loadPoster() {
    try {
      this.#posterUrl = URL.createObjectURL(await this.#api.poster());
      this.#stage.showPoster(this.#posterUrl);
    } catch (error) {
      if (!(error instanceof ApiError) || error.code === 'unauthorized') throw error;
      console.warn('The poster could not be loaded.', error);
    }
  }

  /** @param {string} token */
  #useToken(token) {
    this.#api.token = token;
    if (this.client) this.client.start();
    else void this.#load();
  }
}

customElements.define('mien-avatar', MienAvatar);
