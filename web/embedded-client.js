// The client interface over docs/protocol.md: one peer connection at a time, one conversation across all of them.
// In: the page's calls, the server's answers and messages. Out: the events of client.js.

import { ApiError } from './api.js';
import { ClientEvents } from './client.js';
import { Peer } from './embedded/peer.js';
import { outcome, pause } from './embedded/retry.js';
import { summarize } from './embedded/stats.js';
import { forgetSession, recentSession, rememberSession } from './kept.js';
import { Microphone } from './microphone.js';

/** @typedef {import('./client.js').AvatarClient} AvatarClient */
/** @typedef {import('./client.js').Connection} Connection */
/** @typedef {{session: string, secret: string}} Session */

/** How long a connection outlives the word that the person leaves. */
const LEAVE_MS = 250;

/** @implements {AvatarClient} */
export class EmbeddedClient extends ClientEvents {
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
  /** @type {Peer | null} */
  #peer = null;
  /** The track that the peer sends. @type {MediaStreamTrack | null} */
  #sent = null;
  /** The track whose echo cancellation was looked at. @type {MediaStreamTrack | null} */
  #judged = null;
  /** Ends everything that start() began. @type {AbortController} */
  #run = new AbortController();
  /** @type {Session | null} */
  #session = null;
  #canRestart = false;
  #greeted = false;
  #resumed = false;
  #chats = 0;

  /** @param {import('./api.js').Api} api */
  constructor(api) {
    super();
    this.#api = api;
    addEventListener('pagehide', () => {
      if (this.#peer && this.#session) rememberSession(this.#session);
    });
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
    this.#session ??= /** @type {Session | null} */ (recentSession(['session', 'secret']));
    this.#enter({ phase: 'connecting' });
    void this.#begin(microphone, run.signal);
  }

  leave() {
    const said = this.#send({ type: 'leave' });
    this.#forget();
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
    if (this.#send({ type: 'chat', id, text })) {
      this.emit('caption', { role: 'user', id, text, final: true });
    }
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
    return summarize(this.#peer ? await this.#peer.stats() : []);
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
   * Connect, and try again for as long as that makes sense.
   * @param {AbortSignal} signal
   */
  async #connect(signal) {
    for (let attempt = 0; !signal.aborted; attempt += 1) {
      try {
        await this.#connectOnce(signal);
        return;
      } catch (error) {
        if (signal.aborted) return;
        this.#dropPeer();
        const next = outcome(error, attempt);
        if (next.phase === 'failed') this.#microphone.close();
        this.#enter(next);
        if (next.phase === 'failed') return;
        await pause(/** @type {number} */ (next.retryAtMs) - performance.now(), signal);
      }
    }
  }

  /** @param {AbortSignal} signal */
  async #connectOnce(signal) {
    // Asked for again each time: a relay's credentials expire, and a token may have come in between.
    const config = await this.#api.config(signal);
    signal.throwIfAborted();
    this.#canRestart = config.ice_restart === true;
    const track = this.#microphone.track;
    const peer = new Peer(config.ice_servers, track, {
      message: (message) => this.#onMessage(message),
      media: (stream) => this.#onMedia(stream),
      lost: () => void this.#onLost(signal),
    });
    this.#peer = peer;
    this.#sent = track;
    const sdp = await peer.offer();
    signal.throwIfAborted();
    const answer = await this.#answer(sdp, signal);
    this.#session = { session: answer.session, secret: answer.secret };
    this.#resumed = answer.resumed;
    this.#greeted = false;
    await peer.connect(answer.sdp, signal);
    rememberSession(this.#session);
    if (this.#microphone.state.muted) this.#send({ type: 'mute', muted: true });
    if (this.halfDuplex) this.#send({ type: 'half_duplex', on: true });
    this.#enter({ phase: 'connected' });
    await this.#sendMicrophone(); // it may have come, or gone, in the meantime
  }

  /**
   * @param {string} sdp
   * @param {AbortSignal} signal
   */
  async #answer(sdp, signal) {
    if (!this.#session) return this.#api.offer({ sdp }, signal);
    try {
      const answer = await this.#api.offer({ sdp, ...this.#session }, signal);
      if (!answer.resumed) this.#onSessionLost();
      return answer;
    } catch (error) {
      if (!(error instanceof ApiError) || error.code !== 'session_gone') throw error;
      this.#onSessionLost();
      return this.#api.offer({ sdp }, signal);
    }
  }

  #onSessionLost() {
    this.#forget();
    this.emit('notice', {
      level: 'warning',
      code: 'conversation_lost',
      text: 'The earlier conversation could not be kept: it was away for too long. This is a new one.',
    });
  }

  /** @param {AbortSignal} signal */
  async #onLost(signal) {
    if (signal.aborted || this.connection.phase !== 'connected') return;
    this.#enter({ phase: 'reconnecting', cause: 'lost' });
    if (this.#canRestart && (await this.#restart(signal))) return;
    if (signal.aborted) return;
    this.#dropPeer();
    await this.#connect(signal);
  }

  /**
   * The same connection over another path. @returns {Promise<boolean>} whether that worked
   * @param {AbortSignal} signal
   */
  async #restart(signal) {
    const peer = this.#peer;
    if (!peer || !this.#session) return false;
    try {
      const sdp = await peer.offer({ iceRestart: true });
      const answer = await this.#api.offer({ sdp, ...this.#session, ice_restart: true }, signal);
      await peer.reconnect(answer.sdp, signal);
    } catch (error) {
      if (!signal.aborted) console.info('The ICE restart failed; trying a new connection.', error);
      return false;
    }
    this.#enter({ phase: 'connected' });
    return true;
  }

  /** @param {any} message */
  #onMessage(message) {
    switch (message.type) {
      case 'hello':
        this.hello = { ...message, first: !this.#greeted, resumed: this.#resumed };
        this.#greeted = true;
        this.emit('hello', this.hello);
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
      case 'bye':
        this.#forget();
        this.#stop();
        this.#microphone.close();
        this.#enter({ phase: 'ended', cause: message.reason, text: message.text });
        break;
      default: // a newer server may say more than this page knows
    }
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
    void this.#sendMicrophone();
  }

  async #sendMicrophone() {
    const track = this.#microphone.track;
    if (!this.#peer || this.connection.phase !== 'connected' || this.#sent === track) return;
    this.#sent = track;
    await this.#peer.useMicrophone(track);
  }

  /**
   * @param {object} message
   * @returns {boolean}
   */
  #send(message) {
    return this.#peer?.send(message) ?? false;
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

  #stop(lingerMs = 0) {
    this.#run.abort(new Error('the conversation ended here'));
    this.#dropPeer(lingerMs);
    this.#setState('idle');
  }

  #dropPeer(lingerMs = 0) {
    const peer = this.#peer;
    this.#peer = null;
    peer?.close(lingerMs);
    if (this.#session) rememberSession(this.#session); // from now on the server counts its 30 s
  }

  #forget() {
    this.#session = null;
    forgetSession();
  }
}
