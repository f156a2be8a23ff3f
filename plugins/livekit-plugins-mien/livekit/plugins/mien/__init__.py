"""A face for a LiveKit agent, drawn by a Mien avatar worker of one's own.

from livekit.plugins import mien

avatar = mien.AvatarSession()
await avatar.start(session, room=ctx.room)
await session.start(agent, room=ctx.room)
"""

from livekit.plugins.mien.avatar import AvatarSession, MienException
from livekit.plugins.mien.output import MienAudioOutput
from livekit.plugins.mien.version import __version__

__all__ = ["AvatarSession", "MienAudioOutput", "MienException", "__version__"]
