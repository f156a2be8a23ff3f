"""What the synthetic speakers say: sentences drawn from word lists of our own, the same for the same seed.

English sentences follow simple patterns; in other languages words stand in any order, which is enough for sounds. The
sentences that lips are measured with (benchmarks/lips_corpus.py) are others.
"""

from __future__ import annotations

import random


def _phrases(block: str) -> tuple[str, ...]:
    """What stands between bars."""
    return tuple(" ".join(phrase.split()) for phrase in block.split("|"))


_PEOPLE = _phrases("""
    my brother | the farmer | Bob | Pam | Maria | the bus driver | an old friend | the whole family | everybody |
    your neighbour | Philip | the woman in blue | a small boy | the chef | Vivian | the police | a famous poet | our
    team | the mayor | Thomas | the baby | the photographer | George | my father | Oliver | the professor | Emma |
    both of them | the people upstairs | the doctor
""")
_VERBS = _phrases("""
    saw | bought | found | remembered | lost | painted | moved | described | loved | prepared | borrowed | washed |
    forgot | repaired | built | photographed | opened | carried | wanted | chose | dropped | stopped for | laughed
    about | looked at | waited for | voted for | shouted at | brought | measured | finished | hid | climbed over |
    jumped into | played with | heard about | thought about | believed in
""")
_ADJECTIVES = _phrases("""
    purple | big | warm | beautiful | broken | heavy | empty | famous | bright | simple | wooden | brown | fresh |
    quiet | funny | enormous | old | new | expensive | smooth | yellow | strange | thick | lovely | wet | round |
    perfect | useful | modern | sharp | young | cheap | tiny | awful | golden
""")
_NOUNS = _phrases("""
    boat | apple pie | map | piano | umbrella | window | bicycle | book about mushrooms | pair of boots | cup of
    coffee | movie | problem | garden | boiled egg | leather jacket | fish | valley | telephone | picture of a
    volcano | number | hammer | chair | house by the river | bottle of milk | cave | lamp | village | computer |
    photograph | bird | shop | pepper | knife | room above the garage | oyster | thumb | violin | shovel | lemon |
    blanket | mouse | guitar | towel | pillow | cherry | judge | mirror | feather | yoghurt | wheel | ship | statue
""")
_PLACES = _phrases("""
    before breakfast | in the middle of the park | near the harbour | every morning | behind the museum | after five
    minutes | on a beach | for a very long time | above the clouds | without a word | at the top of the hill | last
    February | from home | during the film | with both hands | by bus | under the bridge | in Paris | over there |
    on the third floor | at half past four | while it was raining | because of the weather | as far as I know | this
    evening | just for fun | for the first time
""")
_SAYINGS = _phrases("""
    How are you? | What would you like to know? | I'm happy to help with that. | Let me think about it for a moment.
    | That's a wonderful idea! | No problem at all. | Yes, of course. | Maybe we could try something else. | Oh,
    wow. | Please give me a minute. | I'm afraid I don't know. | Do you have any other questions? | Thank you very
    much. | It depends on what you prefer. | Could you repeat that, please? | Well, it's a bit more complicated. |
    Good evening. | Have you ever been to Vienna? | Both of us love music. | You may be right about that. |
    Absolutely. | Hmm, why not? | The number is five hundred and forty seven. | We have rain, wind and fog. | Who
    wants more of this? | Bye for now!
""")

OTHER_LANGUAGES: dict[str, str] = {
    "de": """
        Apfel Baum schön über Möbel Pfeffer Wasser viel früh blau Hoffnung bitte morgen Vater Mutter immer Zeit
        gehen kommen Abend pünktlich Fußball Bücher Vogel Wölfe Brot weiß möchte Frühstück warum Problem sprechen
        Käse Häuser Freunde üben öffnen Baby Papier Milch zusammen fahren wohnen Jahr Straße gibt haben auch
    """,
    "fr": """
        bonjour pomme beau vivre femme heureux peuple bleu famille vouloir fenêtre parfois ami temps pain avion
        voiture bouteille chapeau poivre février mouton jambon enfant souvent pourquoi lune vert petit feuille
        eau bain monde peur vélo maman papa bien vous plus pluie oiseau beurre deux
    """,
    "es": """
        buenos vivir pueblo amigo bebé mapa familia favor ventana blanco fuego vapor problema hombre mujer agua
        abuela pimienta cambio siempre lluvia viejo papel mañana perro volar buscar puerta cuerpo tiempo bien
        verde otoño jueves
    """,
    "it": """
        buongiorno ombrello bambino vivo famiglia pomeriggio bello vento febbraio parlare amore gamba piove fuoco
        uva mamma papà sempre davvero problema bevanda acqua vecchio giovane scarpa zia pepe libro capire sapere
    """,
    "pt": """
        bom dia família pão avô banho vamos palavra fevereiro obrigado homem mulher poema chuva fome lembrar
        amigo borboleta sempre verde pequeno livro muito água problema fumo vapor bebê mapa coração
    """,
    "nl": """
        goedemorgen vrouw boek beter zomer paard fiets vuur maan huis buiten moeder vader blauw koffie appel
        samen vijf bloem water pijp hoop bomen wandelen regen geef meer boven avond muur
    """,
    "pl": """
        dzień dobry mama babcia wiosna woda człowiek pomoc bardzo piękny film pamięć ubranie książka chleb
        fabryka wieczór problem mapa brat ryba uwaga powietrze żaba pociąg
    """,
    "sv": """
        god morgon blomma vatten förälder pojke mamma bil apelsin vinter båt övning februari hopp björn fönster
        fem bröd varm sjuk köpa problem hem
    """,
    "ru": """
        доброе утро мама бабушка вода человек помощь очень красиво фильм память книга хлеб фабрика вечер проблема
        карта брат рыба внимание воздух жаба поезд белый пять вместе
    """,
    "tr": """
        merhaba baba anne büyük mavi yemek pencere vapur fabrika bebek şeker ölüm köpek güzel kitap problem ev
        bahçe yağmur film bulut müzik portakal
    """,
    "el": """
        καλημέρα μαμά μπαμπάς νερό άνθρωπος βοήθεια όμορφος φίλος βιβλίο ψωμί βράδυ πρόβλημα χάρτης ψάρι βροχή
    """,
    "cmn": """
        你好 朋友 妈妈 爸爸 水 苹果 风 跑步 明天 帮忙 漂亮 书 面包 飞机 雨 问题 不要 怕 木头 父母
    """,
    "ja": """
        おはよう みず まど ばら ぱん ふね ともだち むすめ べんきょう ほん あめ もんだい かぞく びじゅつ たべもの
    """,
    "hi": """
        नमस्ते माँ पिता पानी किताब फूल बारिश भाई बहन मदद बाज़ार पेड़ मौसम वापस प्यार
    """,
    "ar": """
        مرحبا أم أب ماء كتاب باب فيل مطر صديق بيت مفتاح خبز بحر
    """,
    "hu": """
        jó reggelt anya apa víz ember barát könyv kenyér film nap eső béka gomba vonat múlt öt öröm üveg
    """,
    "da": """
        godmorgen mor far vand bog blå familie æble bil vinter høre problem fem brød smuk øje
    """,
    "ro": """
        bună ziua mamă apă om prieten carte pâine floare ploaie vânt problemă bunică film pădure
    """,
}
"""By espeak-ng voice."""

FESTIVAL_LANGUAGES: dict[str, str] = {
    "it": OTHER_LANGUAGES["it"],
    "cs": """
        dobré ráno matka babička jaro voda člověk pomoc velmi krásný film paměť kniha chléb továrna večer problém mapa
        bratr ryba pozor vzduch žába vlak dům stůl škola modrá bílá auto pivo všechno potom úterý fotbal měsíc hora
        zpívat mluvit přijde bouřka oběd papír kuře slunce zima
    """,
    "fi": """
        hyvää huomenta äiti isä vesi omena poika tyttö talo metsä järvi päivä yö kesä talvi sauna kahvi leipä puhelin
        kirja ystävä sininen vihreä valkoinen auto polkupyörä lumi sade tuuli meri saari vanha nuori pieni suuri
        lapsi koulu kaupunki voi maito perhe pöytä banaani
    """,
    "ca": """
        bon dia mare pare aigua poma foc vent pluja finestra amic dona home poble blau verd blanc llibre pa vi peix
        hivern estiu bonic febrer problema mapa família camí flor muntanya fosc vell jove porta taula sempre molt
        ballar parlar viure bomba paper
    """,
}
"""By language of festival's voices, for those that are trained on."""


def english(random_: random.Random) -> str:
    """One English utterance."""
    pick = random_.choice
    match random_.randrange(8):
        case 0:
            return pick(_SAYINGS)
        case 1:
            return f"{pick(_SAYINGS)} {pick(_SAYINGS)}"
        case 2:
            a, b, c = (f"{pick(_ADJECTIVES)} {pick(_NOUNS)}" for _ in range(3))
            return f"A {a}, the {b} and my {c}."
        case 3:
            return f"Have you {pick(_VERBS)} the {pick(_NOUNS)} {pick(_PLACES)}?"
        case 4:
            return f"{pick(_PLACES)}, {pick(_PEOPLE)} {pick(_VERBS)} the {pick(_NOUNS)}."
        case _:
            return f"{pick(_PEOPLE)} {pick(_VERBS)} a {pick(_ADJECTIVES)} {pick(_NOUNS)} {pick(_PLACES)}."


def foreign(language: str, random_: random.Random) -> str:
    """Some words of one of espeak-ng's languages in any order."""
    return _words(OTHER_LANGUAGES[language], random_)


def of_festival(language: str, random_: random.Random) -> str:
    """Some words of one of festival's languages in any order."""
    return _words(FESTIVAL_LANGUAGES[language], random_)


def _words(block: str, random_: random.Random) -> str:
    words = block.split()
    return " ".join(random_.choice(words) for _ in range(random_.randint(5, 9)))
