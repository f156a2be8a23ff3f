// Plays the stream of /api/live.mp4 close to its live edge, and shows /health beside it. After a break it begins anew.

const RETRY_MS = 1000
const BEHIND_S = 1.5 // further behind than this, jump
const EDGE_S = 0.35
const KEEP_S = 10
const HEALTH_MS = 1000

const video = document.querySelector("#video")
const notice = document.querySelector("#notice")
const sound = document.querySelector("#sound")
const token = new URLSearchParams(location.hash.slice(1)).get("token")
const headers = token ? { Authorization: `Bearer ${token}` } : {}

function tell(text) {
  notice.textContent = text
  notice.hidden = !text
}

function once(target, event) {
  return new Promise((resolve) => target.addEventListener(event, resolve, { once: true }))
}

async function play() {
  const response = await fetch("/api/live.mp4", { headers })
  if (!response.ok) throw new Error((await response.json()).error?.message ?? response.statusText)
  const type = response.headers.get("Content-Type")
  if (!window.MediaSource?.isTypeSupported(type)) throw new Error(`This browser does not play ${type}.`)
  const source = new MediaSource()
  video.src = URL.createObjectURL(source)
  await once(source, "sourceopen")
  URL.revokeObjectURL(video.src)
  const buffer = source.addSourceBuffer(type)
  const reader = response.body.getReader()
  for (;;) {
    const { value, done } = await reader.read()
    if (done) throw new Error("The stream has ended.")
    buffer.appendBuffer(value)
    await once(buffer, "updateend")
    tell("")
    await follow(buffer)
  }
}

async function follow(buffer) {
  if (!buffer.buffered.length) return
  const edge = buffer.buffered.end(buffer.buffered.length - 1)
  if (edge - video.currentTime > BEHIND_S) video.currentTime = edge - EDGE_S
  if (video.paused) video.play().catch(() => {})
  const start = buffer.buffered.start(0)
  if (edge - start > 2 * KEEP_S) {
    buffer.remove(start, edge - KEEP_S)
    await once(buffer, "updateend")
  }
}

async function health() {
  try {
    const told = await (await fetch("/health")).json()
    document.querySelector("#state").textContent = told.state
    document.querySelector("#message").textContent = told.message ? `message ${told.message}` : ""
    const lines = told.targets.map((target) => {
      const line = document.createElement("li")
      line.dataset.state = target.state
      line.textContent = target.problem ? `${target.target}: ${target.problem}` : `${target.target}: ${target.state}`
      return line
    })
    document.querySelector("#targets").replaceChildren(...lines)
  } catch {
    document.querySelector("#state").textContent = "gone"
  }
  setTimeout(health, HEALTH_MS)
}

sound.addEventListener("click", () => {
  video.muted = false
  sound.hidden = true
})

health()
for (;;) {
  try {
    await play()
  } catch (error) {
    tell(error.message)
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS))
  }
}
