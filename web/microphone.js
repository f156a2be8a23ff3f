// The person's microphone. In: a wish for it, a device choice, mute. Out: one live audio track, or the reason why there
// is none. It knows nothing of connections: whoever sends the sound takes `track` on every change.

/** @typedef {import('./client.js').MicrophoneState} MicrophoneState */

const DEVICE_KEY = 'mien.microphone';

/** Asked for explicitly: browsers differ in their defaults, and without them the avatar hears itself. */
const PROCESSING = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };

export class Microphone {
  /** @type {MediaStreamTrack | null} */
  track = null;
  /** @type {MicrophoneState} */
  state = {
    status: 'off',
    muted: false,
    deviceId: localStorage.getItem(DEVICE_KEY) ?? '',
    devices: [],
    echoCancelled: true,
  };

  #onChange;
  #asked = 0;
  #listDevices = () => void this.#refreshDevices();

  /** @param {(state: MicrophoneState) => void} onChange  called after every change of `state` or `track` */
  constructor(onChange) {
    this.#onChange = onChange;
  }

  /** Ask for the microphone. Never rejects: the outcome is in `state.status`. */
  async open() {
    if (!navigator.mediaDevices?.getUserMedia) {
      this.#change({ status: 'insecure' });
      return;
    }
    const asked = ++this.#asked;
    this.#change({ status: 'asking' });
    try {
      const track = await capture(this.state.deviceId);
      if (asked !== this.#asked) {
        track.stop(); // closed, or asked again, while the browser was asking
        return;
      }
      this.#adopt(track);
    } catch (error) {
      if (asked !== this.#asked) return;
      this.#change({ status: reason(error) });
    }
    navigator.mediaDevices.addEventListener('devicechange', this.#listDevices);
    await this.#refreshDevices();
  }

  /** @param {string} deviceId */
  async choose(deviceId) {
    localStorage.setItem(DEVICE_KEY, deviceId);
    this.#change({ deviceId });
    await this.open();
  }

  /** @param {boolean} muted */
  setMuted(muted) {
    if (this.track) this.track.enabled = !muted;
    this.#change({ muted });
  }

  close() {
    this.#asked += 1;
    navigator.mediaDevices?.removeEventListener('devicechange', this.#listDevices);
    this.#drop();
    this.#change({ status: 'off', muted: false });
  }

  /** @param {MediaStreamTrack} track */
  #adopt(track) {
    this.#drop();
    this.track = track;
    track.enabled = !this.state.muted;
    track.addEventListener('ended', () => {
      if (this.track !== track) return;
      this.track = null; // unplugged, or taken back by the browser
      this.#change({ status: 'absent' });
    });
    const settings = track.getSettings();
    this.#change({
      status: 'on',
      deviceId: settings.deviceId ?? '',
      echoCancelled: settings.echoCancellation !== false,
    });
  }

  #drop() {
    const track = this.track;
    this.track = null;
    track?.stop();
  }

  async #refreshDevices() {
    const all = await navigator.mediaDevices.enumerateDevices();
    const devices = all
      .filter((device) => device.kind === 'audioinput' && device.deviceId)
      .map((device, index) => ({ deviceId: device.deviceId, label: device.label || `Microphone ${index + 1}` }));
    this.#change({ devices });
  }

  /** @param {Partial<MicrophoneState>} change */
  #change(change) {
    this.state = { ...this.state, ...change };
    this.#onChange(this.state);
  }
}

/**
 * @param {string} deviceId  empty for the browser's own choice
 * @returns {Promise<MediaStreamTrack>}
 */
async function capture(deviceId) {
  // Chromium does not follow a device that is only "ideal"; one that is gone is no reason for none.
  const wanted = deviceId ? { deviceId: { exact: deviceId } } : {};
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ audio: { ...PROCESSING, ...wanted } });
    return stream.getAudioTracks()[0];
  } catch (error) {
    if (!deviceId || !(error instanceof DOMException) || error.name !== 'OverconstrainedError') throw error;
    return capture('');
  }
}

/**
 * @param {unknown} error
 * @returns {import('./client.js').MicrophoneStatus}
 */
function reason(error) {
  switch (error instanceof DOMException ? error.name : '') {
    case 'NotAllowedError':
      return 'refused';
    case 'SecurityError':
      return 'insecure';
    case 'NotReadableError':
    case 'AbortError':
      return 'busy';
    case 'NotFoundError':
    case 'OverconstrainedError':
      return 'absent';
    default:
      throw error;
  }
}
