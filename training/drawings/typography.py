"""Typefaces that drawn pictures are set in, and words of the scripts that they cover.

The typefaces come in packages of their own, all of which the extra `train` installs. They are found by name,
so that a missing one is an error rather than another picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import ImageFont

LATIN = ("english", "german", "french", "polish")
EUROPEAN = (*LATIN, "russian", "greek")


@dataclass(frozen=True)
class Family:
    """A typeface: the folder of its package, its styles as files, and the scripts that it covers."""

    package: str
    folder: str
    regular: str
    bold: str
    italic: str
    scripts: tuple[str, ...]


def _in_files(
    package: str, stem: str, scripts: tuple[str, ...], suffix: str = ".ttf", italic: str = "Italic"
) -> Family:
    regular, bold, slanted = (f"{stem}-{style}{suffix}" for style in ("Regular", "Bold", italic))
    return Family(package, "files", regular, bold, slanted, scripts)


def _in_matplotlib(regular: str, bold: str, italic: str, scripts: tuple[str, ...]) -> Family:
    return Family(
        "matplotlib", "mpl-data/fonts/ttf", f"{regular}.ttf", f"{bold}.ttf", f"{italic}.ttf", scripts
    )


SANS = {
    "dejavu-sans": _in_matplotlib(
        "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", (*EUROPEAN, "georgian", "hebrew")
    ),
    "roboto": _in_files("font_roboto", "Roboto", EUROPEAN),
    "lato": _in_files("font_lato", "Lato", LATIN),
    "source-sans": _in_files("font_source_sans_pro", "SourceSansPro", LATIN, ".otf", "It"),
    "manrope": Family(
        "font_manrope", "files", "Manrope-Regular.ttf", "Manrope-Bold.ttf", "Manrope-Medium.ttf", EUROPEAN
    ),
}
SERIF = {
    "dejavu-serif": _in_matplotlib("DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", EUROPEAN),
    "stix": _in_matplotlib("STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", EUROPEAN),
    "source-serif": _in_files("font_source_serif_pro", "SourceSerifPro", LATIN, ".otf", "It"),
}
MONO = {
    "dejavu-mono": _in_matplotlib(
        "DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSansMono-Oblique", EUROPEAN
    ),
    "jetbrains-mono": Family(
        "fontpkg_jetbrains_mono",
        "files",
        "JetBrainsMono[wght].ttf",
        "JetBrainsMono[wght].ttf",
        "JetBrainsMono-Italic[wght].ttf",
        EUROPEAN,
    ),
    "inconsolata": Family("fontpkg_inconsolata", "files", *3 * ("Inconsolata[wdth,wght].ttf",), LATIN),
}
DISPLAY = {
    "amatic": Family(
        "font_amatic_sc", "files", "AmaticSC-Regular.ttf", *2 * ("AmaticSC-Bold.ttf",), ("english",)
    ),
    "fredoka": Family("font_fredoka_one", "files", *3 * ("FredokaOne-Regular.ttf",), ("english",)),
}
ASIAN = {
    "noto-cjk": Family(
        "noto_cjk_sans_jp_regular",
        ".",
        *3 * ("NotoSansCJKjp-Regular.otf",),
        ("japanese", "chinese", "korean"),
    ),
}
FAMILIES = {**SANS, **SERIF, **MONO, **DISPLAY, **ASIAN}

# Frequent words, the most frequent first: they are drawn as in a text, by Zipf's law.
WORDS = {
    name: words.split()
    for name, words in {
        "english": (
            "the of and to in a is that for it as was with be by on not he his but at are this have from or had an "
            "they which one you were all her she there would their we him been has when who will no more if out so "
            "up said what its about than into them can only other time new some could these two may first then do "
            "any like my now over such our man me even most made after also did many off before must well back "
            "through years much where your way down should because long each just state those people too little "
            "good world make very year still see own work men day get here old life both between being under three "
            "never know same last another while us might great go come since against right came take used himself "
            "few house American use place during high without again home around small however found part school "
            "once general upon every water account settings library measurement November Quarterly Zürich service "
            "42 1997 3.14 2,048 picture window analysis kernel figure journal chapter theory light river station"
        ),
        "german": (
            "der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als auch es an werden aus "
            "er hat dass sie nach wird bei einer um am sind noch wie einem über einen so zum war haben nur oder "
            "aber vor zur bis mehr durch man sein wurde sei Prozent hatte kann gegen vom können schon wenn habe "
            "seine Mark ihre dann unter wir soll ich eines Jahr zwei Jahren diese dieser wieder keine Straße "
            "Größe Übung Entwicklung Fußgänger Bahnhof Wissenschaft Geschwindigkeit Möglichkeit 12 2026"
        ),
        "french": (
            "de la le et les des en un du une que est pour qui dans a par plus pas au sur ne se ce il sont avec son "
            "ils être cette ont ses mais comme on tout nous sa fait été aussi leur bien peut ces deux même après "
            "entre très où années première élève français côté façon système déjà forêt hôtel près ça grâce"
        ),
        "polish": (
            "w i na z się nie do to że o jest jak po co za od tym tak przez był ale jego dla czy tylko może już być "
            "ich które oraz bardzo więc gdy jeszcze także można wszystko życie człowiek świat źródło łódź część"
        ),
        "russian": (
            "и в не на я быть он с что а по это она этот к но они мы весь который из у то за свой от так о для год "
            "же вы человек такой время если другой очень мочь сказать работа жизнь день рука новый большой стать "
            "город дело вопрос система число только первый место слово сторона страна мир случай Москва площадь"
        ),
        "greek": (
            "και το να του η της με που την από για τα είναι των σε ο οι στο θα τη στην τον τους δεν τις ένα μια ότι "
            "κατά μας αυτό όμως έχει χρόνια κόσμος ημέρα άνθρωπος πόλη ζωή νερό μεγάλη Αθήνα θάλασσα σήμερα"
        ),
        "georgian": "და რომ ეს არ ის იყო მე რა ამ მისი თუ როგორც მაგრამ ქალაქი წელი ადამიანი ახალი დიდი სახლი წყალი",
        "hebrew": "של את על לא הוא זה עם כי גם היא כל אני או אם מה יש היה רק בין עוד אחד שלום עיר ספר מים בית יום",
        "japanese": (
            "これは 日本語の 文章です。 東京 駅から 歩いて 五分の 場所に 新しい 図書館が できました。 毎日 多くの 人が "
            "本を 読みに 来ます。 コンピュータ データ サービス 設定を 変更 する 場合は、 画面の 右上に ある ボタンを "
            "押して ください。 私たちの 研究 結果に よると、 この 方法は とても 有効で ある。 検索 ログイン"
        ),
        "chinese": (
            "我们 的 生活 是 在 一个 城市 里， 这 有 很多 人 和 中国 北京 上海 大学 研究 发展 经济 问题 没有 可以 "
            "时间 工作 学生 世界 国家 社会 因为 所以 但是。 今天 天气 很好， 新闻 报道 设置 登录 注册 搜索 下载"
        ),
        "korean": "이 그 것은 수 있다 하는 사람이 한국 서울 대학교 시간 "
        "오늘은 날씨가 좋습니다. 우리 나라의 문화와 경제 설정 검색 확인 취소 로그인 새로운",
    }.items()
}
UNSPACED = ("japanese", "chinese")  # written without spaces between words
RIGHT_TO_LEFT = ("hebrew",)


@dataclass(frozen=True)
class Font:
    """One style of a typeface at a size in pixels."""

    family: Family
    style: str
    size: int

    @property
    def face(self) -> ImageFont.FreeTypeFont:
        """Pillow's font, loaded once."""
        described = self.family
        return load(
            described.package,
            f"{described.folder}/{getattr(described, self.style)}",
            self.size,
            self.style == "bold",
        )

    def styled(self, style: str) -> Font:
        return Font(self.family, style, self.size)

    def sized(self, size: float) -> Font:
        return Font(self.family, self.style, max(4, round(size)))

    def width(self, text: str) -> int:
        return round(self.face.getlength(text))


@lru_cache(512)
def load(package: str, file: str, size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """A font of a package; of a variable one the regular or the bold weight. Raises ModuleNotFoundError."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(
            f"the package of the font {file} is missing, {package}: install the extra train"
        )
    path = Path(spec.submodule_search_locations[0], file)
    # Not Raqm, which not every machine has: pictures must not depend on it.
    font = ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)
    if "[" in file:
        weight = 700 if bold else 400
        axes = [(axis["maximum"] or 0, axis["default"] or 0) for axis in font.get_variation_axes()]
        font.set_variation_by_axes([weight if most > 300 else usual for most, usual in axes])  # others: width
    return font


def choose(random: np.random.Generator, script: str, size: int, *groups: dict[str, Family]) -> Font:
    """A regular font among the groups (all typefaces by default) that covers the script."""
    given = [family for group in groups or (FAMILIES,) for family in group.values()]
    families = [family for family in given if script in family.scripts]
    if not families:
        families = [family for family in FAMILIES.values() if script in family.scripts]
    return Font(families[random.integers(len(families))], "regular", size)


@lru_cache
def _shares(count: int) -> np.ndarray:
    weights = 1 / (np.arange(count) + 3)
    return np.cumsum(weights / weights.sum())


def words(random: np.random.Generator, script: str, count: int) -> list[str]:
    """Words as a text has them: frequent ones often, sentences with capitals and punctuation."""
    known = WORDS[script]
    chosen = [known[k] for k in np.searchsorted(_shares(len(known)), random.random(count), "right")]
    if script in EUROPEAN:
        start = True
        for k, (word, chance) in enumerate(zip(chosen, random.random(count), strict=True)):
            chosen[k] = word[:1].upper() + word[1:] if start else word
            start = chance < 0.08 and k + 1 < count
            chosen[k] += "." if start else "," if chance > 0.95 else ""
    return chosen


def title(random: np.random.Generator, script: str, least: int = 1, most: int = 4) -> str:
    """A few words, the rarer ones of the script, as headings and buttons have them."""
    known = WORDS[script][len(WORDS[script]) // 3 :]
    count = int(random.integers(least, most + 1))
    text = ("" if script in UNSPACED else " ").join(known[random.integers(len(known))] for _ in range(count))
    text = text.strip("。，、.,")
    if script in EUROPEAN:  # others have no capitals, or none in most typefaces
        text = text[:1].upper() + text[1:]
    return text[::-1] if script in RIGHT_TO_LEFT else text
