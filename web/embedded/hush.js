// Silence at once. What the avatar said before it was interrupted still waits in the browser's jitter buffer, and would be
// heard to its end. In: the receiver of the sound, and until which RTP timestamp nothing may be heard. Out: a track that
// is silent until then; and how long sound waits in that buffer.

/** How often the way through the buffer is looked at while silent. */
const LOOK_MS = 10;
/** Where a browser does not say what it plays, this long must do; no browser buffers a voice for longer. */
const BLIND_MS = 400;
const HALF = 2 ** 31;

export class Hush {
  #receiver;
  #until = 0;
  #blindUntilMs = 0;
  #timer = 0;
  #delay = 0;
  #emitted = 0;

  /** @param {RTCRtpReceiver} receiver */
  constructor(receiver) {
    this.#receiver = receiver;
  }

  /** @param {number} until  RTP timestamp of the first sample that may be heard again */
  begin(until) {
    this.#until = until;
    this.#blindUntilMs = performance.now() + BLIND_MS;
    this.#receiver.track.enabled = false;
    clearInterval(this.#timer);
    this.#timer = setInterval(() => this.look(), LOOK_MS);
  }

  /** End the silence if it is time; also called when a message comes, since timers of a hidden page may sleep. */
  look() {
    if (!this.#timer) return;
    const [source] = this.#receiver.getSynchronizationSources();
    const played = source?.rtpTimestamp;
    const there =
      played === undefined ? performance.now() >= this.#blindUntilMs : (played - this.#until + 2 ** 32) % 2 ** 32 < HALF;
    if (there) this.end();
  }

  end() {
    clearInterval(this.#timer);
    this.#timer = 0;
    this.#receiver.track.enabled = true;
  }

  /**
   * How long sound waited in the buffer since this was asked last, in ms; null where none came or the browser does not say.
   * @returns {Promise<number | null>}
   */
  async bufferedMs() {
    const entries = [...(await this.#receiver.getStats()).values()];
    const rtp = entries.find((entry) => entry.type === 'inbound-rtp');
    if (!rtp?.jitterBufferEmittedCount) return null;
    const delay = rtp.jitterBufferDelay - this.#delay;
    const emitted = rtp.jitterBufferEmittedCount - this.#emitted;
    this.#delay = rtp.jitterBufferDelay;
    this.#emitted = rtp.jitterBufferEmittedCount;
    return emitted > 0 ? (1000 * delay) / emitted : null;
  }
}
