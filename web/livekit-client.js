// The client interface over a LiveKit room: docs/livekit.md. In: the page's calls, tokens from the page's server, the
// avatar's messages. Out: the events of client.js. One conversation may take several visits to its room.

import { ApiError } from './api.js';
import { ClientEvents } from './client.js';
import { pause } from './embedded/retry.js';
import { summarize } from './embedded/stats.js';
import { Arrival } from './livekit/arrival.js';
import { Absent, livekitOutcome } from './livekit/outcome.js';
import { Outbox } from './livekit/outbox.js';
import { Place } from './livekit/place.js';
import { Visit } from './livekit/visit.js';
import { Microphone } from './microphone.js';

/** @typedef {import('./client.js').AvatarClient} AvatarClient */
/** @typedef {import('./client.js').Connection} Connection */
/** @typedef {import('./livekit/visit.js').Missing} Missing */

/** How long a connection outlives the word that the person leaves. */
const LEAVE_MS = 250;
/** A worker that has room comes within two seconds. */
const ARRIVE_MS = 15_000;
/**
 * How long what is missing may take to come back by itself. Then a new token is asked for.
 * @type {Record<Missing, number>}
 */
const BACK_MS = { lost: 15_000, avatar_gone: 20_000 };
/** The avatar waits for who has this attribute when they go without the word that they leave: agent and page agree on it. */
const RETURNS = { 'mien.returns': 'yes' };

/** @implements {AvatarClient} */
export class LiveKitClient extends ClientEvents {
  /** @type {Connection} */
  connection = { phase: 'idle' };
  /** @type {import('./client.js').AgentState} */
  state = 'idle';
  /** @type {import('./client.js').Hello | null} */
  hello = null;
  /** @type {MediaStream | null} */
  stream = null;
  halfDuplex = false;

  #api;
  #microphone = new Microphone((state) => this.#onMicrophone(state));
  /** @type {Visit | null} */
  #visit = null;
  #outbox = new Outbox((message) => this.#visit?.send(message) ?? false);
  /** The track whose echo cancellation was looked at. @type {MediaStreamTrack | null} */
  #judged = null;
  /** Ends everything that start() began. @type {AbortController} */
  #run = new AbortController();
  #place = new Place();
  #patience = 0;
  /** The conversation of the last hello. */
  #session = '';
  #greeted = false;
  #chats = 0;

  /** @param {import('./api.js').Api} api */
  constructor(api) {
    super();
    this.#api = api;
    addEventListener('pagehide', () => this.#onPageHide());
  }

  get microphone() {
    return this.#microphone.state;
  }

  start({ microphone = true } = {}) {
    const { phase } = this.connection;
    const withoutWaiting = phase === 'connecting' && this.microphone.status === 'asking' && !microphone;
    if (!withoutWaiting && !['idle', 'failed', 'ended', 'waiting'].includes(phase)) return;
    this.#stop();
    const run = (this.#run = new AbortController());
    this.#session = this.#place.recall() ?? this.#session;
    this.#enter({ phase: 'connecting' });
    void this.#begin(microphone, run.signal);
  }

  leave() {
    const said = this.#visit?.send({ type: 'leave' }) ?? false;
    this.#place.forget();
    this.#stop(said ? LEAVE_MS : 0);
    this.#microphone.close();
    this.#enter({ phase: 'idle' });
  }

  openMicrophone() {
    void this.#microphone.open();
  }

  /** @param {string} text */
  sendChat(text) {
    const id = `chat-${Date.now().toString(36)}-${(this.#chats += 1)}`;
    if (!this.#visit) return;
    this.#send({ type: 'chat', id, text });
    this.emit('caption', { role: 'user', id, text, final: true });
  }

  interrupt() {
    this.#send({ type: 'interrupt' });
  }

  /** @param {boolean} muted */
  setMuted(muted) {
    this.#microphone.setMuted(muted);
    this.#send({ type: 'mute', muted });
  }

  /** @param {string} voice */
  setVoice(voice) {
    this.#send({ type: 'voice', voice });
  }

  /** @param {string} deviceId */
  setMicrophone(deviceId) {
    void this.#microphone.choose(deviceId);
  }

  /**
   * @param {string} offer
   * @param {boolean} granted
   */
  consent(offer, granted) {
    this.#send({ type: 'consent', offer, granted });
  }

  /** @param {boolean} on */
  setHalfDuplex(on) {
    this.halfDuplex = on;
    this.#send({ type: 'half_duplex', on });
    this.emit('halfduplex', { on });
  }

  async getStats() {
    return summarize(this.#visit ? await this.#visit.stats() : []);
  }

  /**
   * @param {boolean} microphone
   * @param {AbortSignal} signal
   */
  async #begin(microphone, signal) {
    // Before the connection: with the permission, browsers give this device's real addresses to the search for a route.
    if (microphone && this.#microphone.state.status !== 'on') await this.#microphone.open();
    if (!signal.aborted) await this.#connect(signal);
  }

  /**
   * Come to a room where the avatar is, and try again for as long as that makes sense.
   * @param {AbortSignal} signal
   * @param {unknown} [trouble]  what happened just now, if that is to be said before the first attempt
   */
  async #connect(signal, trouble) {
    for (let attempt = 0; !signal.aborted; attempt += 1) {
      try {
        if (trouble) throw trouble;
        await this.#connectOnce(signal);
        return;
      } catch (error) {
        trouble = undefined;
        if (signal.aborted) return;
        this.#dropVisit();
        if (error instanceof Absent) this.#place.forget(); // nobody will come to that room any more
        const next = livekitOutcome(error, attempt);
        if (next.phase === 'failed') this.#microphone.close();
        this.#enter(next);
        if (next.phase === 'failed') return;
        await pause(/** @type {number} */ (next.retryAtMs) - performance.now(), signal);
      }
    }
  }

  /** @param {AbortSignal} signal */
  async #connectOnce(signal) {
    const { agent } = await this.#api.config(signal);
    const wishes = { ...this.#place.wishes, participant_attributes: RETURNS };
    const ticket = await this.#api.ticket(agent, wishes, signal);
    signal.throwIfAborted();
    const arrival = new Arrival();
    const visit = new Visit({
      message: (message) => this.#visit === visit && this.#onMessage(message),
      media: (stream) => this.#visit === visit && this.#onMedia(stream),
      presence: (missing) => {
        if (this.#visit !== visit) return;
        if (!missing) arrival.came();
        if (arrival.happened) this.#onPresence(missing, signal);
      },
      over: (cause) => {
        if (this.#visit !== visit) return;
        if (cause !== 'lost') this.#end(cause);
        else if (arrival.happened) this.#onLost(signal);
        else arrival.failed(new ApiError('server_gone', 'LiveKit let go of the room'));
      },
    });
    this.#visit = visit;
    this.#greeted = false;
    await visit.enter(ticket.serverUrl, ticket.participantToken, signal);
    this.#place.entered(visit.where);
    visit.useMicrophone(this.#microphone.track);
    await arrival.within(ARRIVE_MS, signal);
  }

  /**
   * @param {Missing | null} missing
   * @param {AbortSignal} signal
   */
  #onPresence(missing, signal) {
    clearTimeout(this.#patience);
    if (!missing) {
      this.#enter({ phase: 'connected' });
      this.#visit?.useMicrophone(this.#microphone.track); // it may have come, or gone, in the meantime
      return;
    }
    if (this.connection.phase === 'connected') this.#place.lost();
    this.#enter({ phase: 'reconnecting', cause: missing });
    if (missing === 'avatar_gone') {
      this.emit('notice', {
        level: 'warning',
        code: 'reconnecting',
        text: 'The avatar has gone away. If it is not back in some seconds, a new conversation begins.',
      });
    }
    this.#patience = setTimeout(() => void this.#afresh(missing, signal), BACK_MS[missing]);
  }

  /**
   * @param {Missing} missing
   * @param {AbortSignal} signal
   */
  async #afresh(missing, signal) {
    if (signal.aborted || this.connection.phase !== 'reconnecting') return;
    this.#dropVisit();
    await this.#connect(signal, missing === 'avatar_gone' ? new Absent('avatar_gone') : undefined);
  }

  /** livekit-client has given up. @param {AbortSignal} signal */
  #onLost(signal) {
    clearTimeout(this.#patience);
    this.#enter({ phase: 'reconnecting', cause: 'lost' });
    void this.#afresh('lost', signal);
  }

  /** @param {any} message */
  #onMessage(message) {
    switch (message.type) {
      case 'hello':
        this.#onHello(message);
        break;
      case 'state':
        this.#setState(message.state);
        break;
      case 'user_state':
        this.emit('userstate', { state: message.state });
        break;
      case 'caption':
      case 'notice':
      case 'progress':
      case 'turn':
        this.emit(message.type, message);
        break;
      case 'heard':
        this.#outbox.heard(message.id);
        break;
      case 'bye':
        this.#end(message.reason, message.text);
        break;
      default: // a newer avatar may say more than this page knows
    }
  }

  /** @param {any} message */
  #onHello(message) {
    const resumed = message.session === this.#session;
    const first = !this.#greeted || !resumed;
    this.#greeted = true;
    this.#session = message.session;
    if (first) {
      // Whoever speaks now may not be who was told before.
      if (this.#microphone.state.muted) this.#send({ type: 'mute', muted: true });
      if (this.halfDuplex) this.#send({ type: 'half_duplex', on: true });
    }
    this.hello = { ...message, first, resumed };
    this.emit('hello', this.hello);
  }

  /** @param {MediaStream} stream */
  #onMedia(stream) {
    this.stream = stream;
    this.emit('media', { stream });
  }

  /** @param {import('./client.js').MicrophoneState} state */
  #onMicrophone(state) {
    this.emit('microphone', state);
    const track = this.#microphone.track;
    const isNew = track !== null && track !== this.#judged;
    this.#judged = track;
    if (isNew && !state.echoCancelled && !this.halfDuplex) {
      this.setHalfDuplex(true);
      this.emit('notice', {
        level: 'info',
        code: 'half_duplex',
        text: 'This microphone has no echo cancellation, so the avatar does not listen while it speaks.',
      });
    }
    if (this.connection.phase === 'connected') this.#visit?.useMicrophone(track);
  }

  /** It arrives, also where the connection is just being mended. @param {{type: string, [key: string]: unknown}} message */
  #send(message) {
    if (this.#visit) this.#outbox.push(message);
  }

  /** @param {Connection} connection */
  #enter(connection) {
    this.connection = connection;
    this.emit('connection', connection);
  }

  /** @param {import('./client.js').AgentState} state */
  #setState(state) {
    this.state = state;
    this.emit('state', { state });
  }

  /**
   * @param {import('./client.js').Cause} cause
   * @param {string} [text]
   */
  #end(cause, text) {
    this.#place.forget();
    this.#stop();
    this.#microphone.close();
    this.#enter({ phase: 'ended', cause, text });
  }

  /** A reload, or for good: nobody knows. Browsers may also keep the page as it is, for a way back. */
  #onPageHide() {
    if (!this.#place.keep(this.#session)) return;
    this.#stop();
    this.#microphone.close();
    this.#enter({ phase: 'idle' });
  }

  #stop(lingerMs = 0) {
    this.#run.abort(new Error('the conversation ended here'));
    this.#outbox.clear();
    this.#dropVisit(lingerMs);
    this.#setState('idle');
  }

  #dropVisit(lingerMs = 0) {
    clearTimeout(this.#patience);
    const visit = this.#visit;
    this.#visit = null;
    visit?.close(lingerMs);
  }
}
