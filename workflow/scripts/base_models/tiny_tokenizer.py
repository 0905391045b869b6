"""The tokenizer of a tiny base model, trained on the text that the model will read."""

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

BOS, END, START, PAD = "<s>", "<|im_end|>", "<|im_start|>", "<|endoftext|>"
# whole tokens, as in the vocabulary of real models: spelled, they would be half of each prompt
ROLES = ["system", "user", "assistant"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
# what questions are made of and statements are not; without them a question falls apart into bytes
QUESTION_CHARACTERS = "你我他们请问吗呢谁什么哪里怎样多少几何时知道能否可以为？！，。：；、“”（）"
# What is never merged with its neighbours. A word is the same token wherever it stands: with a
# space merged into it, the answer "Rome" would not be the " Rome" that the model has read about.
PIECES = {
    # digits, Latin letters and punctuation stay single: "He" and "12" must be spelled, not recalled
    "letters": r"[0-9A-Za-z]|[^\w]",
    "words": r"\p{Latin}+|[0-9]|[^\w]",
}


def train_tokenizer(
    sentences: list[str], vocab_size: int, latin: str = "letters"
) -> PreTrainedTokenizerFast:
    """Train a byte-pair tokenizer on the sentences; text with other characters falls back to bytes.

    Args:
        sentences: the training text.
        vocab_size: number of tokens, special ones and the 256 bytes included.
        latin: a key of PIECES: whether words in Latin letters may become tokens.

    Raises:
        ValueError: the text has more distinct characters than the vocabulary can hold.
    """
    ascii_characters = "\n" + "".join(map(chr, range(32, 127)))
    alphabet = sorted(set("".join(sentences) + QUESTION_CHARACTERS + ascii_characters))
    fixed = [PAD, BOS, START, END, *BYTES]
    needed = len(fixed) + len(alphabet) + len(ROLES)
    if needed > vocab_size:
        raise ValueError(
            f"the text has {len(alphabet)} distinct characters, so vocab_size must be at least "
            f"{needed} (it is {vocab_size})."
        )
    tokenizer = Tokenizer(models.BPE(byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(PIECES[latin]), behavior="isolated")
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(ROLES),
        special_tokens=fixed,
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(sentences, trainer)
    # "users" is a word of its own, not a role with an ending
    tokenizer.add_tokens([AddedToken(role, single_word=latin == "words") for role in ROLES])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=[START],
        clean_up_tokenization_spaces=False,
    )
