"""Makes `tokenizers.json`: hashes of what other tokenizers give for 10,240 seeded strings.

    python3 tokenizer_goldens.py ids NAME URL       token ids of a llama-server at URL (it serves the model NAME)
    python3 tokenizer_goldens.py splits             pieces of the `tokenizers` package's pre-tokenizers
    python3 tokenizer_goldens.py wordpiece          its token ids for a small WordPiece, which goes to `wordpiece.json`

Each updates its part of `tokenizers.json` beside this file. The strings are those of
`models/src/tokenizer/tests/strings.rs`. Needs `pip install tokenizers`.
"""
import json
import pathlib
import sys
import urllib.request

HERE = pathlib.Path(__file__).parent
LISTS = json.loads((HERE / "tokenizer-strings.json").read_text("utf-8"))
GOLDENS = HERE / "tokenizers.json"
STRINGS, A_HASH = 10_240, 128
MASK = (1 << 64) - 1


class Random:
    """SplitMix64, as loader's fixtures have it."""

    def __init__(self, seed):
        self.state = seed

    def bits(self):
        self.state = self.state + 0x9E3779B97F4A7C15 & MASK
        z = (self.state ^ self.state >> 30) * 0xBF58476D1CE4E5B9 & MASK
        z = (z ^ z >> 27) * 0x94D049BB133111EB & MASK
        return z ^ z >> 31

    def below(self, bound):
        return self.bits() * bound >> 64

    def pick(self, name):
        return LISTS[name][self.below(len(LISTS[name]))]

    def some(self, name, most):
        return "".join(self.pick(name) for _ in range(1 + self.below(most)))


def part(random):
    kind = random.below(12)
    if kind < 2:
        return random.pick("words")
    if kind == 2:
        return random.pick("code")
    if kind == 3:
        first, last = random.pick("blocks")
        return "".join(chr(first + random.below(last - first + 1)) for _ in range(1 + random.below(20)))
    if kind == 4:
        return random.some("whitespace", 10)
    if kind == 5:
        space = random.pick("whitespace")
        return space * (1 + random.below(40))
    if kind == 6:
        return "".join(chr(ord("0") + random.below(10)) for _ in range(1 + random.below(12)))
    if kind == 7:
        return random.some("punctuation", 6)
    if kind == 8:
        return random.some("emoji", 4)
    if kind == 9:
        return chr(random.below(0xA0))
    if kind == 10:
        return random.some("special", 2)
    letter = chr(ord("A") + random.below(58))
    return letter * (1 + random.below(60))


def string(seed):
    random, text = Random(seed), ""
    for _ in range(1 + random.below(12)):
        text += part(random)
        if random.below(3) == 0:
            text += " "
    return text


def fnv(numbers):
    state = 0xCBF29CE484222325
    for byte in b"".join(number.to_bytes(4, "little") for number in numbers):
        state = (state ^ byte) * 0x100000001B3 & MASK
    return state


def hashes(numbers):
    of = [numbers(string(seed)) for seed in range(STRINGS)]
    counted = [[len(row), *row] for row in of]
    return [f"{fnv(sum(counted[at:at + A_HASH], [])):016x}" for at in range(0, STRINGS, A_HASH)]


def server(url):
    def ids(text):
        body = json.dumps({"content": text, "add_special": False, "parse_special": False}).encode()
        request = urllib.request.Request(url + "/tokenize", body, {"Content-Type": "application/json"})
        return json.load(urllib.request.urlopen(request))["tokens"]

    return ids


# The patterns as the models' tokenizer.json files publish them.
ENDINGS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
SPACES = r"\s+(?!\S)|\s+"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|" + SPACES
CAPITALS = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
SMALL = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"


def words(numbers, after=r"[\r\n]*", endings=ENDINGS + "|"):
    return (endings + r"[^\r\n\p{L}\p{N}]?\p{L}+|" + numbers + r"| ?[^\s\p{L}\p{N}]+" + after
            + r"|\s*[\r\n]+|" + SPACES)


def cased(numbers, endings):
    begin = r"[^\r\n\p{L}\p{N}]?"
    return (f"{begin}{CAPITALS}*{SMALL}+{endings}|{begin}{CAPITALS}+{SMALL}*{endings}|{numbers}"
            + r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|" + SPACES)


SPLITS = {
    "gpt-2": [GPT2],
    "smollm": [r"\p{N}", GPT2],
    "default": [r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"],
    "falcon": [r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]"],
    "llama-bpe": [words(r"\p{N}{1,3}")],
    "qwen2": [words(r"\p{N}")],
    "qwen35": [ENDINGS + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|" + SPACES],
    "ufakzeka": [words(r"\p{N}", endings="")],
    "seed-coder": [ENDINGS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|" + SPACES],
    "bailingmoe": [r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|" + SPACES],
    "exaone-moe": [ENDINGS + r"|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|"
                   + SPACES],
    "laguna": [r"[^\n]+|[\n]+", words(r"\p{N}")],
    "minicpm5": [r"\p{N}{1,3}", words(r"\p{N}+")],
    "tekken": [cased(r"\p{N}", "")],
    "gpt-4o": [cased(r"\p{N}{1,3}", ENDINGS + "?")],
    "youtu": ["[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+", cased(r"\p{N}", ENDINGS + "?")],
    "deepseek-coder": ["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-\ud7ff]+", r"\p{N}"],
    "deepseek-v3": [r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+",
                    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
                    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|" + SPACES],
    "bloom": [r" ?[^(\s|.,!?…。，、।۔،)]+"],
    "viking": [r" ?[^(\s|.,!?…。，、।۔،)]+", r"\p{N}"],
}


def splitter(patterns):
    from tokenizers import Regex
    from tokenizers.pre_tokenizers import Sequence, Split

    chain = Sequence([Split(Regex(pattern), "isolated") for pattern in patterns])
    return lambda text: [len(piece) for piece, _ in chain.pre_tokenize_str(text)]


WORDS = "the of and in hello world def for day fly naive cafe com http error null true русский 日 本 ##s ##ing ##ed ##er ##ly"


def wordpiece():
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    characters = [chr(code) for code in [*range(33, 127), 0xE9, 0xDF, 0x3B1, 0x3B2, 0x431, 0x43E, 0x915, 0x4E2D, 0x1F980]]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters, *("##" + each for each in characters if each.isalnum()),
              *WORDS.split()]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1",
                                                             [("[CLS]", 2), ("[SEP]", 3)])
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(tokens[:5])
    tokenizer.enable_truncation(16)
    tokenizer.enable_padding(length=16)
    (HERE / "wordpiece.json").write_text(tokenizer.to_str() + "\n", "utf-8")
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    return lambda text: tokenizer.encode(text, add_special_tokens=False).ids


def main():
    goldens = json.loads(GOLDENS.read_text("utf-8")) if GOLDENS.exists() else {"ids": {}, "splits": {}}
    goldens["strings"] = hashes(lambda text: [ord(character) for character in text])
    if sys.argv[1] == "ids":
        goldens["ids"][sys.argv[2]] = hashes(server(sys.argv[3]))
    elif sys.argv[1] == "wordpiece":
        goldens["ids"]["wordpiece"] = hashes(wordpiece())
    else:
        goldens["splits"] = {name: hashes(splitter(patterns)) for name, patterns in SPLITS.items()}
    GOLDENS.write_text(json.dumps(goldens, indent=0, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
