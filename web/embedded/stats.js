// One getStats() snapshot, made readable. In: the entries of RTCPeerConnection.getStats(). Out: what the connection, the
// picture and the sound are doing, with units in the names, and the raw entries beside it for benchmarks.

/** @param {any[]} entries */
export function summarize(entries) {
  const byId = new Map(entries.map((entry) => [entry.id, entry]));
  const inbound = (/** @type {string} */ kind) =>
    entries.find((entry) => entry.type === 'inbound-rtp' && entry.kind === kind);
  const transport = entries.find((entry) => entry.type === 'transport');
  const pair = byId.get(transport?.selectedCandidatePairId);
  return {
    at_ms: performance.now(),
    connection: pair && {
      round_trip_ms: pair.currentRoundTripTime * 1000,
      local: byId.get(pair.localCandidateId)?.candidateType,
      remote: byId.get(pair.remoteCandidateId)?.candidateType,
      bytes_received: transport.bytesReceived,
    },
    video: received(inbound('video'), byId),
    audio: received(inbound('audio'), byId),
    microphone: sent(entries),
    raw: entries,
  };
}

/**
 * @param {any} rtp
 * @param {Map<string, any>} byId
 */
function received(rtp, byId) {
  if (!rtp) return null;
  const common = {
    codec: byId.get(rtp.codecId)?.mimeType,
    packets: rtp.packetsReceived,
    packets_lost: rtp.packetsLost,
    jitter_ms: rtp.jitter * 1000,
    jitter_buffer_ms: rtp.jitterBufferEmittedCount ? (1000 * rtp.jitterBufferDelay) / rtp.jitterBufferEmittedCount : null,
  };
  if (rtp.kind === 'video') {
    return {
      ...common,
      width_px: rtp.frameWidth,
      height_px: rtp.frameHeight,
      frames_decoded: rtp.framesDecoded,
      frames_dropped: rtp.framesDropped,
      frames_per_s: rtp.framesPerSecond,
      freezes: rtp.freezeCount,
    };
  }
  return {
    ...common,
    level: rtp.audioLevel,
    energy: rtp.totalAudioEnergy,
    samples: rtp.totalSamplesReceived,
    samples_concealed: rtp.concealedSamples,
  };
}

/** @param {any[]} entries */
function sent(entries) {
  const rtp = entries.find((entry) => entry.type === 'outbound-rtp' && entry.kind === 'audio');
  const source = entries.find((entry) => entry.type === 'media-source' && entry.kind === 'audio');
  return rtp && { packets: rtp.packetsSent, level: source?.audioLevel, energy: source?.totalAudioEnergy };
}
