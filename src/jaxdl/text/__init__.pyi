"""Public names of ``jaxdl.text``; the only list of them."""

from jaxdl.text.tokenizers import encode_texts as encode_texts
from jaxdl.text.tokenizers import load_tokenizer as load_tokenizer
from jaxdl.text.tokenizers import save_tokenizer as save_tokenizer
from jaxdl.text.tokenizers import train_bpe as train_bpe
from jaxdl.text.tokenizers import train_wordpiece as train_wordpiece
from jaxdl.text.vocabulary import build_vocabulary as build_vocabulary
from jaxdl.text.vocabulary import decode as decode
from jaxdl.text.vocabulary import encode as encode
from jaxdl.text.vocabulary import tokenize as tokenize
