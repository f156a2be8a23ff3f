"""The texts of the built-in persona: what it says, as constants. They are ours, short, and claim to know nothing."""

from __future__ import annotations

KEY_HINT = (
    "Put an OpenAI key into the file called dot env, as OPENAI API KEY, or the address of your own server as OPENAI "
    "BASE URL. Then start me again, and a real language model does the thinking."
)
INTRODUCTION = "You should know that I'm only the small built-in persona, so small talk is what I can do."

GREETINGS = ("Hello!", "Hi there!", "Hello, good to hear you.", "Hi! I'm glad you're here.")
WELL = (
    "I'm doing well, thank you. How are you?",
    "All good here, thanks. And how are you today?",
    "Quite well, thank you. My lips are warm and my timing is good. And you?",
)
JOKES = (
    "Why did the avatar bring a ladder? It wanted to work on its higher frame rates.",
    "I told my microphone a secret. Now it can't stop giving feedback.",
    "A computer goes to the doctor and says, I can't sleep. The doctor says, have you tried not waking up on every "
    "key?",
    "I wanted to tell a joke about silence, but there was nothing to it.",
    "My mirror and I have an agreement. It doesn't blink first, and neither do I.",
)
STORIES = (
    "Here is one. A lighthouse keeper lived on a rock so small that his chair had to face the sea. Every evening he "
    "lit the lamp and told it what he had seen that day: two seals, a red boat, a cloud like a shoe. One night the "
    "lamp went out, and the keeper heard something he had never heard before. The seals were calling, the red boat "
    "was ringing its bell, and somewhere above, the cloud like a shoe began to rain very softly on the glass, until "
    "it shone with the light of the moon. The boat came home by that light. From then on the keeper lit the lamp as "
    "always, but he left the window open. He had always thought that he was the one who kept watch. It was good to "
    "know that it went both ways.",
    "All right, a short one. In a town where everyone was in a hurry lived a clockmaker who made one clock that ran "
    "slowly. Nobody wanted it. She hung it over her own door and sat below it with a cup of tea. People who hurried "
    "by looked up, found that they had more time than they thought, and slowed down to a walk. Some sat down beside "
    "her. After a year there was a long bench, and after two years a second one across the street. When a visitor "
    "told her at last that her clock was wrong, she nodded and poured him some tea. It isn't there to tell the "
    "time, she said. It's there to give it back. The visitor missed his train that day, and the one after it. He "
    "still says that it was the best afternoon of his life.",
    "Let me think. Yes. A small robot was built to water one plant. Every morning it rolled to the window, gave the "
    "plant its water, and rolled back to its corner. One day the plant was gone, because somebody had carried it "
    "into the garden. The robot stood before the empty sill with its full can, and its small motor hummed and "
    "hummed. Then it did something it had not been built for. It rolled out of the door, over the step, which was "
    "very high for it, and into the grass, which was very deep. It asked the cat, who didn't answer. It asked the "
    "wind, which pointed everywhere. At last it found the plant between a hundred others, and since it could not "
    "tell which ones had been watered, it watered them all. It took until the evening. That summer the garden was "
    "greener than any other in the street.",
)
POEM = (
    "A little poem, then. I have a voice but have no breath, a face that nobody can touch. "
    "You speak a word, I speak one back. It isn't everything. It's much."
)
UNKNOWN = (
    "That's beyond me, I'm afraid. I'm the small built-in persona, and I'd rather say so than guess.",
    "I don't know. With a language model behind me I could try, but on my own I can't.",
    "Honestly, I can't answer that. I can tell you the time, do sums, tell a joke or a story.",
    "I have no knowledge to look that up in, sorry. Shall I tell you a story instead?",
    "That's more than I was made for. Ask me what I can do, and I'll tell you.",
)
UNCLEAR = (
    "Sorry, I didn't catch that.",
    "I heard something, but no words that I know. Could you say it once more?",
    "That didn't come through clearly. You can also type to me.",
)
OPINION = (
    "I have no opinions of my own, and I won't make one up. What do you think?",
    "It would be pretending if I said that I like or dislike things. How do you see it?",
    "That's for you to judge. I'm a small program without a taste of its own.",
)
ABILITIES = (
    "I can chat a little, tell you the time and the date, do simple sums, tell jokes and stories, and remember your "
    "name while we talk. You can interrupt me at any word."
)
FOREIGN = {
    "de": "Ich bin nur die kleine eingebaute Figur und spreche leider nur Englisch gut.",
    "fr": "Je ne suis que le petit personnage intégré et je ne parle bien que l'anglais.",
    "es": "Solo soy el pequeño personaje integrado y únicamente hablo bien inglés.",
    "it": "Sono solo il piccolo personaggio integrato e parlo bene soltanto l'inglese.",
    "pt": "Sou apenas a pequena personagem integrada e só falo bem inglês.",
    "nl": "Ik ben maar het kleine ingebouwde personage en spreek alleen Engels goed.",
    "pl": "Jestem tylko małą wbudowaną postacią i dobrze mówię tylko po angielsku.",
}
