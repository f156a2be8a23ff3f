// The quiet bar: microphone, message, interrupt, voice, leave, and a line on why the microphone is off. In: a client's
// events. Out: its calls.

import { h, iconButton } from './dom.js';
import { icon } from './icons.js';
import { Menu } from './menu.js';
import { microphoneWords } from './words.js';

/** @typedef {import('../client.js').AvatarClient} AvatarClient */

const LONGEST_MESSAGE = 4000;

export class Bar {
  element;

  #client;
  #name;
  #mute;
  #note = h('div', { class: 'note', role: 'status' });
  #text = h('textarea', { rows: '1', maxlength: LONGEST_MESSAGE, 'aria-label': 'Message', enterkeyhint: 'send' });

  /**
   * @param {AvatarClient} client
   * @param {import('../api.js').Config} config
   */
  constructor(client, { persona: { name }, disclosure }) {
    this.#client = client;
    this.#name = name;
    this.#text.placeholder = `Message ${name}`;
    this.#mute = iconButton('Mute microphone', icon('microphone'), {
      'aria-pressed': 'false',
      'aria-keyshortcuts': 'M',
      'data-tip': 'Mute microphone · M',
      'data-label': 'Mute',
      class: 'mute',
      onclick: () => client.setMuted(!client.microphone.muted),
    });
    const pickMicrophone = iconButton('Choose microphone', icon('chevron'), { class: 'pick' });
    const pickVoice = iconButton('Choose voice', icon('voice'), { 'data-label': 'Voice', class: 'voice' });
    const microphones = new Menu(pickMicrophone, 'Microphone', () => this.#microphones(), (id) => client.setMicrophone(id));
    const voices = new Menu(pickVoice, 'Voice', () => this.#voices(), (id) => client.setVoice(id));
    voices.popup.classList.add('end');

    this.element = h(
      'div',
      { class: 'bar', role: 'group', 'aria-label': 'Conversation' },
      h('p', { class: 'disclosure' }, disclosure),
      this.#note,
      h(
        'div',
        { class: 'glass' },
        h('div', { class: 'split' }, this.#mute, pickMicrophone),
        this.#composer(),
        iconButton('Interrupt', icon('interrupt'), {
          'aria-keyshortcuts': 'Escape',
          'data-tip': 'Interrupt · Esc',
          'data-label': 'Interrupt',
          class: 'interrupt',
          onclick: () => client.interrupt(),
        }),
        pickVoice,
        iconButton('Leave', icon('leave'), { 'data-label': 'Leave', class: 'leave', onclick: () => client.leave() }),
        microphones.popup,
        voices.popup,
      ),
    );
    client.on('connection', () => this.#refresh());
    client.on('microphone', () => this.#refresh());
    client.on('state', ({ state }) => (this.element.dataset.state = state));
    this.#refresh();
  }

  #composer() {
    const text = this.#text;
    const send = () => {
      const message = text.value.trim();
      if (!message || this.#client.connection.phase !== 'connected') return;
      this.#client.sendChat(message);
      text.value = '';
      fit();
    };
    const fit = () => {
      text.style.height = 'auto';
      text.style.height = `${text.scrollHeight}px`;
    };
    text.addEventListener('input', fit);
    text.addEventListener('keydown', (event) => {
      if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      send();
    });
    return h(
      'form',
      {
        class: 'composer',
        onsubmit: (/** @type {Event} */ event) => {
          event.preventDefault();
          send();
        },
      },
      text,
      iconButton('Send', icon('send'), { type: 'submit', class: 'send' }),
    );
  }

  #refresh() {
    const { phase } = this.#client.connection;
    const { status, muted } = this.#client.microphone;
    const root = /** @type {Document | ShadowRoot} */ (this.element.getRootNode());
    const talks = phase === 'connected' || phase === 'reconnecting';
    const starts = talks && !this.element.hasAttribute('data-talks');
    this.element.toggleAttribute('data-talks', talks);
    this.#mute.disabled = status !== 'on';
    this.#mute.setAttribute('aria-pressed', String(muted && status === 'on'));
    this.#mute.replaceChildren(icon(muted || status !== 'on' ? 'muted' : 'microphone'));
    const words = talks ? microphoneWords(status, this.#name) : '';
    if (this.#note.dataset.words !== words) {
      this.#note.dataset.words = words;
      const retry = () => this.#client.openMicrophone();
      const label = status === 'off' ? 'Turn on microphone' : 'Try again';
      this.#note.replaceChildren(
        ...(words
          ? [h('p', {}, words), status !== 'insecure' && h('button', { type: 'button', class: 'plain', onclick: retry }, label)]
          : []
        ).filter((child) => child !== false),
      );
    }
    // The start button went away with its focus: go on where the conversation is.
    if (starts && !root.activeElement) (this.#mute.disabled ? this.#text : this.#mute).focus();
  }

  #microphones() {
    const { devices, deviceId } = this.#client.microphone;
    const choices = devices.map((device) => ({ id: device.deviceId, label: device.label }));
    return {
      groups: choices.length ? [{ title: 'Microphone', choices }] : [],
      current: deviceId,
      empty: 'No microphone to choose from',
    };
  }

  #voices() {
    const { voices = [], voice = '' } = this.#client.hello ?? {};
    const providers = [...new Set(voices.map((each) => each.provider))];
    const groups = providers.map((provider) => {
      const own = voices.filter((each) => each.provider === provider);
      return {
        title: provider,
        note: own.some((each) => each.online) ? `Online: what is said is sent as text to ${provider}.` : 'On this server.',
        choices: own.map(({ id, name, language, online }) => ({
          id,
          label: name,
          aside: language,
          badge: online ? 'online' : undefined,
        })),
      };
    });
    return { groups, current: voice, empty: 'No voice to choose from' };
  }
}
