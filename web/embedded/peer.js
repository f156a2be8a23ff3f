// One RTCPeerConnection of one conversation. In: a microphone track and the server's answer. Out: one stream with sound
// and picture, messages of the data channel `mien`, and one `lost` when the path is gone. It knows neither HTTP nor
// sessions: `embedded-client.js` makes a new peer where this one ends.

import { Hush } from './hush.js';

/** @typedef {import('../client.js').Tried} Tried */

const GATHER_MS = 2000;
/** No route is said within 10 s of the start, but an answer that came late still gets a fair time to connect. */
const CONNECT_MS = 9000;
const CONNECT_AFTER_ANSWER_MS = 6000;
/** `disconnected` often heals by itself. */
const HEAL_MS = 1200;
const PING_EVERY_MS = 1000;
const SILENCE_MS = 2400;
/**
 * Where browsers let sound and picture find their own depth, they begin apart (the sound 50 to 100 ms late, in Chromium) and
 * come together over half a minute. The picture's is deeper by what showing it takes less than playing the sound does.
 * @type {Record<string, number>}
 */
const BUFFER_MS = { audio: 60, video: 100 };
/** Smaller changes of the jitter buffer's depth are not worth a message. */
const TOLD_MS = 5;

/** No path to the server was found; `tried` says where one was looked for. */
export class NoRoute extends Error {
  /** @param {Tried} tried */
  constructor(tried) {
    super('no route to the server');
    this.name = 'NoRoute';
    this.tried = tried;
  }
}

export class Peer {
  stream = new MediaStream();

  #pc;
  #channel;
  #microphone;
  #handlers;
  #closed = false;
  #startedMs = performance.now();
  #candidates = { host: 0, mdns: 0, srflx: 0, relay: 0 };
  /** @type {string[]} */
  #remoteTypes = [];
  /** @type {Set<string>} */
  #errors = new Set();
  #configured;
  #heardMs = 0;
  #tickMs = 0;
  #received = 0;
  #watch = 0;
  #heal = 0;
  /** @type {Hush | null} */
  #hush = null;
  #bufferedMs = 0;

  /**
   * @param {RTCIceServer[]} iceServers
   * @param {MediaStreamTrack | null} track  the microphone, if there is one already
   * @param {{message: (message: any) => void, media: (stream: MediaStream) => void, lost: () => void}} handlers
   */
  constructor(iceServers, track, handlers) {
    this.#handlers = handlers;
    this.#configured = iceServers.length > 0;
    this.#pc = new RTCPeerConnection({ iceServers, bundlePolicy: 'max-bundle' });
    // Sound is sent in any case: a microphone that is allowed later needs no new negotiation.
    this.#microphone = this.#pc.addTransceiver(track ?? 'audio', { direction: 'sendrecv' }).sender;
    this.#pc.addTransceiver('video', { direction: 'recvonly' });
    this.#channel = this.#pc.createDataChannel('mien', { ordered: true });

    this.#channel.addEventListener('message', (event) => this.#onMessage(event.data));
    this.#channel.addEventListener('close', () => this.#lost());
    this.#pc.addEventListener('track', (event) => {
      this.stream.addTrack(event.track);
      if ('jitterBufferTarget' in event.receiver) event.receiver.jitterBufferTarget = BUFFER_MS[event.track.kind];
      if (event.track.kind === 'audio') this.#hush = new Hush(event.receiver);
      if (this.stream.getTracks().length === 2) handlers.media(this.stream);
    });
    this.#pc.addEventListener('iceconnectionstatechange', () => this.#onIceState());
    this.#pc.addEventListener('icecandidate', ({ candidate }) => this.#count(candidate));
    this.#pc.addEventListener('icecandidateerror', ({ url, errorText, errorCode }) => {
      this.#errors.add(`${url}: ${errorText || `error ${errorCode}`}`);
    });
  }

  /**
   * The offer, once its candidates are in it.
   * @param {{iceRestart?: boolean}} [options]
   * @returns {Promise<string>}
   */
  async offer(options) {
    await this.#pc.setLocalDescription(await this.#pc.createOffer(options));
    if (this.#pc.iceGatheringState !== 'complete') {
      await new Promise((resolve) => {
        setTimeout(resolve, GATHER_MS);
        this.#pc.addEventListener('icegatheringstatechange', () => {
          if (this.#pc.iceGatheringState === 'complete') resolve(undefined);
        });
      });
    }
    return this.#pc.localDescription?.sdp ?? '';
  }

  /**
   * Take the answer and wait for the path and the channel.
   * @param {string} sdp
   * @param {AbortSignal} signal
   * @throws {NoRoute}
   */
  async connect(sdp, signal) {
    this.#remoteTypes = [...sdp.matchAll(/^a=candidate:.* typ (\w+)/gm)].map((match) => match[1]);
    await this.#pc.setRemoteDescription({ type: 'answer', sdp });
    await this.#path(signal, () => this.#channel.readyState === 'open');
    this.#startWatch();
  }

  /**
   * Take the answer to an ICE restart and wait for the new path.
   * @param {string} sdp
   * @param {AbortSignal} signal
   * @throws {NoRoute}
   */
  async reconnect(sdp, signal) {
    await this.#pc.setRemoteDescription({ type: 'answer', sdp });
    await this.#path(signal, () => ['connected', 'completed'].includes(this.#pc.iceConnectionState));
    this.#startWatch();
  }

  /** @param {MediaStreamTrack | null} track */
  async useMicrophone(track) {
    await this.#microphone.replaceTrack(track);
  }

  /**
   * @param {object} message
   * @returns {boolean} whether it could be handed to the channel
   */
  send(message) {
    if (this.#channel.readyState !== 'open') return false;
    this.#channel.send(JSON.stringify(message));
    return true;
  }

  /** @returns {Promise<any[]>} the entries of RTCPeerConnection.getStats() */
  async stats() {
    return [...(await this.#pc.getStats()).values()];
  }

  /** @param {number} [lingerMs]  so that what was sent last still leaves */
  close(lingerMs = 0) {
    this.#closed = true;
    this.#stopWatch();
    this.#hush?.end();
    if (lingerMs) setTimeout(() => this.#pc.close(), lingerMs);
    else this.#pc.close();
  }

  /**
   * @param {AbortSignal} signal
   * @param {() => boolean} there
   */
  async #path(signal, there) {
    const elapsedMs = performance.now() - this.#startedMs;
    await new Promise((resolve, reject) => {
      const deadline = setTimeout(
        () => finish(new NoRoute(this.#tried())),
        Math.max(CONNECT_MS - elapsedMs, CONNECT_AFTER_ANSWER_MS),
      );
      const check = () => {
        if (there()) finish(null);
        else if (this.#pc.iceConnectionState === 'failed') finish(new NoRoute(this.#tried()));
        else if (this.#pc.connectionState === 'failed') finish(new Error('the encrypted connection failed'));
      };
      const abort = () => finish(signal.reason);
      /** @param {unknown} error */
      const finish = (error) => {
        clearTimeout(deadline);
        this.#pc.removeEventListener('iceconnectionstatechange', check);
        this.#pc.removeEventListener('connectionstatechange', check);
        this.#channel.removeEventListener('open', check);
        signal.removeEventListener('abort', abort);
        if (error) reject(error);
        else resolve(undefined);
      };
      this.#pc.addEventListener('iceconnectionstatechange', check);
      this.#pc.addEventListener('connectionstatechange', check);
      this.#channel.addEventListener('open', check);
      signal.addEventListener('abort', abort);
      check();
    });
  }

  /** @param {RTCIceCandidate | null} candidate */
  #count(candidate) {
    if (!candidate?.candidate) return;
    const type = candidate.type === 'host' && candidate.address?.endsWith('.local') ? 'mdns' : candidate.type;
    if (type && type in this.#candidates) this.#candidates[/** @type {'host'} */ (type)] += 1;
  }

  /** @returns {Tried} */
  #tried() {
    return {
      ...this.#candidates,
      remote: this.#remoteTypes,
      configured: this.#configured,
      errors: [...this.#errors],
    };
  }

  /** @param {string} data */
  #onMessage(data) {
    if (this.#closed) return;
    this.#heardMs = performance.now();
    const message = JSON.parse(data);
    if (message.type === 'hush') this.#hush?.begin(message.until_rtp);
    else if (message.type !== 'pong') this.#handlers.message(message);
    this.#hush?.look();
  }

  #onIceState() {
    clearTimeout(this.#heal);
    if (!this.#watch) return; // not connected yet: connect() waits and decides
    const state = this.#pc.iceConnectionState;
    if (state === 'failed' || state === 'closed') this.#lost();
    if (state === 'disconnected') this.#heal = setTimeout(() => this.#lost(), HEAL_MS);
  }

  /** ICE needs many seconds to notice a peer that fell silent; a ping a second notices in two to three. */
  #startWatch() {
    this.#heardMs = this.#tickMs = performance.now();
    this.#watch = setInterval(() => void this.#tick(), PING_EVERY_MS);
  }

  #stopWatch() {
    clearInterval(this.#watch);
    clearTimeout(this.#heal);
    this.#watch = 0;
  }

  async #tick() {
    const nowMs = performance.now();
    const lateMs = nowMs - this.#tickMs - PING_EVERY_MS;
    this.#tickMs = nowMs;
    if (lateMs > PING_EVERY_MS) this.#heardMs = nowMs; // the page itself slept: silence says nothing about the server
    this.send({ type: 'ping', t: Math.round(nowMs) });
    void this.#tellBuffered();
    const silent = nowMs - this.#heardMs > SILENCE_MS;
    const received = silent ? await this.#packetsReceived() : this.#received;
    if (silent && received === this.#received) this.#lost();
    this.#received = received; // sound that still flows keeps the connection, however late the channel is
  }

  /** The server counts what waits here as not heard. */
  async #tellBuffered() {
    const ms = await this.#hush?.bufferedMs();
    if (ms == null || Math.abs(ms - this.#bufferedMs) < TOLD_MS) return;
    this.#bufferedMs = ms;
    this.send({ type: 'buffer', sound_ms: Math.round(ms) });
  }

  /** @returns {Promise<number>} */
  async #packetsReceived() {
    const media = (await this.stats()).filter((entry) => entry.type === 'inbound-rtp');
    return media.reduce((sum, entry) => sum + entry.packetsReceived, 0);
  }

  #lost() {
    if (this.#closed || !this.#watch) return;
    this.#stopWatch();
    this.#handlers.lost();
  }
}
