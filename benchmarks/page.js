// What a benchmark adds to the real page, before the page's own scripts run: a microphone that it plays sound into, a
// meter on it, an ear for the sound that the page plays, and an eye for the pictures that it shows.
//
// In: calls on `window.bench`. Out: `bench.take()`, everything recorded since the last call. Sound is described by the
// peaks of short blocks; what they mean is worked out in Python (benchmarks/recording.py, benchmarks/measure.py).
//
// The microphone's meter is an AudioWorklet; `bursts` says when each group of its frames was rendered, which is when they
// were handed on to WebRTC. The ear reads the received track, 10 ms at a time as the player pulls them out of the jitter
// buffer, each stamped by the browser with the moment of that, on the clock of performance.now(). (A Web Audio node
// would add a buffer of its own, which grows and stays when the machine is busy.)
'use strict';

(() => {
  const RATE_HZ = 48_000;
  const EAR_BLOCKS = 10;
  const EAR_HOLDS = 200; // frames of 10 ms that may wait for a busy page before any is lost

  const METER = `
    const BLOCK = 64;
    const BLOCKS = 64;
    class Meter extends AudioWorkletProcessor {
      constructor() { super(); this.rendered = 0; this.at = BLOCKS; }
      reset(frame) {
        this.frame = frame; this.at = 0; this.bursts = [];
        this.mic = new Float32Array(BLOCKS);
      }
      peaks(input, into) {
        const samples = input[0];
        if (!samples) return;
        for (let block = 0; block * BLOCK < samples.length; block += 1) {
          let peak = 0;
          for (let i = block * BLOCK; i < (block + 1) * BLOCK; i += 1) peak = Math.max(peak, Math.abs(samples[i]));
          into[this.at + block] = peak;
        }
      }
      process(inputs) {
        const now = Date.now();
        if (this.at === BLOCKS) this.reset(currentFrame);
        if (now !== this.rendered) this.bursts.push([currentFrame, now]);
        this.rendered = now;
        this.peaks(inputs[0], this.mic);
        this.at += 128 / BLOCK;
        if (this.at === BLOCKS) {
          this.port.postMessage({ frame: this.frame, mic: this.mic, bursts: this.bursts });
        }
        return true;
      }
    }
    registerProcessor('meter', Meter);`;

  let recorded = empty();
  let context, microphone, destination, meter, echo;
  let region = null;
  const canvas = new OffscreenCanvas(1, 1);
  const drawing = canvas.getContext('2d', { willReadFrequently: true });

  function empty() {
    return { levels: [], heard: [], peaks: [], pictures: [], luma: [], events: [] };
  }

  const opened = (async () => {
    context = new AudioContext({ sampleRate: RATE_HZ });
    const module = URL.createObjectURL(new Blob([METER], { type: 'text/javascript' }));
    await context.audioWorklet.addModule(module);
    meter = new AudioWorkletNode(context, 'meter', { channelCount: 1, channelCountMode: 'explicit' });
    meter.port.onmessage = ({ data }) => recorded.levels.push(data);
    meter.connect(context.destination); // it is silent; connected, it is rendered
    microphone = context.createGain();
    destination = new MediaStreamAudioDestinationNode(context, { channelCount: 1 });
    microphone.connect(destination);
    microphone.connect(meter);
  })();

  navigator.mediaDevices.getUserMedia = async () => {
    await opened;
    return destination.stream.clone();
  };

  function floats(base64) {
    const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
    return Float32Array.from(new Int16Array(bytes.buffer), (sample) => sample / 32768);
  }

  function base64(arrays) {
    let text = '';
    for (const array of arrays) {
      const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
      for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
    }
    return btoa(text);
  }

  async function hear(track) {
    const reader = new MediaStreamTrackProcessor({ track, maxBufferSize: EAR_HOLDS }).readable.getReader();
    let samples = new Float32Array(0);
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const frames = value.numberOfFrames;
      if (samples.length !== frames) samples = new Float32Array(frames);
      value.copyTo(samples, { planeIndex: 0, format: 'f32-planar' });
      const peaks = new Float32Array(EAR_BLOCKS);
      for (let i = 0; i < frames; i += 1) {
        const block = Math.floor((i * EAR_BLOCKS) / frames);
        peaks[block] = Math.max(peaks[block], Math.abs(samples[i]));
      }
      recorded.heard.push([value.timestamp / 1000, (1000 * frames) / value.sampleRate]);
      recorded.peaks.push(peaks);
      value.close();
    }
  }

  function look(video) {
    const onFrame = (_, frame) => {
      const pixels = region ? region.columns * region.rows : 0;
      recorded.pictures.push([frame.expectedDisplayTime, frame.presentedFrames, pixels]);
      if (region) {
        drawing.drawImage(video, ...region.from, 0, 0, region.columns, region.rows);
        const { data } = drawing.getImageData(0, 0, region.columns, region.rows);
        const luma = new Uint8Array(pixels);
        for (let i = 0; i < luma.length; i += 1) {
          luma[i] = 0.299 * data[4 * i] + 0.587 * data[4 * i + 1] + 0.114 * data[4 * i + 2];
        }
        recorded.luma.push(luma);
      }
      video.requestVideoFrameCallback(onFrame);
    };
    video.requestVideoFrameCallback(onFrame);
  }

  window.bench = {
    opened,

    /** Play int16 mono 48 kHz into the microphone, soon; returns the frame at which it begins. */
    say(sound) {
      const samples = floats(sound);
      const buffer = new AudioBuffer({ length: samples.length, sampleRate: RATE_HZ });
      buffer.copyToChannel(samples, 0);
      const source = new AudioBufferSourceNode(context, { buffer });
      source.connect(microphone);
      const at = Math.ceil((context.currentTime + 0.05) * RATE_HZ) / RATE_HZ;
      source.start(at);
      return Math.round(at * RATE_HZ);
    },

    /** Hear and see what this element plays. */
    attend(video) {
      const stream = video.srcObject;
      void hear(stream.getAudioTracks()[0]);
      look(video);
      echo = new GainNode(context, { gain: 0 });
      const delay = new DelayNode(context, { delayTime: 0.08 });
      new MediaStreamAudioSourceNode(context, { mediaStream: stream }).connect(echo).connect(delay).connect(microphone);
    },

    /** How much of what is played comes back into the microphone, 80 ms later: a factor. */
    echo(gain) {
      echo.gain.value = gain;
    },

    /** Which part of the picture to read, in px of the video, and to how many columns and rows; null: none. */
    region(chosen) {
      region = chosen;
      if (chosen) [canvas.width, canvas.height] = [chosen.columns, chosen.rows];
    },

    note(type, detail) {
      recorded.events.push({ type, at: performance.now(), detail });
    },

    take() {
      const taken = recorded;
      recorded = empty();
      return {
        origin: performance.now() - Date.now(), // add to Date.now() for performance.now()
        latency: [context.baseLatency, context.outputLatency],
        frames: taken.levels.map((batch) => batch.frame),
        mic: base64(taken.levels.map((batch) => batch.mic)),
        bursts: taken.levels.flatMap((batch) => batch.bursts),
        heard: taken.heard,
        peaks: base64(taken.peaks),
        pictures: taken.pictures,
        luma: base64(taken.luma),
        events: taken.events,
      };
    },
  };
})();
