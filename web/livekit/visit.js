// One visit to a LiveKit room, over livekit-client. In: where to go, a token, the microphone's track. Out: one stream with
// the avatar's sound and picture, its messages on the topic `mien`, and whether it is here. livekit-client mends the
// connection by itself; where it cannot, `lost` is said once, and `livekit-client.js` makes a new visit.

import {
  ConnectionError,
  ConnectionErrorReason,
  ConnectionState,
  DisconnectReason,
  ParticipantKind,
  Room,
  RoomEvent,
  Track,
  setLogLevel,
} from '../vendor/livekit-client/livekit-client.js';
import { ApiError } from '../api.js';
import { Hush } from '../embedded/hush.js';

/** @typedef {'lost'|'avatar_gone'} Missing  lost: the connection to LiveKit. avatar_gone: it left, or fell silent. */

/**
 * @typedef {object} Handlers
 * @property {(message: any) => void} message
 * @property {(stream: MediaStream) => void} media
 * @property {(missing: Missing | null) => void} presence  null: the avatar is here and takes messages
 * @property {(cause: 'lost' | 'left' | 'replaced') => void} over  this visit has ended, not by `close`
 */

const TOPIC = 'mien';
const CONNECT_MS = 9000;
const READ_MS = 5000;
const LOOK_EVERY_MS = 1000;
/** The voice is sent all the time, silence too: without any for so long its sender has gone. LiveKit notices 20 s later. */
const SILENT_LOOKS = 3;
/**
 * As in the embedded room: buffers that begin with stated depths are in step from the first second. The picture's is deeper
 * by what sound takes longer here: LiveKit's clients gather 20 ms of it for a packet, and it is played later than a picture
 * is shown (with 60 and 80 it came 54 ms late in Chromium, with these 5 ms).
 * @type {Record<string, number>}
 */
const BUFFER_MS = { audio: 40, video: 120 };

/** What was sent before it was cut, and is still on its way when the word of that comes. */
const IN_FLIGHT_MS = 40;
const RTP_PER_MS = 48;

setLogLevel('error');

/** The LiveKit server answers, but sound and picture find no way to it. */
export class NoPath extends Error {
  name = 'NoPath';
}

export class Visit {
  #room = new Room({
    adaptiveStream: false,
    dynacast: false,
    stopLocalTrackOnUnpublish: false,
    disconnectOnPageLeave: false, // who made this visit ends it
  });
  #handlers;
  #closed = false;
  #reached = false;
  /** The tracks of each agent in the room, by its identity. @type {Map<string, {audio?: any, video?: any}>} */
  #tracks = new Map();
  /** Whose tracks are in the stream. */
  #avatar = '';
  #greeted = false;
  #silent = false;
  /** @type {Hush | null} */
  #hush = null;
  /** @type {Missing | null | undefined} */
  #told;
  #looks = { packets: 0, same: 0 };
  #timer = 0;
  /** @type {MediaStreamTrack | null} */
  #microphone = null;
  /** Each in its turn: what is sent, what is read, and changes of the microphone. */
  #sending = Promise.resolve();
  #reading = Promise.resolve();
  #publishing = Promise.resolve();

  /** @param {Handlers} handlers */
  constructor(handlers) {
    this.#handlers = handlers;
    const room = this.#room;
    room.registerTextStreamHandler(TOPIC, (/** @type {any} */ reader) => {
      this.#reading = this.#reading.then(() => this.#read(reader));
    });
    room.on(RoomEvent.SignalConnected, () => (this.#reached = true));
    room.on(RoomEvent.TrackSubscribed, (track, _publication, participant) => this.#onTrack(track, participant));
    room.on(RoomEvent.TrackUnsubscribed, (track, _publication, participant) => this.#onTrackGone(track, participant));
    room.on(RoomEvent.ParticipantDisconnected, (participant) => this.#onGone(participant.identity));
    room.on(RoomEvent.ConnectionStateChanged, () => this.#judge());
    room.on(RoomEvent.Disconnected, (reason) => this.#onDisconnected(reason));
  }

  /** Which room, and as whom: what a new token must name to come back to this conversation. @returns {import('./place.js').Where} */
  get where() {
    return { room_name: this.#room.name, participant_identity: this.#room.localParticipant.identity };
  }

  /**
   * @param {string} url
   * @param {string} token
   * @param {AbortSignal} signal
   * @throws {NoPath} @throws {ApiError}
   */
  async enter(url, token, signal) {
    try {
      await this.#room.connect(url, token, { peerConnectionTimeout: CONNECT_MS, websocketTimeout: CONNECT_MS });
    } catch (error) {
      signal.throwIfAborted();
      throw this.#translated(error, url);
    }
    signal.throwIfAborted();
    this.#timer = setInterval(() => void this.#look(), LOOK_EVERY_MS);
    this.#judge();
  }

  /**
   * @param {unknown} error
   * @param {string} url
   */
  #translated(error, url) {
    if (!(error instanceof ConnectionError)) return error;
    if (error.reason === ConnectionErrorReason.NotAllowed || error.reason === ConnectionErrorReason.ServiceNotFound) {
      return new ApiError('rejected', `The LiveKit server at ${url} does not let this page in: ${error.message}`);
    }
    return this.#reached ? new NoPath(error.message) : new ApiError('server_gone', error.message);
  }

  /** @param {MediaStreamTrack | null} track  sent from now on; whoever opened it stops it */
  useMicrophone(track) {
    this.#publishing = this.#publishing.then(async () => {
      if (this.#closed || track === this.#microphone) return;
      const local = this.#room.localParticipant;
      const published = local.getTrackPublication(Track.Source.Microphone)?.track;
      if (!track) {
        if (published) await local.unpublishTrack(published, false);
      } else if (published) {
        await published.replaceTrack(track, true);
      } else {
        await local.publishTrack(track, { source: Track.Source.Microphone, red: true, dtx: true });
      }
      this.#microphone = track;
    });
    this.#publishing = this.#publishing.catch((error) => {
      if (this.#closed) return;
      console.info('The microphone could not be published.', error);
      const text = 'Your microphone could not be connected. You can type; to talk, choose the microphone again.';
      this.#handlers.message({ type: 'notice', level: 'warning', code: 'microphone_not_sent', text });
    });
  }

  /**
   * @param {object} message
   * @returns {boolean} whether it is on its way
   */
  send(message) {
    if (this.#closed || this.#room.state !== ConnectionState.Connected) return false;
    this.#sending = this.#sending
      .then(() => this.#room.localParticipant.sendText(JSON.stringify(message), { topic: TOPIC }))
      .then(
        () => undefined,
        (error) => console.info('A message could not be sent.', error),
      );
    return true;
  }

  /** @returns {Promise<any[]>} the entries of getStats() of the avatar's tracks and of the microphone */
  async stats() {
    const { audio, video } = this.#tracks.get(this.#avatar) ?? {};
    const microphone = this.#room.localParticipant.getTrackPublication(Track.Source.Microphone)?.track;
    const reports = await Promise.all([audio, video, microphone].map((track) => track?.getRTCStatsReport()));
    const entries = new Map();
    for (const report of reports) {
      for (const entry of report?.values() ?? []) {
        if (!entries.has(entry.id)) entries.set(entry.id, entry);
      }
    }
    return [...entries.values()];
  }

  /** @param {number} [lingerMs]  so that what was sent last still leaves */
  close(lingerMs = 0) {
    this.#closed = true;
    clearInterval(this.#timer);
    this.#hush?.end();
    const leave = () => void this.#room.disconnect(false);
    if (lingerMs) setTimeout(leave, lingerMs);
    else leave();
  }

  /**
   * @param {any} track
   * @param {any} participant
   */
  #onTrack(track, participant) {
    if (participant.kind !== ParticipantKind.AGENT) return;
    if (track.receiver && 'jitterBufferTarget' in track.receiver) {
      track.receiver.jitterBufferTarget = BUFFER_MS[track.kind];
    }
    const tracks = { ...this.#tracks.get(participant.identity), [track.kind]: track };
    this.#tracks.set(participant.identity, tracks);
    if (!tracks.audio || !tracks.video || this.#closed) return;
    this.#avatar = participant.identity; // the newest, where there are two: the older one is on its way out
    this.#silent = false;
    this.#looks = { packets: 0, same: 0 };
    this.#hush?.end();
    this.#hush = tracks.audio.receiver ? new Hush(tracks.audio.receiver) : null;
    this.#handlers.media(new MediaStream([tracks.audio.mediaStreamTrack, tracks.video.mediaStreamTrack]));
    this.#judge();
  }

  /**
   * @param {any} track
   * @param {any} participant
   */
  #onTrackGone(track, participant) {
    const tracks = this.#tracks.get(participant.identity);
    if (tracks?.[/** @type {'audio'} */ (track.kind)] === track) this.#onGone(participant.identity);
  }

  /** @param {string} identity */
  #onGone(identity) {
    this.#tracks.delete(identity);
    if (identity !== this.#avatar) return;
    this.#avatar = '';
    this.#greeted = false;
    this.#judge();
  }

  /** @param {any} reader  of one text stream */
  async #read(reader) {
    let message;
    try {
      message = JSON.parse(await reader.readAll({ signal: AbortSignal.timeout(READ_MS) }));
    } catch (error) {
      console.info('A message could not be read.', error);
      return;
    }
    if (this.#closed) return;
    if (message.type === 'hello') this.#greeted = true;
    if (message.type === 'caption' && message.interrupted) void this.#cut();
    this.#handlers.message(message);
    this.#judge();
  }

  /** The voice was cut: what waits in the browser's buffer is not to be heard either. */
  async #cut() {
    const receiver = this.#tracks.get(this.#avatar)?.audio.receiver;
    const bufferedMs = (await this.#hush?.bufferedMs()) ?? 0;
    const [source] = receiver?.getSynchronizationSources() ?? [];
    if (!source || this.#closed) return;
    this.#hush?.begin((source.rtpTimestamp + (bufferedMs + IN_FLIGHT_MS) * RTP_PER_MS) % 2 ** 32);
  }

  async #look() {
    if (!this.#avatar || this.#room.state !== ConnectionState.Connected) return;
    // The avatar tells how things stand by itself; that may get lost (see outbox.js), so it is asked until it answers.
    if (!this.#greeted) this.send({ type: 'hello' });
    void this.#hush?.bufferedMs(); // so that the next answer tells of the last second
    const report = await this.#tracks.get(this.#avatar)?.audio.getRTCStatsReport();
    const rtp = [...(report?.values() ?? [])].find((entry) => entry.type === 'inbound-rtp');
    if (!rtp || this.#closed) return;
    this.#looks.same = rtp.packetsReceived === this.#looks.packets ? this.#looks.same + 1 : 0;
    this.#looks.packets = rtp.packetsReceived;
    this.#silent = this.#looks.same >= SILENT_LOOKS;
    this.#judge();
  }

  /** Say who is missing, once for each change. */
  #judge() {
    if (this.#closed) return;
    const missing = this.#missing();
    if (missing === this.#told) return;
    this.#told = missing;
    this.#handlers.presence(missing);
  }

  /** @returns {Missing | null} */
  #missing() {
    if (this.#room.state !== ConnectionState.Connected) return 'lost';
    return this.#avatar && this.#greeted && !this.#silent ? null : 'avatar_gone';
  }

  /** @param {DisconnectReason | undefined} reason */
  #onDisconnected(reason) {
    if (this.#closed || !this.#timer) return; // while entering, `enter` says it
    clearInterval(this.#timer);
    switch (reason) {
      case DisconnectReason.DUPLICATE_IDENTITY:
        this.#handlers.over('replaced');
        break;
      case DisconnectReason.PARTICIPANT_REMOVED:
      case DisconnectReason.ROOM_DELETED:
        this.#handlers.over('left');
        break;
      default:
        this.#handlers.over('lost');
    }
  }
}
